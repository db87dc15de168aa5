{{ config(materialized='view', schema='features') }}
-- depends_on: {{ ref('fct_labels') }}, {{ ref('fct_claims') }}

with

features as (
    select * from {{ ref('ftr_flights__published') }}
),

labels as (
    select * from {{ source('published_marts', 'fct_labels') }}
),

claims as (
    select * from {{ source('published_marts', 'fct_claims') }}
),

-- An outcome is a label when it came in time. What users assert is one where no outcome ever came, they are many
-- enough and nearly of one mind: to learn from, never to judge by.
labels_known as (
    select
        loop,
        unit_id,
        departure_date,
        label,
        outcome_received_at as label_received_at,
        'outcome' as label_source
    from labels
    where is_in_window
    union all
    select
        loop,
        unit_id,
        departure_date,
        case when sum_positive > sum_negative then 1 else 0 end as label,
        closed_at as label_received_at,
        'feedback' as label_source
    from claims
    where
        sum_positive + sum_negative >= {{ var('flights_claims_min_answers') }}
        and greatest(sum_positive, sum_negative)
        >= {{ var('flights_claims_min_agreement') }} * (sum_positive + sum_negative)
),

labelled as (
    select
        features.*,
        labels_known.label,
        labels_known.label_received_at,
        labels_known.label_source
    from features
    inner join labels_known
        on
            features.loop = labels_known.loop
            and features.departure_date = labels_known.departure_date
            and features.unit_id = labels_known.unit_id
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
    carrier,
    label,
    label_received_at,
    label_source
from labelled
