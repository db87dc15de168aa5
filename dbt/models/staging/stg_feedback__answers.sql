with

feedback as (
    select * from {{ source('raw', 'feedback') }}
),

enrichment as (
    select * from {{ source('ops', 'feedback_enrichment') }}
),

versions as (
    select * from {{ source('ops', 'enrichment_versions') }}
),

understood as (
    select
        enrichment.loop,
        enrichment.feedback_id,
        enrichment.row_hash,
        enrichment.thread_key,
        enrichment.language,
        enrichment.sentiment,
        enrichment.category,
        enrichment.confidence,
        enrichment.enrichment_version
    from enrichment
    inner join versions
        on
            enrichment.loop = versions.loop
            and enrichment.enrichment_version = versions.enrichment_version
            and versions.is_current
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
        understood.language,
        understood.sentiment,
        understood.category as understood_as,
        understood.confidence as understood_confidence,
        understood.thread_key,
        understood.enrichment_version,
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
    left join understood
        on
            feedback.loop = understood.loop
            and feedback.feedback_id = understood.feedback_id
            and feedback.row_hash = understood.row_hash
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
    language,
    sentiment,
    understood_as,
    understood_confidence,
    thread_key,
    enrichment_version,
    has_comment
from passed
