with

flights as (
    select * from {{ ref('int_flights_scheduled') }}
),

predictions as (
    select * from {{ ref('fct_predictions') }}
),

answers as (
    select * from {{ ref('stg_feedback__answers') }}
),

placed as (
    select
        answers.*,
        predictions.departure_date,
        predictions.experiment_id,
        predictions.arm,
        predictions.model_version,
        (
            answers.received_at
            <= flights.scheduled_departure_at + interval '{{ var("flights_feedback_maturity_hours") }} hours'
        ) as is_in_window,
        row_number() over (
            partition by answers.loop, answers.feedback_id
            order by answers.received_at desc, answers.row_hash desc
        ) as version_rank
    from answers
    inner join predictions
        on
            answers.loop = predictions.loop
            and answers.prediction_id = predictions.prediction_id
    inner join flights
        on
            predictions.loop = flights.loop
            and predictions.departure_date = flights.departure_date
            and predictions.unit_id = flights.unit_id
    where
        {{ in_build_scope('predictions') }}
        and predictions.is_served
),

latest as (
    select * from placed
    where version_rank = 1
)

select
    loop,
    feedback_id,
    prediction_id,
    unit_id,
    departure_date,
    experiment_id,
    arm,
    model_version,
    channel,
    rating,
    category,
    has_comment,
    feedback_event_at,
    received_at as feedback_received_at,
    is_in_window,
    is_simulated
from latest
