{#- The condition that keeps an incremental build to the departure dates of ops.build_scope.

    relation: alias of a relation with the columns loop and departure_date; what: features or facts.
    A full build (first run, --full-refresh) takes every date. The first and last date stand beside it as
    literals, so that a table of years is read for those days alone. -#}
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
        and {{ departing_within(relation ~ '.departure_date', what) }}
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}


{#- Whether a departure date lies between `days` before the scope's first date and `after` days after its last. -#}
{% macro departing_within(departure_date, what='facts', days=0, after=0) -%}
    {%- set edges = scope_edges(what) -%}
    {%- if edges -%}
        {{ departure_date }} between {{ day_literal(edges[0], -days) }} and {{ day_literal(edges[1], after) }}
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}


{#- Whether a row may matter to the scope: received at most `before` days before its first date, and at most
    `after` days after its last one. One day is added on both sides: dates are local, times UTC. -#}
{% macro received_within(received_at, before, after, what='facts') -%}
    {%- set edges = scope_edges(what) -%}
    {%- if edges -%}
        {{ received_at }} >= {{ day_literal(edges[0], -before - 1) }}
        and {{ received_at }} < {{ day_literal(edges[1], after + 2) }}
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}


{#- The rows that `within_reach` can keep for a departure of the scope. -#}
{% macro received_within_reach(received_at, what='facts') -%}
    {{ received_within(received_at, var('flights_ahead_days') + 1, var('flights_amend_days'), what) }}
{%- endmacro %}


{#- A row about a unit counts when it is received from ahead_days (and one) before the unit's departure to amend_days
    after it. Earlier or later ones are counted in mon_rows_unplaced and change nothing: so the cost of a build
    does not depend on how much history there is. -#}
{% macro within_reach(received_at, scheduled_departure_at) -%}
    {{ received_at }} >= {{ scheduled_departure_at }} - interval '{{ var("flights_ahead_days") + 1 }} days'
    and {{ received_at }} <= {{ scheduled_departure_at }} + interval '{{ var("flights_amend_days") }} days'
{%- endmacro %}


{#- The body of a CTE: the departure dates of `calendar` about which a partition of `partitions` can have a row that
    `within_reach` keeps. Of the schedule, which may name any date, none. Dates are local, times UTC: a day on either
    side. -#}
{% macro departing_near(calendar, partitions) -%}
    select distinct
        {{ calendar }}.loop,
        {{ calendar }}.departure_date
    from {{ calendar }}
    inner join {{ partitions }}
        on
            {{ calendar }}.loop = {{ partitions }}.loop
            and {{ calendar }}.departure_date
            between {{ partitions }}.received_date - interval '{{ var("flights_amend_days") + 2 }} days'
            and {{ partitions }}.received_date + interval '{{ var("flights_ahead_days") + 3 }} days'
    where {{ partitions }}.source <> 'schedule'
{%- endmacro %}


{#- First and last date of an incremental build's scope as YYYY-MM-DD, or nothing in a full build or for an empty
    scope. -#}
{% macro scope_edges(what) -%}
    {%- if execute and is_incremental() -%}
        {{ return(edges_of_scope(what)) }}
    {%- endif -%}
    {{ return(none) }}
{%- endmacro %}


{#- First and last date of the scope as YYYY-MM-DD, or nothing for an empty scope or before there is one. The scope is
    fixed before dbt starts, so it is asked once a run: the graph lives as long as that. -#}
{% macro edges_of_scope(what='facts') -%}
    {%- if not execute -%}
        {{ return(none) }}
    {%- endif -%}
    {%- set asked = 'ratchet_scope_of_' ~ what -%}
    {%- if asked not in graph -%}
        {%- do graph.update({asked: asked_edges(what)}) -%}
    {%- endif -%}
    {{ return(graph[asked]) }}
{%- endmacro %}


{% macro asked_edges(what) -%}
    {%- if load_relation(source('ops', 'build_scope')) is not none -%}
        {%- set found = run_query(
            "select cast(min(departure_date) as varchar), cast(max(departure_date) as varchar) from "
            ~ source('ops', 'build_scope') ~ " as build_scope " ~ dates_of(what)
        ).rows[0] -%}
        {%- if found[0] is not none -%}
            {{ return((found[0], found[1])) }}
        {%- endif -%}
    {%- endif -%}
    {{ return(none) }}
{%- endmacro %}


{% macro day_literal(day, plus) -%}
    {%- set moved = modules.datetime.date.fromisoformat(day) + modules.datetime.timedelta(days=plus) -%}
    cast('{{ moved.isoformat() }}' as date)
{%- endmacro %}


{#- Pre-hook of incremental models: takes the scope's dates out, in the transaction that appends them again. A model
    whose meta says is_additive keeps what it has. -#}
{% macro delete_build_scope(what='facts') -%}
    {%- if is_incremental() and not (config.get('meta') or {}).get('is_additive') -%}
        delete from {{ this }}
        where {{ in_build_scope(this.identifier, what) }}
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


{#- The versions of the flights that have one where `within` holds (a condition on `versions`): those themselves, and of
    flights that are on more than one date those elsewhere. Each date is read alone. -#}
{% macro versions_of_flights(within) -%}
    select versions.*
    from {{ ref('stg_schedule__flights') }} as versions
    where {{ within }}
    union all
    select versions.*
    from {{ ref('stg_schedule__flights') }} as versions
    inner join {{ ref('int_units_moved') }} as elsewhere
        on
            versions.loop = elsewhere.loop
            and versions.unit_id = elsewhere.unit_id
            and versions.departure_date = elsewhere.departure_date
    where
        not ({{ within }})
        and (elsewhere.loop, elsewhere.unit_id)
        in (
            select
                versions.loop,
                versions.unit_id
            from {{ ref('int_units_moved') }} as versions
            where {{ within }}
        )
{%- endmacro %}
