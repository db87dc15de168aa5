with

scheduled as (
    select * from {{ ref('int_flights_scheduled') }}
),

observations as (
    select * from {{ ref('stg_weather__observations') }}
),

flights as (
    select
        scheduled.loop,
        scheduled.unit_id,
        scheduled.departure_date,
        scheduled.predict_at,
        scheduled.origin
    from scheduled
    where
        {{ in_build_scope('scheduled', 'features') }}
        and scheduled.is_known_in_time
),

received as (
    select
        observations.*,
        max(observations.observed_at) over (
            partition by observations.loop, observations.origin
            order by observations.received_at, observations.observed_at, observations.row_hash
            rows between unbounded preceding and current row
        ) as latest_observed_at
    from observations
    where {{ received_within('observations.received_at', 2, 0, 'features') }}
),

-- A straggler about an hour that a later observation has already passed never becomes the latest one. Numbered
-- across all origins, so that one number finds one observation.
latest as (
    select
        received.*,
        row_number() over (
            order by
                received.loop, received.origin, received.received_at, received.observed_at, received.row_hash
        ) as observation_number
    from received
    where received.observed_at = received.latest_observed_at
),

timeline as (
    select
        loop,
        origin,
        received_at as timeline_at,
        1 as is_observation,
        observation_number,
        cast(null as varchar) as unit_id,
        cast(null as date) as departure_date,
        cast(null as timestamp) as predict_at
    from latest
    union all
    select
        loop,
        origin,
        predict_at as timeline_at,
        0 as is_observation,
        cast(null as bigint) as observation_number,
        unit_id,
        departure_date,
        predict_at
    from flights
),

-- The number of the latest observation received strictly before the prediction: a flight stands before the
-- observations of its own instant.
numbered as (
    select
        timeline.loop,
        timeline.unit_id,
        timeline.departure_date,
        timeline.predict_at,
        max(timeline.observation_number) over (
            partition by timeline.loop, timeline.origin
            order by timeline.timeline_at, timeline.is_observation
            rows between unbounded preceding and current row
        ) as observation_number
    from timeline
),

observed as (
    select
        numbered.loop,
        numbered.unit_id,
        numbered.departure_date,
        latest.observed_at,
        latest.received_at,
        latest.temperature_f,
        latest.dew_point_f,
        latest.humidity_pct,
        latest.wind_speed_mph,
        latest.wind_gust_mph,
        latest.precipitation_in,
        latest.pressure_mb,
        latest.visibility_miles
    from numbered
    inner join latest
        on
            numbered.observation_number = latest.observation_number
            -- Weather of half a day ago says little, and a feed that stopped must show as missing.
            and numbered.predict_at <= latest.observed_at + interval '12 hours'
    where numbered.unit_id is not null
)

select
    loop,
    unit_id,
    departure_date,
    observed_at,
    received_at,
    temperature_f,
    dew_point_f,
    humidity_pct,
    wind_speed_mph,
    wind_gust_mph,
    precipitation_in,
    pressure_mb,
    visibility_miles
from observed
