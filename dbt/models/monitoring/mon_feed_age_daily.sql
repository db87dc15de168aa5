{{ config(materialized='view', schema='monitoring') }}

with

observations as (
    select * from {{ ref('stg_weather__observations') }}
),

outcomes as (
    select * from {{ ref('stg_outcomes__outcomes') }}
),

telemetry as (
    select * from {{ ref('stg_telemetry__events') }}
),

timed as (
    select
        loop,
        'weather' as source,
        received_at,
        observed_at as event_at
    from observations
    union all
    select
        loop,
        'outcomes' as source,
        received_at,
        outcome_event_at as event_at
    from outcomes
    union all
    select
        loop,
        'telemetry' as source,
        received_at,
        telemetry_event_at as event_at
    from telemetry
),

-- The median: a few stragglers of a backfill make no day old.
aged as (
    select
        loop,
        source,
        cast(received_at as date) as received_date,
        {{ count_of('*') }} as n_rows,
        percentile_cont(0.5) within group (
            order by cast(extract(epoch from (received_at - event_at)) as double precision) / 3600
        ) as median_age_hours
    from timed
    group by loop, source, cast(received_at as date)
),

-- What was measured, without when: a feed that sends yesterday's numbers under today's times is found by nothing else.
measured as (
    select
        loop,
        cast(received_at as date) as received_date,
        origin || '|' || coalesce(cast(temperature_f as varchar), '')
        || '|' || coalesce(cast(dew_point_f as varchar), '') || '|' || coalesce(cast(humidity_pct as varchar), '')
        || '|' || coalesce(cast(wind_speed_mph as varchar), '')
        || '|' || coalesce(cast(wind_gust_mph as varchar), '')
        || '|' || coalesce(cast(precipitation_in as varchar), '')
        || '|' || coalesce(cast(pressure_mb as varchar), '')
        || '|' || coalesce(cast(visibility_miles as varchar), '') as measurement
    from observations
),

measured_days as (
    select
        loop,
        received_date,
        measurement,
        {{ count_of('*') }} as n_rows
    from measured
    group by loop, received_date, measurement
),

repeated as (
    select
        today.loop,
        today.received_date,
        {{ whole_sum('case when yesterday.measurement is not null then today.n_rows end') }} as n_repeated
    from measured_days as today
    left join measured_days as yesterday
        on
            today.loop = yesterday.loop
            and today.measurement = yesterday.measurement
            and today.received_date - 1 = yesterday.received_date
    group by today.loop, today.received_date
),

joined as (
    select
        aged.*,
        repeated.n_repeated
    from aged
    left join repeated
        on
            aged.loop = repeated.loop
            and aged.received_date = repeated.received_date
            and aged.source = 'weather'
)

select
    loop,
    source,
    received_date,
    n_rows,
    median_age_hours,
    n_repeated
from joined
