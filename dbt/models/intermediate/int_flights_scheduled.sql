with

-- All versions of a flight, also those that put it on another date: only one of them stands.
versions as (
    {{ versions_of_flights(in_build_scope('versions', 'features')) | indent(4) }}
),

timed as (
    select
        versions.*,
        versions.scheduled_departure_at - interval '{{ var("flights_lead_hours") }} hours' as predict_at
    from versions
),

ranked as (
    select
        timed.*,
        (timed.received_at < timed.predict_at) as is_known_in_time,
        row_number() over (
            partition by timed.loop, timed.unit_id
            order by
                case when timed.received_at < timed.predict_at then 0 else 1 end asc,
                timed.received_at desc,
                timed.row_hash desc
        ) as version_rank
    from timed
),

latest as (
    select * from ranked
    where
        version_rank = 1
        and {{ in_build_scope('ranked', 'features') }}
)

select
    loop,
    unit_id,
    departure_date,
    scheduled_departure_at,
    predict_at,
    received_at,
    is_known_in_time,
    carrier,
    origin,
    dest,
    tail_number,
    departure_hour,
    departure_weekday,
    distance_miles
from latest
