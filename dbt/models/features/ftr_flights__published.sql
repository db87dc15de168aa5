{{ config(materialized='view', schema='features') }}
-- depends_on: {{ ref('ftr_flights__pre_departure') }}

with

features as (
    select * from {{ source('published_features', 'ftr_flights__pre_departure') }}
),

gates as (
    select * from {{ source('ops', 'partition_gates') }}
),

published as (
    select features.*
    from features
    inner join gates
        on
            features.loop = gates.loop
            and features.departure_date = gates.partition_date
            and {{ opens_feature_partition('gates') }}
)

select
    loop,
    unit_id,
    departure_date,
    scheduled_departure_at,
    predict_at,
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
from published
