{{ config(materialized='view', schema='monitoring') }}
-- depends_on: {{ ref('fct_feedback') }}

with

feedback as (
    select * from {{ source('published_marts', 'fct_feedback') }}
),

weights as (
    select * from {{ source('ops', 'feedback_weights') }}
),

-- Added up to a moment, the changes of an answer are what it counted then, less one.
changes as (
    select
        weights.loop,
        weights.feedback_id,
        weights.as_of,
        weights.weight - coalesce(
            lag(weights.weight) over (
                partition by weights.loop, weights.feedback_id
                order by weights.as_of asc, weights.weights_version asc
            ),
            1
        ) as weight_change
    from weights
),

weighed as (
    select
        feedback.loop,
        feedback.departure_date,
        feedback.channel,
        {{ answer_category('feedback') }} as answer_category,
        changes.as_of as weighed_at,
        changes.weight_change
    from feedback
    inner join changes
        on
            feedback.loop = changes.loop
            and feedback.feedback_id = changes.feedback_id
    where feedback.is_in_window
),

summed as (
    select
        loop,
        departure_date,
        channel,
        answer_category,
        weighed_at,
        {{ exact_sum('weight_change') }} as sum_change
    from weighed
    group by loop, departure_date, channel, answer_category, weighed_at
)

select
    loop,
    departure_date,
    channel,
    cast(answer_category as varchar) as answer_category,
    weighed_at,
    sum_change
from summed
