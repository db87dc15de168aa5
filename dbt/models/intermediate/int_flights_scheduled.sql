with

versions as (
    select * from {{ ref('stg_schedule__flights') }}
),

timed as (
    select
        versions.*,
        versions.scheduled_departure_at - interval '{{ var("flights_lead_hours") }} hours' as predict_at
    from versions
    where {{ in_build_scope('versions', 'features') }}
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
    where version_rank = 1
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
