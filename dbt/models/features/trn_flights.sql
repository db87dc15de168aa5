{{ config(materialized='view', schema='features') }}
-- depends_on: {{ ref('fct_labels') }}

with

features as (
    select * from {{ ref('ftr_flights__published') }}
),

labels as (
    select * from {{ source('published_marts', 'fct_labels') }}
),

labelled as (
    select
        features.*,
        labels.label,
        labels.outcome_received_at as label_received_at
    from features
    inner join labels
        on
            features.loop = labels.loop
            and features.departure_date = labels.departure_date
            and features.unit_id = labels.unit_id
    where labels.is_in_window
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
    label,
    label_received_at
from labelled
