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
        ) as is_in_window
    from answers
    inner join predictions
        on
            answers.loop = predictions.loop
            and answers.prediction_id = predictions.prediction_id
            and answers.unit_id = predictions.unit_id
    inner join flights
        on
            predictions.loop = flights.loop
            and predictions.departure_date = flights.departure_date
            and predictions.unit_id = flights.unit_id
    where
        {{ in_build_scope('predictions') }}
        and predictions.is_served
        and {{ received_within_reach('answers.received_at') }}
        and {{ within_reach('answers.received_at', 'flights.scheduled_departure_at') }}
),

-- What was last said when the window closed stands; a later edit moves no sum that was already judged.
ranked as (
    select
        placed.*,
        row_number() over (
            partition by placed.loop, placed.feedback_id, placed.prediction_id, placed.unit_id
            order by
                case when placed.is_in_window then 0 else 1 end asc,
                placed.received_at desc,
                placed.row_hash desc
        ) as version_rank
    from placed
),

latest as (
    select * from ranked
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
    may_train,
    may_contact,
    has_comment,
    language,
    sentiment,
    understood_as,
    understood_confidence,
    enrichment_version,
    feedback_event_at,
    received_at as feedback_received_at,
    is_in_window,
    is_simulated
from latest
