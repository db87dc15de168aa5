with

scheduled as (
    select * from {{ ref('int_flights_scheduled') }}
),

lateness as (
    select * from {{ ref('int_lateness_windowed') }}
),

complaints as (
    select * from {{ ref('int_complaints_windowed') }}
),

weather as (
    select * from {{ ref('int_weather_observed') }}
),

planes as (
    select * from {{ ref('stg_planes__planes') }}
),

landed as (
    select * from {{ ref('int_feeds_landed') }}
),

-- A row exists once everything that its prediction may know has landed, so that it never changes afterwards.
flights as (
    select scheduled.*
    from scheduled
    inner join landed
        on
            scheduled.loop = landed.loop
            and scheduled.predict_at < landed.landed_until
    where
        {{ in_build_scope('scheduled', 'features') }}
        and scheduled.is_known_in_time
),

plane_versions as (
    select
        planes.*,
        lead(planes.received_at) over (
            partition by planes.loop, planes.tail_number
            order by planes.received_at, planes.row_hash
        ) as superseded_at
    from planes
),

features as (
    select
        flights.loop,
        flights.unit_id,
        flights.departure_date,
        flights.scheduled_departure_at,
        flights.predict_at,
        flights.departure_hour,
        flights.departure_weekday,
        flights.distance_miles,
        cast(
            extract(year from flights.departure_date) - plane_versions.manufacture_year as double precision
        ) as plane_age_years,
        cast(plane_versions.seats as double precision) as plane_seats,
        {{ share('lateness.origin_late_6h', 'lateness.origin_outcomes_6h') }} as origin_late_share_6h,
        lateness.origin_outcomes_6h as origin_flights_6h,
        {{ share('lateness.carrier_late_24h', 'lateness.carrier_outcomes_24h') }} as carrier_late_share_24h,
        {{ share('lateness.carrier_origin_late_28d', 'lateness.carrier_origin_outcomes_28d') }}
            as carrier_origin_late_share_28d,
        {{ share('lateness.dest_late_28d', 'lateness.dest_outcomes_28d') }} as dest_late_share_28d,
        case
            when complaints.route_answers_28d >= {{ var('flights_complaints_min_answers') }}
                then complaints.route_complaints_28d / complaints.route_answers_28d
        end as route_complaint_share_28d,
        weather.temperature_f,
        weather.dew_point_f,
        weather.humidity_pct,
        weather.wind_speed_mph,
        weather.wind_gust_mph,
        weather.precipitation_in,
        weather.pressure_mb,
        weather.visibility_miles,
        flights.origin,
        flights.carrier
    from flights
    inner join lateness
        on
            flights.loop = lateness.loop
            and flights.departure_date = lateness.departure_date
            and flights.unit_id = lateness.unit_id
            and {{ departing_within('lateness.departure_date', 'features') }}
    inner join complaints
        on
            flights.loop = complaints.loop
            and flights.departure_date = complaints.departure_date
            and flights.unit_id = complaints.unit_id
            and {{ departing_within('complaints.departure_date', 'features') }}
    left join weather
        on
            flights.loop = weather.loop
            and flights.departure_date = weather.departure_date
            and flights.unit_id = weather.unit_id
            and {{ departing_within('weather.departure_date', 'features') }}
    left join plane_versions
        on
            flights.loop = plane_versions.loop
            and flights.tail_number = plane_versions.tail_number
            and flights.predict_at > plane_versions.received_at
            and (plane_versions.superseded_at is null or flights.predict_at <= plane_versions.superseded_at)
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
from features
