with

predictions as (
    select * from {{ source('raw', 'predictions') }}
),

passed as (
    select
        predictions.loop,
        predictions.prediction_id,
        predictions.unit_id,
        predictions.experiment_id,
        predictions.arm,
        predictions.model_version,
        predictions.is_served,
        predictions.score,
        predictions.latency_ms,
        predictions.event_at as predicted_at,
        predictions.received_at,
        predictions.received_date,
        predictions.row_hash
    from predictions
    where {{ passed_landing_gate('predictions', 'predictions') }}
)

select
    loop,
    prediction_id,
    unit_id,
    experiment_id,
    arm,
    model_version,
    is_served,
    score,
    latency_ms,
    predicted_at,
    received_at,
    received_date,
    row_hash
from passed
