{%- set claims = {'positive': var('flights_claims_positive'), 'negative': var('flights_claims_negative')} -%}

with

flights as (
    select * from {{ ref('int_flights_scheduled') }}
),

feedback as (
    select * from {{ ref('fct_feedback') }}
),

outcomes as (
    select * from {{ ref('stg_outcomes__outcomes') }}
),

weights as (
    select * from {{ source('ops', 'feedback_weights') }}
),

closing as (
    select
        flights.loop,
        flights.unit_id,
        flights.departure_date,
        flights.scheduled_departure_at
        + interval '{{ var("flights_feedback_maturity_hours") }} hours' as closed_at
    from flights
    where {{ in_build_scope('flights') }}
),

reported as (
    select distinct
        closing.loop,
        closing.unit_id
    from closing
    inner join outcomes
        on
            closing.loop = outcomes.loop
            and closing.unit_id = outcomes.unit_id
            and closing.closed_at >= outcomes.received_at
    where {{ received_within_reach('outcomes.received_at') }}
),

asserted as (
    select
        feedback.loop,
        feedback.unit_id,
        feedback.departure_date,
        feedback.feedback_id,
        closing.closed_at,
        case
            {% for side, topics in claims.items() %}
                when coalesce(feedback.category, feedback.understood_as) in ('{{ topics | join("', '") }}')
                    then '{{ side }}'
            {% endfor %}
        end as side
    from feedback
    inner join closing
        on
            feedback.loop = closing.loop
            and feedback.unit_id = closing.unit_id
    left join reported
        on
            feedback.loop = reported.loop
            and feedback.unit_id = reported.unit_id
    where
        {{ in_build_scope('feedback') }}
        and feedback.is_in_window
        and coalesce(feedback.may_train, true)
        and reported.unit_id is null
),

-- What was judged of an answer by the time at which its flight's answers were closed; 1 where nothing was.
weighed as (
    select
        asserted.loop,
        asserted.unit_id,
        asserted.departure_date,
        asserted.closed_at,
        asserted.side,
        coalesce(weights.weight, 1.0) as weight,
        row_number() over (
            partition by asserted.loop, asserted.feedback_id, asserted.unit_id
            order by weights.as_of desc, weights.weights_version desc
        ) as weight_rank
    from asserted
    left join weights
        on
            asserted.loop = weights.loop
            and asserted.feedback_id = weights.feedback_id
            and asserted.closed_at >= weights.as_of
    where asserted.side is not null
)

select
    loop,
    unit_id,
    departure_date,
    closed_at,
    {{ exact_sum("case when side = 'positive' then weight else 0 end") }} as sum_positive,
    {{ exact_sum("case when side = 'negative' then weight else 0 end") }} as sum_negative
from weighed
where weight_rank = 1
group by loop, unit_id, departure_date, closed_at
