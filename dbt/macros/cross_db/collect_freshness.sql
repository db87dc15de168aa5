{#- Freshness as of a moment of the data, not of the wall clock: RATCHET_AS_OF (UTC, YYYY-MM-DD HH:MM:SS).
    Without it the clock is read, as dbt does by itself. The value is parsed and printed again before it
    reaches a statement, so nothing but a moment can pass. -#}
{% macro default__collect_freshness(source, loaded_at_field, filter) -%}
    {%- set given = env_var('RATCHET_AS_OF', '') -%}
    {%- if given -%}
        {%- set moment = modules.datetime.datetime.fromisoformat(given).strftime('%Y-%m-%d %H:%M:%S') -%}
        {%- set as_of = "cast('" ~ moment ~ "' as timestamp)" -%}
    {%- else -%}
        {%- set as_of = current_timestamp() -%}
    {%- endif -%}
    {%- call statement('collect_freshness', fetch_result=True, auto_begin=False) -%}
        select
            max({{ loaded_at_field }}) as max_loaded_at,
            {{ as_of }} as snapshotted_at
        from {{ source }}
        {% if filter %}where {{ filter }}{% endif %}
    {%- endcall -%}
    {{ return(load_result('collect_freshness')) }}
{%- endmacro %}
