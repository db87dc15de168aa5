with

weather as (
    select * from {{ source('raw', 'weather') }}
),

passed as (
    select
        weather.loop,
        weather.origin,
        weather.event_at as observed_at,
        weather.received_at,
        weather.temperature_f,
        weather.dew_point_f,
        weather.humidity_pct,
        weather.wind_speed_mph,
        weather.wind_gust_mph,
        weather.precipitation_in,
        weather.pressure_mb,
        weather.visibility_miles,
        weather.row_hash
    from weather
    where {{ passed_landing_gate('weather', 'weather') }}
)

select
    loop,
    origin,
    observed_at,
    received_at,
    temperature_f,
    dew_point_f,
    humidity_pct,
    wind_speed_mph,
    wind_gust_mph,
    precipitation_in,
    pressure_mb,
    visibility_miles,
    row_hash
from passed
