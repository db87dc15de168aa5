with

flights as (
    select * from {{ ref('int_flights_scheduled') }}
),

outcomes as (
    select * from {{ ref('stg_outcomes__outcomes') }}
),

predictions as (
    select * from {{ ref('fct_predictions') }}
),

answers as (
    select * from {{ ref('fct_feedback') }}
),

scheduled as (
    select
        flights.loop,
        flights.unit_id,
        flights.departure_date,
        flights.scheduled_departure_at
    from flights
    where {{ in_build_scope('flights') }}
),

first_outcomes as (
    select
        scheduled.loop,
        scheduled.departure_date,
        scheduled.unit_id,
        scheduled.scheduled_departure_at,
        min(outcomes.received_at) as received_at
    from scheduled
    inner join outcomes
        on
            scheduled.loop = outcomes.loop
            and scheduled.unit_id = outcomes.unit_id
    where
        {{ received_within_reach('outcomes.received_at') }}
        and {{ within_reach('outcomes.received_at', 'scheduled.scheduled_departure_at') }}
    group by scheduled.loop, scheduled.departure_date, scheduled.unit_id, scheduled.scheduled_departure_at
),

first_answers as (
    select
        scheduled.loop,
        scheduled.departure_date,
        answers.prediction_id as unit_id,
        scheduled.scheduled_departure_at,
        min(answers.feedback_received_at) as received_at
    from scheduled
    inner join answers
        on
            scheduled.loop = answers.loop
            and scheduled.departure_date = answers.departure_date
            and scheduled.unit_id = answers.unit_id
            and {{ departing_within('answers.departure_date') }}
    group by scheduled.loop, scheduled.departure_date, answers.prediction_id, scheduled.scheduled_departure_at
),

received as (
    select
        'outcomes' as source,
        first_outcomes.*
    from first_outcomes
    union all
    select
        'feedback' as source,
        first_answers.*
    from first_answers
),

ages as (
    {% for age in var('flights_maturity_ages_hours') %}
        select {{ age }} as age_hours
        {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

units as (
    select
        'outcomes' as source,
        loop,
        departure_date,
        {{ count_of('*') }} as n_units,
        max(scheduled_departure_at) as last_departure_at
    from scheduled
    group by loop, departure_date
    union all
    select
        'feedback' as source,
        scheduled.loop,
        scheduled.departure_date,
        {{ count_of('*') }} as n_units,
        max(scheduled.scheduled_departure_at) as last_departure_at
    from scheduled
    inner join predictions
        on
            scheduled.loop = predictions.loop
            and scheduled.departure_date = predictions.departure_date
            and scheduled.unit_id = predictions.unit_id
            and {{ departing_within('predictions.departure_date') }}
    where predictions.is_served
    group by scheduled.loop, scheduled.departure_date
),

curve as (
    select
        units.loop,
        units.source,
        units.departure_date,
        ages.age_hours,
        units.n_units,
        units.last_departure_at,
        {{ count_of('received.unit_id') }} as n_received
    from units
    cross join ages
    left join received
        on
            units.loop = received.loop
            and units.source = received.source
            and units.departure_date = received.departure_date
            and received.received_at <= received.scheduled_departure_at + ages.age_hours * interval '1 hour'
    group by
        units.loop, units.source, units.departure_date, ages.age_hours, units.n_units, units.last_departure_at
)

select
    loop,
    cast(source as varchar) as source,
    departure_date,
    age_hours,
    n_units,
    n_received,
    last_departure_at + age_hours * interval '1 hour' as complete_at
from curve
