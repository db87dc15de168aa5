with

outcomes as (
    select * from {{ source('raw', 'outcomes') }}
),

passed as (
    select
        outcomes.loop,
        outcomes.outcome_id,
        outcomes.unit_id,
        outcomes.outcome_value,
        outcomes.event_at as outcome_event_at,
        outcomes.received_at,
        outcomes.received_date,
        outcomes.row_hash
    from outcomes
    where {{ passed_landing_gate('outcomes', 'outcomes') }}
)

select
    loop,
    outcome_id,
    unit_id,
    outcome_value,
    outcome_event_at,
    received_at,
    received_date,
    row_hash
from passed
