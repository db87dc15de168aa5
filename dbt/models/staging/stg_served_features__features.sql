with

served_features as (
    select * from {{ source('raw', 'served_features') }}
),

passed as (
    select
        served_features.loop,
        served_features.unit_id,
        served_features.departure_hour,
        served_features.departure_weekday,
        served_features.distance_miles,
        served_features.plane_age_years,
        served_features.plane_seats,
        served_features.origin_late_share_6h,
        served_features.origin_flights_6h,
        served_features.carrier_late_share_24h,
        served_features.carrier_origin_late_share_28d,
        served_features.dest_late_share_28d,
        served_features.route_complaint_share_28d,
        served_features.temperature_f,
        served_features.dew_point_f,
        served_features.humidity_pct,
        served_features.wind_speed_mph,
        served_features.wind_gust_mph,
        served_features.precipitation_in,
        served_features.pressure_mb,
        served_features.visibility_miles,
        served_features.origin,
        served_features.carrier,
        served_features.event_at as predicted_at,
        served_features.received_at,
        served_features.received_date,
        served_features.row_hash
    from served_features
    where {{ passed_landing_gate('served_features', 'served_features') }}
)

select
    loop,
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
    predicted_at,
    received_at,
    received_date,
    row_hash
from passed
