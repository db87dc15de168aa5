{{ config(meta={'is_additive': true}) }}
-- Reads the landed rows themselves: a version that is blocked today may pass tomorrow, and a flight too many here is
-- only looked up once more.

with

schedule as not materialized (
    select * from {{ source('raw', 'schedule') }}
),

{% if is_incremental() %}
    partitions as (
        select * from {{ source('ops', 'building_partitions') }}
    ),

    arrived as (
        select distinct
            schedule.loop,
            schedule.flight_id
        from schedule
        inner join partitions
            on
                schedule.loop = partitions.loop
                and schedule.received_date = partitions.received_date
        where partitions.source = 'schedule'
    ),

{% endif %}

moved as (
    select
        schedule.loop,
        schedule.flight_id
    from schedule
    {% if is_incremental() %}
        inner join arrived
            on
                schedule.loop = arrived.loop
                and schedule.flight_id = arrived.flight_id
    {% endif %}
    group by schedule.loop, schedule.flight_id
    having min(schedule.departure_date) <> max(schedule.departure_date)
),

dated as (
    select distinct
        schedule.loop,
        schedule.flight_id as unit_id,
        schedule.departure_date
    from schedule
    inner join moved
        on
            schedule.loop = moved.loop
            and schedule.flight_id = moved.flight_id
),

missing as (
    select dated.*
    from dated
    {% if is_incremental() %}
        left join {{ this }} as known
            on
                dated.loop = known.loop
                and dated.unit_id = known.unit_id
                and dated.departure_date = known.departure_date
        where known.unit_id is null
    {% endif %}
)

select
    loop,
    unit_id,
    departure_date
from missing
