{{ config(materialized='view') }}
-- What mon_rows_unplaced says of the partitions of the running build, without reading years of flights: first the
-- flights that depart within reach of a partition are asked, and for rows about none of them all others.

with

partitions as (
    select * from {{ source('ops', 'building_partitions') }}
),

flights as not materialized (
    select * from {{ ref('int_flights_scheduled') }}
),

calendar as (
    select distinct
        loop,
        departure_date
    from flights
),

near as (
    {{ departing_near('calendar', 'partitions') | indent(4) }}
),

flights_near as (
    select
        flights.loop,
        flights.unit_id,
        flights.scheduled_departure_at
    from flights
    inner join near
        on
            flights.loop = near.loop
            and flights.departure_date = near.departure_date
),

landed as (
    {% for name, staged in var('flights_unit_sources').items() %}
        select
            {{ name }}.loop,
            partitions.source,
            partitions.received_date,
            {{ name }}.unit_id,
            {{ name }}.received_at
        from {{ ref(staged) }} as {{ name }}
        inner join partitions
            on
                {{ name }}.loop = partitions.loop
                and {{ name }}.received_date = partitions.received_date
        where partitions.source = '{{ name }}'
        {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

looked_up as (
    select
        landed.*,
        case
            when {{ within_reach('landed.received_at', 'flights_near.scheduled_departure_at') }} then 0
            else 1
        end as is_unplaced
    from landed
    left join flights_near
        on
            landed.loop = flights_near.loop
            and landed.unit_id = flights_near.unit_id
),

known as (
    select distinct
        flights.loop,
        flights.unit_id
    from flights
    inner join looked_up
        on
            flights.loop = looked_up.loop
            and flights.unit_id = looked_up.unit_id
    where looked_up.is_unplaced = 1
),

placed as (
    select
        looked_up.*,
        case when looked_up.is_unplaced = 1 and known.unit_id is null then 1 else 0 end as is_unknown_unit
    from looked_up
    left join known
        on
            looked_up.loop = known.loop
            and looked_up.unit_id = known.unit_id
            and looked_up.is_unplaced = 1
),

counted as (
    select
        loop,
        source,
        received_date,
        {{ count_of('*') }} as n_rows,
        {{ whole_sum('is_unknown_unit') }} as n_unknown_unit,
        {{ whole_sum('is_unplaced - is_unknown_unit') }} as n_out_of_reach
    from placed
    group by loop, source, received_date
)

select
    loop,
    source,
    received_date,
    n_rows,
    n_unknown_unit,
    n_out_of_reach
from counted
