with

flights as (
    select * from {{ ref('int_flights_scheduled') }}
),

outcomes as (
    select * from {{ ref('stg_outcomes__outcomes') }}
),

timed as (
    select
        flights.loop,
        flights.unit_id,
        flights.departure_date,
        outcomes.outcome_value,
        outcomes.outcome_event_at,
        outcomes.received_at as outcome_received_at,
        outcomes.row_hash,
        (
            outcomes.received_at
            <= flights.scheduled_departure_at + interval '{{ var("flights_label_maturity_hours") }} hours'
        ) as is_in_window
    from flights
    inner join outcomes
        on
            flights.loop = outcomes.loop
            and flights.unit_id = outcomes.unit_id
    where
        {{ in_build_scope('flights') }}
        and {{ received_within_reach('outcomes.received_at') }}
        and {{ within_reach('outcomes.received_at', 'flights.scheduled_departure_at') }}
),

-- What was last known when the window closed stands; only a unit without that shows a late report.
ranked as (
    select
        timed.*,
        case
            when timed.outcome_value >= {{ var('flights_label_threshold_minutes') }} then 1
            else 0
        end as label,
        row_number() over (
            partition by timed.loop, timed.unit_id
            order by
                case when timed.is_in_window then 0 else 1 end asc,
                timed.outcome_received_at desc,
                timed.row_hash desc
        ) as version_rank
    from timed
),

latest as (
    select * from ranked
    where version_rank = 1
)

select
    loop,
    unit_id,
    departure_date,
    label,
    outcome_value,
    outcome_event_at,
    outcome_received_at,
    is_in_window
from latest
