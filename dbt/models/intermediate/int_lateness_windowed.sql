{%- set windows = [
    {
        'name': 'origin_6h', 'by': ['origin'], 'length': '6 hours',
        'outcomes': 'origin_outcomes_6h', 'late': 'origin_late_6h',
    },
    {
        'name': 'carrier_24h', 'by': ['carrier'], 'length': '24 hours',
        'outcomes': 'carrier_outcomes_24h', 'late': 'carrier_late_24h',
    },
    {
        'name': 'carrier_origin_28d', 'by': ['carrier', 'origin'], 'length': '28 days',
        'outcomes': 'carrier_origin_outcomes_28d', 'late': 'carrier_origin_late_28d',
    },
    {
        'name': 'dest_28d', 'by': ['dest'], 'length': '28 days',
        'outcomes': 'dest_outcomes_28d', 'late': 'dest_late_28d',
    },
] -%}
{%- set in_reach = departing_within(
    'versions.departure_date',
    'features',
    var('flights_lookback_days') + var('flights_amend_days') + 1,
    var('flights_ahead_days') + 2
) -%}

with

scheduled as (
    select * from {{ ref('int_flights_scheduled') }}
),

outcomes as (
    select * from {{ ref('stg_outcomes__outcomes') }}
),

flights as (
    select
        scheduled.loop,
        scheduled.unit_id,
        scheduled.departure_date,
        scheduled.predict_at,
        scheduled.origin,
        scheduled.carrier,
        scheduled.dest
    from scheduled
    where
        {{ in_build_scope('scheduled', 'features') }}
        and scheduled.is_known_in_time
),

-- Every flight that an outcome in reach may be about; one that is known early departs after the scope.
versions as (
    {{ versions_of_flights(in_reach) | indent(4) }}
),

timed as (
    select
        versions.loop,
        versions.unit_id,
        versions.scheduled_departure_at,
        versions.origin,
        versions.carrier,
        versions.dest,
        versions.received_at,
        versions.row_hash,
        case
            when
                versions.received_at
                < versions.scheduled_departure_at - interval '{{ var("flights_lead_hours") }} hours'
                then 1
            else 0
        end as is_in_time
    from versions
),

known_so_far as (
    select
        timed.*,
        max(timed.is_in_time) over (
            partition by timed.loop, timed.unit_id
            order by timed.received_at, timed.row_hash
            rows between unbounded preceding and current row
        ) as is_known_in_time
    from timed
),

-- How each flight was scheduled by what was known when: a version that came later, or too late beside one that
-- came in time, must not change what was known before it. A flight may be on another route by then.
standing as (
    select
        known_so_far.*,
        lead(known_so_far.received_at) over (
            partition by known_so_far.loop, known_so_far.unit_id
            order by known_so_far.received_at, known_so_far.row_hash
        ) as replaced_at
    from known_so_far
    where known_so_far.is_in_time = known_so_far.is_known_in_time
),

-- An outcome says nothing about an airport before the flight's schedule is known too.
outcomes_known as (
    select
        outcomes.loop,
        outcomes.unit_id,
        standing.origin,
        standing.carrier,
        standing.dest,
        standing.replaced_at,
        greatest(outcomes.received_at, standing.received_at) as known_at,
        case when outcomes.outcome_value >= {{ var('flights_label_threshold_minutes') }} then 1 else 0 end as n_late,
        lead(outcomes.received_at) over (
            partition by outcomes.loop, outcomes.unit_id, standing.received_at, standing.row_hash
            order by outcomes.received_at, outcomes.row_hash
        ) as corrected_at
    from outcomes
    inner join standing
        on
            outcomes.loop = standing.loop
            and outcomes.unit_id = standing.unit_id
    where
        {{ received_within(
            'outcomes.received_at',
            var('flights_lookback_days') + var('flights_amend_days') + var('flights_ahead_days') + 1,
            0,
            'features'
        ) }}
        and {{ within_reach('outcomes.received_at', 'standing.scheduled_departure_at') }}
        and standing.received_at
        <= standing.scheduled_departure_at + interval '{{ var("flights_amend_days") }} days'
),

-- What was known of an outcome from known_at until it was corrected or its flight was rescheduled.
outcome_versions as (
    select
        outcomes_known.*,
        {{ earlier_of('outcomes_known.corrected_at', 'outcomes_known.replaced_at') }} as superseded_at
    from outcomes_known
    where
        coalesce(outcomes_known.known_at < outcomes_known.corrected_at, true)
        and coalesce(outcomes_known.known_at < outcomes_known.replaced_at, true)
),

{{ outcomes_in_windows(windows) }}

-- Few versions are ever replaced, and these alone are compared with every flight.
replaced as (
    select * from outcome_versions
    where superseded_at is not null
),

-- A version that was already replaced when the prediction was made does not count beside its successor.
superseded as (
    select
        flights.loop,
        flights.unit_id,
        replaced.n_late,
        case
            when
                replaced.origin = flights.origin
                and replaced.known_at >= flights.predict_at - interval '6 hours'
                then 1
            else 0
        end as is_origin_6h,
        case
            when
                replaced.carrier = flights.carrier
                and replaced.known_at >= flights.predict_at - interval '24 hours'
                then 1
            else 0
        end as is_carrier_24h,
        case
            when replaced.carrier = flights.carrier and replaced.origin = flights.origin then 1
            else 0
        end as is_carrier_origin_28d,
        case when replaced.dest = flights.dest then 1 else 0 end as is_dest_28d
    from flights
    inner join replaced
        on
            flights.loop = replaced.loop
            and flights.predict_at > replaced.superseded_at
            and flights.predict_at <= replaced.known_at + interval '28 days'
),

corrections as (
    select
        loop,
        unit_id,
        sum(is_origin_6h) as origin_outcomes_6h,
        sum(is_origin_6h * n_late) as origin_late_6h,
        sum(is_carrier_24h) as carrier_outcomes_24h,
        sum(is_carrier_24h * n_late) as carrier_late_24h,
        sum(is_carrier_origin_28d) as carrier_origin_outcomes_28d,
        sum(is_carrier_origin_28d * n_late) as carrier_origin_late_28d,
        sum(is_dest_28d) as dest_outcomes_28d,
        sum(is_dest_28d * n_late) as dest_late_28d
    from superseded
    group by loop, unit_id
),

corrected as (
    select
        windowed.loop,
        windowed.unit_id,
        windowed.departure_date,
        {{ less('windowed.origin_outcomes_6h', 'corrections.origin_outcomes_6h') }} as origin_outcomes_6h,
        {{ less('windowed.origin_late_6h', 'corrections.origin_late_6h') }} as origin_late_6h,
        {{ less('windowed.carrier_outcomes_24h', 'corrections.carrier_outcomes_24h') }} as carrier_outcomes_24h,
        {{ less('windowed.carrier_late_24h', 'corrections.carrier_late_24h') }} as carrier_late_24h,
        {{ less('windowed.carrier_origin_outcomes_28d', 'corrections.carrier_origin_outcomes_28d') }}
            as carrier_origin_outcomes_28d,
        {{ less('windowed.carrier_origin_late_28d', 'corrections.carrier_origin_late_28d') }}
            as carrier_origin_late_28d,
        {{ less('windowed.dest_outcomes_28d', 'corrections.dest_outcomes_28d') }} as dest_outcomes_28d,
        {{ less('windowed.dest_late_28d', 'corrections.dest_late_28d') }} as dest_late_28d
    from windowed
    left join corrections
        on
            windowed.loop = corrections.loop
            and windowed.unit_id = corrections.unit_id
)

select
    loop,
    unit_id,
    departure_date,
    origin_outcomes_6h,
    origin_late_6h,
    carrier_outcomes_24h,
    carrier_late_24h,
    carrier_origin_outcomes_28d,
    carrier_origin_late_28d,
    dest_outcomes_28d,
    dest_late_28d
from corrected
