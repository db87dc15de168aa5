{{ config(materialized='view', schema='monitoring') }}

with

labelled as (
    select * from {{ ref('trn_flights') }}
    where label_source = 'outcome'
),

sampled as (
    {{ sampled_by_day('labelled') | indent(4) }}
)

select
    loop,
    departure_date,
    unit_id,
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
    carrier,
    label
from sampled
