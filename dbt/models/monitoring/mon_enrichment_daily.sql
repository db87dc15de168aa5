{{ config(materialized='view', schema='monitoring') }}
with

enrichment as (
    select * from {{ source('ops', 'feedback_enrichment') }}
),

versions as (
    select * from {{ source('ops', 'enrichment_versions') }}
),

counted as (
    select
        enrichment.loop,
        enrichment.received_date,
        enrichment.enrichment_version,
        enrichment.language,
        enrichment.category,
        versions.is_current,
        {{ count_of('*') }} as n_texts,
        {{ count_of('distinct enrichment.thread_key') }} as n_threads,
        {{ count_of('distinct enrichment.duplicate_key') }} as n_different,
        {{ count_of('enrichment.sentiment') }} as n_sentiment,
        {{ exact_sum('enrichment.sentiment') }} as sum_sentiment,
        {{ exact_sum('enrichment.confidence') }} as sum_confidence
    from enrichment
    inner join versions
        on
            enrichment.loop = versions.loop
            and enrichment.enrichment_version = versions.enrichment_version
    group by
        enrichment.loop,
        enrichment.received_date,
        enrichment.enrichment_version,
        enrichment.language,
        enrichment.category,
        versions.is_current
)

select
    loop,
    received_date,
    enrichment_version,
    language,
    category,
    is_current,
    n_texts,
    n_threads,
    n_different,
    n_sentiment,
    sum_sentiment,
    sum_confidence
from counted
