{#- The condition that keeps an incremental build to the departure dates of ops.build_scope.

    relation: alias of a relation with the columns loop and departure_date; what: features or facts.
    A full build (first run, --full-refresh) takes every date. -#}
{% macro in_build_scope(relation, what='facts') -%}
    {%- set build_scope = source('ops', 'build_scope') -%}
    {%- if is_incremental() -%}
        ({{ relation }}.loop, {{ relation }}.departure_date)
        in (
            select
                build_scope.loop,
                build_scope.departure_date
            from {{ build_scope }} as build_scope
            {{ dates_of(what) }}
        )
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}


{#- The condition that keeps an incremental build to the rows that a feature window of the scope can reach:
    received at most flights_lookback_days before the first date of the scope. -#}
{% macro in_lookback(received_at, what='features') -%}
    {%- set build_scope = source('ops', 'build_scope') -%}
    {%- if is_incremental() -%}
        {{ received_at }} >= (
            select min(build_scope.departure_date) - interval '{{ var("flights_lookback_days") }} days'
            from {{ build_scope }} as build_scope
            {{ dates_of(what) }}
        )
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}


{#- Pre-hook of incremental models: takes the scope's dates out, in the transaction that appends them again. -#}
{% macro delete_build_scope(what='facts') -%}
    {%- set build_scope = source('ops', 'build_scope') -%}
    {%- if is_incremental() -%}
        delete from {{ this }}
        where
            (loop, departure_date)
            in (
                select
                    build_scope.loop,
                    build_scope.departure_date
                from {{ build_scope }} as build_scope
                {{ dates_of(what) }}
            )
    {%- endif -%}
{%- endmacro %}


{#- Facts are rebuilt on every date of the scope; features stay as they are where only facts changed. -#}
{% macro dates_of(what) -%}
    {%- if what == 'features' -%}
        where build_scope.includes_features
    {%- elif what != 'facts' -%}
        {{ exceptions.raise_compiler_error("build scope of '" ~ what ~ "'; use facts or features") }}
    {%- endif -%}
{%- endmacro %}
