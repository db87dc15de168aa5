{{ config(materialized='view', schema='monitoring') }}

with

flights as (
    select * from {{ ref('int_flights_scheduled') }}
),

rows_of_sources as (
    {% for name, staged in var('flights_unit_sources').items() %}
        select
            loop,
            '{{ name }}' as source,
            received_date,
            unit_id,
            received_at
        from {{ ref(staged) }}
        {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

placed as (
    select
        rows_of_sources.loop,
        rows_of_sources.source,
        rows_of_sources.received_date,
        case when flights.unit_id is null then 1 else 0 end as is_unknown_unit,
        case
            when {{ within_reach('rows_of_sources.received_at', 'flights.scheduled_departure_at') }} then 0
            when flights.unit_id is null then 0
            else 1
        end as is_out_of_reach
    from rows_of_sources
    left join flights
        on
            rows_of_sources.loop = flights.loop
            and rows_of_sources.unit_id = flights.unit_id
),

counted as (
    select
        loop,
        source,
        received_date,
        {{ count_of('*') }} as n_rows,
        {{ whole_sum('is_unknown_unit') }} as n_unknown_unit,
        {{ whole_sum('is_out_of_reach') }} as n_out_of_reach
    from placed
    group by loop, source, received_date
)

select
    loop,
    cast(source as varchar) as source,
    received_date,
    n_rows,
    n_unknown_unit,
    n_out_of_reach
from counted
