with

telemetry as (
    select * from {{ source('raw', 'telemetry') }}
),

passed as (
    select
        telemetry.loop,
        telemetry.telemetry_id,
        telemetry.prediction_id,
        telemetry.unit_id,
        telemetry.event_type,
        telemetry.event_count,
        telemetry.latency_ms,
        telemetry.is_simulated,
        telemetry.event_at as telemetry_event_at,
        telemetry.received_at,
        telemetry.received_date,
        telemetry.row_hash
    from telemetry
    where {{ passed_landing_gate('telemetry', 'telemetry') }}
)

select
    loop,
    telemetry_id,
    prediction_id,
    unit_id,
    event_type,
    event_count,
    latency_ms,
    is_simulated,
    telemetry_event_at,
    received_at,
    received_date,
    row_hash
from passed
