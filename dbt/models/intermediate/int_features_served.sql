{{ config(pre_hook="{{ delete_build_scope() }}") }}

with

flights as (
    select * from {{ ref('int_flights_scheduled') }}
),

served as (
    select * from {{ ref('stg_served_features__features') }}
),

placed as (
    select
        served.*,
        flights.departure_date,
        row_number() over (
            partition by served.loop, served.unit_id
            order by served.received_at desc, served.row_hash desc
        ) as version_rank
    from served
    inner join flights
        on
            served.loop = flights.loop
            and served.unit_id = flights.unit_id
    where
        {{ in_build_scope('flights') }}
        and {{ received_within_reach('served.received_at') }}
        and {{ within_reach('served.received_at', 'flights.scheduled_departure_at') }}
),

latest as (
    select * from placed
    where version_rank = 1
)

select
    loop,
    unit_id,
    departure_date,
    predicted_at,
    received_at,
    departure_hour,
    departure_weekday,
    distance_miles,
    plane_age_years,
    plane_seats,
    origin_late_share_6h,
    origin_flights_6h,
    carrier_late_share_24h,
    carrier_origin_late_share_28d,
    dest_late_share_28d,
    route_complaint_share_28d,
    temperature_f,
    dew_point_f,
    humidity_pct,
    wind_speed_mph,
    wind_gust_mph,
    precipitation_in,
    pressure_mb,
    visibility_miles,
    origin,
    carrier
from latest
