{%- set route = var('flights_complaints_by') -%}
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

answers as (
    select * from {{ ref('stg_feedback__answers') }}
),

weights as (
    select * from {{ source('ops', 'feedback_weights') }}
),

-- Features know whole days: what was received before the UTC day of the prediction.
flights as (
    select
        scheduled.loop,
        scheduled.unit_id,
        scheduled.departure_date,
        {% for column in route %}
            scheduled.{{ column }},
        {% endfor %}
        cast(scheduled.predict_at as date) as predicted_on
    from scheduled
    where
        {{ in_build_scope('scheduled', 'features') }}
        and scheduled.is_known_in_time
),

versions as (
    {{ versions_of_flights(in_reach) | indent(4) }}
),

-- Each version of an answer from its receipt to the next one's.
told as (
    select
        answers.loop,
        answers.feedback_id,
        answers.prediction_id,
        answers.unit_id,
        answers.received_at,
        answers.row_hash,
        coalesce(answers.category, answers.understood_as, 'none') as topic,
        coalesce(answers.may_train, true) as may_train,
        lead(answers.received_at) over (
            partition by answers.loop, answers.feedback_id, answers.prediction_id, answers.unit_id
            order by answers.received_at, answers.row_hash
        ) as replaced_at
    from answers
    where {{ received_within('answers.received_at', var('flights_lookback_days') + 1, 0, 'features') }}
),

-- The route as it was scheduled by what was known when the answer came; an answer about a flight that nobody knew
-- of says nothing of a route.
matched as (
    select
        told.*,
        {% for column in route %}
            versions.{{ column }},
        {% endfor %}
        versions.scheduled_departure_at,
        row_number() over (
            partition by told.loop, told.feedback_id, told.prediction_id, told.unit_id, told.received_at, told.row_hash
            order by versions.received_at desc, versions.row_hash desc
        ) as route_rank
    from told
    inner join versions
        on
            told.loop = versions.loop
            and told.unit_id = versions.unit_id
            and told.received_at >= versions.received_at
),

placed as (
    select
        matched.loop,
        matched.feedback_id,
        {% for column in route %}
            matched.{{ column }},
        {% endfor %}
        matched.received_at,
        matched.replaced_at,
        case
            when matched.topic in ('{{ var("flights_complaints") | join("', '") }}') then 1
            else 0
        end as is_complaint
    from matched
    where
        matched.route_rank = 1
        and matched.may_train
        and {{ within_reach('matched.received_at', 'matched.scheduled_departure_at') }}
),

-- An answer weighs 1 until a judgement says otherwise, and from then on what the latest one says.
weighed as (
    select
        weights.loop,
        weights.feedback_id,
        weights.weight,
        weights.as_of as holds_from,
        lead(weights.as_of) over (
            partition by weights.loop, weights.feedback_id
            order by weights.as_of, weights.weights_version
        ) as holds_until
    from weights
    where {{ received_within('weights.received_date', var('flights_lookback_days') + 1, 0, 'features') }}
),

first_weighed as (
    select
        loop,
        feedback_id,
        min(holds_from) as weighed_at
    from weighed
    group by loop, feedback_id
),

spans as (
    select
        placed.loop,
        {% for column in route %}
            placed.{{ column }},
        {% endfor %}
        placed.received_at,
        placed.is_complaint,
        1.0 as weight,
        placed.received_at as holds_from,
        {{ earlier_of('placed.replaced_at', 'first_weighed.weighed_at') }} as holds_until
    from placed
    left join first_weighed
        on
            placed.loop = first_weighed.loop
            and placed.feedback_id = first_weighed.feedback_id
    union all
    select
        placed.loop,
        {% for column in route %}
            placed.{{ column }},
        {% endfor %}
        placed.received_at,
        placed.is_complaint,
        weighed.weight,
        greatest(placed.received_at, weighed.holds_from) as holds_from,
        {{ earlier_of('placed.replaced_at', 'weighed.holds_until') }} as holds_until
    from placed
    inner join weighed
        on
            placed.loop = weighed.loop
            and placed.feedback_id = weighed.feedback_id
),

-- Thousandths: integers add up to the same in any order.
daily as (
    select
        loop,
        {% for column in route %}
            {{ column }},
        {% endfor %}
        cast(received_at as date) as received_on,
        cast(holds_from as date) as known_on,
        cast(holds_until as date) as known_until,
        sum(cast(floor(weight * 1000 + 0.5) as bigint)) as n_answers,
        sum(cast(floor(weight * 1000 + 0.5) as bigint) * is_complaint) as n_complaints
    from spans
    group by loop, {{ route | join(', ') }}, received_on, known_on, known_until
),

route_days as (
    select distinct
        loop,
        {% for column in route %}
            {{ column }},
        {% endfor %}
        predicted_on
    from flights
),

windowed as (
    select
        route_days.loop,
        {% for column in route %}
            route_days.{{ column }},
        {% endfor %}
        route_days.predicted_on,
        sum(daily.n_answers) as n_answers,
        sum(daily.n_complaints) as n_complaints
    from route_days
    inner join daily
        on
            route_days.loop = daily.loop
            {% for column in route %}
                and route_days.{{ column }} = daily.{{ column }}
            {% endfor %}
            and daily.received_on >= route_days.predicted_on - interval '{{ var("flights_complaints_days") }} days'
            and route_days.predicted_on > daily.known_on
            and coalesce(route_days.predicted_on <= daily.known_until, true)
    group by route_days.loop, route_days.{{ route | join(', route_days.') }}, route_days.predicted_on
),

complained as (
    select
        flights.loop,
        flights.unit_id,
        flights.departure_date,
        cast(coalesce(windowed.n_answers, 0) as double precision) / 1000 as route_answers_28d,
        cast(coalesce(windowed.n_complaints, 0) as double precision) / 1000 as route_complaints_28d
    from flights
    left join windowed
        on
            flights.loop = windowed.loop
            {% for column in route %}
                and flights.{{ column }} = windowed.{{ column }}
            {% endfor %}
            and flights.predicted_on = windowed.predicted_on
)

select
    loop,
    unit_id,
    departure_date,
    route_answers_28d,
    route_complaints_28d
from complained
