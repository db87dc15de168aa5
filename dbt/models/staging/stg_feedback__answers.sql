with

feedback as (
    select * from {{ source('raw', 'feedback') }}
),

passed as (
    select
        feedback.loop,
        feedback.feedback_id,
        feedback.prediction_id,
        feedback.unit_id,
        feedback.channel,
        feedback.rating,
        feedback.category,
        feedback.is_simulated,
        feedback.event_at as feedback_event_at,
        feedback.received_at,
        feedback.received_date,
        feedback.row_hash,
        case
            when feedback.consent is not null
                then feedback.consent in ('use_for_training', 'use_for_training+contact')
        end as may_train,
        case
            when feedback.consent is not null
                then feedback.consent in ('contact', 'use_for_training+contact')
        end as may_contact,
        (feedback.comment is not null and feedback.comment <> '') as has_comment
    from feedback
    where {{ passed_landing_gate('feedback', 'feedback') }}
)

select
    loop,
    feedback_id,
    prediction_id,
    unit_id,
    channel,
    rating,
    category,
    may_train,
    may_contact,
    is_simulated,
    feedback_event_at,
    received_at,
    received_date,
    row_hash,
    has_comment
from passed
