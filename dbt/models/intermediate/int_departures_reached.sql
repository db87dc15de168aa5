{{ config(materialized='view') }}
-- Reads the landed rows themselves, not those that passed: a partition that is blocked, or no longer is, changes
-- what it reached.

with

partitions as (
    select * from {{ source('ops', 'building_partitions') }}
),

landed as (
    select * from {{ ref('int_feeds_landed') }}
),

built as (
    select * from {{ source('ops', 'built_until') }}
),

schedule as not materialized (
    select
        schedule.loop,
        schedule.flight_id as unit_id,
        schedule.departure_date,
        schedule.received_at,
        schedule.received_date
    from {{ source('raw', 'schedule') }} as schedule
),

outcomes as not materialized (
    select
        outcomes.loop,
        outcomes.unit_id,
        outcomes.received_at,
        outcomes.received_date
    from {{ source('raw', 'outcomes') }} as outcomes
),

feedback as not materialized (
    select
        feedback.loop,
        feedback.unit_id,
        feedback.received_at,
        feedback.received_date
    from {{ source('raw', 'feedback') }} as feedback
),

calendar as (
    select distinct
        loop,
        departure_date
    from schedule
),

near as (
    {{ departing_near('calendar', 'partitions') | indent(4) }}
),

scheduled_near as (
    select schedule.*
    from schedule
    inner join near
        on
            schedule.loop = near.loop
            and schedule.departure_date = near.departure_date
),

rescheduled as (
    select distinct
        schedule.loop,
        schedule.unit_id
    from schedule
    inner join partitions
        on
            schedule.loop = partitions.loop
            and schedule.received_date = partitions.received_date
    where partitions.source = 'schedule'
),

-- However long ago: the one place where all of the schedule is searched for a flight.
versions as (
    select schedule.*
    from schedule
    inner join rescheduled
        on
            schedule.loop = rescheduled.loop
            and schedule.unit_id = rescheduled.unit_id
),

versions_on as (
    select distinct
        loop,
        departure_date
    from versions
),

heard_on as (
    select distinct
        outcomes.loop,
        outcomes.received_date
    from outcomes
),

heard_near as (
    select distinct
        heard_on.loop,
        heard_on.received_date
    from heard_on
    inner join versions_on
        on
            heard_on.loop = versions_on.loop
            and heard_on.received_date
            between versions_on.departure_date - interval '{{ var("flights_ahead_days") + 3 }} days'
            and versions_on.departure_date + interval '{{ var("flights_amend_days") + 2 }} days'
),

outcomes_near as (
    select outcomes.*
    from outcomes
    inner join heard_near
        on
            outcomes.loop = heard_near.loop
            and outcomes.received_date = heard_near.received_date
),

answered_on as (
    select distinct
        landings.loop,
        landings.received_date
    from {{ source('ops', 'landings') }} as landings
    where landings.source = 'feedback'
),

answered_near as (
    select distinct
        answered_on.loop,
        answered_on.received_date
    from answered_on
    inner join versions_on
        on
            answered_on.loop = versions_on.loop
            and answered_on.received_date
            between versions_on.departure_date - interval '{{ var("flights_ahead_days") + 3 }} days'
            and versions_on.departure_date + interval '{{ var("flights_amend_days") + 2 }} days'
),

answers_near as (
    select feedback.*
    from feedback
    inner join answered_near
        on
            feedback.loop = answered_near.loop
            and feedback.received_date = answered_near.received_date
),

reported as (
    select
        outcomes.loop,
        outcomes.unit_id,
        outcomes.received_at
    from outcomes
    inner join partitions
        on
            outcomes.loop = partitions.loop
            and outcomes.received_date = partitions.received_date
    where partitions.source = 'outcomes'
),

-- Every flight that a row of the partitions is about: its facts change.
named as (
    select
        loop,
        unit_id
    from reported
    {% for name in var('flights_unit_sources') if name != 'outcomes' %}
        union
        select
            {{ name }}.loop,
            {{ name }}.unit_id
        from {{ source('raw', name) }} as {{ name }}
        inner join partitions
            on
                {{ name }}.loop = partitions.loop
                and {{ name }}.received_date = partitions.received_date
        where partitions.source = '{{ name }}'
    {% endfor %}
),

-- When something that features look at becomes known, and for how many days they look back at it. Of an outcome:
-- at its receipt, or when the schedule of its flight is known, if that is later; of an answer: at its receipt. An
-- observation counts for twelve hours. Once more has landed, flights have come into what is known.
known_times as (
    select
        reported.loop,
        cast(reported.received_at as date) as first_date,
        cast(greatest(reported.received_at, max(schedule.received_at)) as date) as last_date,
        {{ var('flights_lookback_days') }} as n_days
    from reported
    inner join scheduled_near as schedule
        on
            reported.loop = schedule.loop
            and reported.unit_id = schedule.unit_id
    group by reported.loop, reported.unit_id, reported.received_at
    union
    select
        versions.loop,
        cast(min(outcomes.received_at) as date) as first_date,
        cast(greatest(max(outcomes.received_at), max(versions.received_at)) as date) as last_date,
        {{ var('flights_lookback_days') }} as n_days
    from versions
    inner join outcomes_near as outcomes
        on
            versions.loop = outcomes.loop
            and versions.unit_id = outcomes.unit_id
    group by versions.loop, versions.unit_id
    union
    -- Whatever rows it has left: somebody may have asked to be forgotten.
    select
        partitions.loop,
        partitions.received_date as first_date,
        partitions.received_date as last_date,
        {{ var('flights_lookback_days') }} as n_days
    from partitions
    where partitions.source = 'feedback'
    union
    select
        versions.loop,
        cast(min(answers.received_at) as date) as first_date,
        cast(max(answers.received_at) as date) as last_date,
        {{ var('flights_lookback_days') }} as n_days
    from versions
    inner join answers_near as answers
        on
            versions.loop = answers.loop
            and versions.unit_id = answers.unit_id
    group by versions.loop, versions.unit_id
    union
    select
        partitions.loop,
        partitions.received_date as first_date,
        partitions.received_date as last_date,
        1 as n_days
    from partitions
    where partitions.source = 'weather'
    union
    select
        landed.loop,
        cast(built.landed_until as date) as first_date,
        cast(landed.landed_until as date) as last_date,
        0 as n_days
    from landed
    inner join built
        on landed.loop = built.loop
    where landed.landed_until > built.landed_until
),

-- Dates are local, times UTC: a day on either side.
windows as (
    select distinct
        loop,
        cast(first_date - interval '1 day' as date) as first_date,
        cast(last_date + (n_days + 1) * interval '1 day' as date) as last_date
    from known_times
),

reached as (
    select
        loop,
        departure_date,
        1 as is_feature_changed
    from versions
    union
    select
        calendar.loop,
        calendar.departure_date,
        1 as is_feature_changed
    from calendar
    inner join windows
        on
            calendar.loop = windows.loop
            and calendar.departure_date between windows.first_date and windows.last_date
    union
    -- A table that is delivered as a whole reaches every date; so does the first build.
    select
        calendar.loop,
        calendar.departure_date,
        1 as is_feature_changed
    from calendar
    where
        exists (
            select 1
            from partitions
            where
                partitions.loop = calendar.loop
                and partitions.source in ('{{ var("flights_reference_sources") | join("', '") }}')
        )
        or not exists (
            select 1
            from built
            where built.loop = calendar.loop
        )
    union
    select
        schedule.loop,
        schedule.departure_date,
        0 as is_feature_changed
    from scheduled_near as schedule
    inner join named
        on
            schedule.loop = named.loop
            and schedule.unit_id = named.unit_id
    union
    -- A label window has closed: what was open is unresolved.
    select
        calendar.loop,
        calendar.departure_date,
        0 as is_feature_changed
    from calendar
    inner join landed
        on calendar.loop = landed.loop
    inner join built
        on calendar.loop = built.loop
    where
        landed.outcomes_until > coalesce(built.outcomes_until, cast('1970-01-01' as timestamp))
        and calendar.departure_date <= landed.outcomes_until
        and (
            built.outcomes_until is null
            or calendar.departure_date
            >= built.outcomes_until - interval '{{ var("flights_label_maturity_hours") + 48 }} hours'
        )
)

select
    loop,
    departure_date,
    (max(is_feature_changed) = 1) as includes_features
from reached
group by loop, departure_date
