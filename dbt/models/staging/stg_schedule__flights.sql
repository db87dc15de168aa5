with

schedule as (
    select * from {{ source('raw', 'schedule') }}
),

passed as (
    select
        schedule.loop,
        schedule.flight_id as unit_id,
        schedule.carrier,
        schedule.tail_number,
        schedule.origin,
        schedule.dest,
        schedule.scheduled_departure_at,
        schedule.departure_date,
        schedule.departure_hour,
        schedule.departure_weekday,
        schedule.distance_miles,
        schedule.received_at,
        schedule.row_hash
    from schedule
    where {{ passed_landing_gate('schedule', 'schedule') }}
)

select
    loop,
    unit_id,
    carrier,
    tail_number,
    origin,
    dest,
    scheduled_departure_at,
    departure_date,
    departure_hour,
    departure_weekday,
    distance_miles,
    received_at,
    row_hash
from passed
