with

predictions as (
    select * from {{ ref('fct_predictions') }}
),

labelled as (
    select
        predictions.*,
        cast(least(floor(predictions.score * 50), 49) as integer) as score_bin
    from predictions
    where
        {{ in_build_scope('predictions') }}
        and predictions.log_loss is not null
),

cohorts as (
    {{ by_cohort('labelled') }}
),

summed as (
    select
        loop,
        departure_date,
        model_version,
        is_served,
        cohort_dimension,
        cohort_value,
        score_bin,
        {{ count_of('*') }} as n_labelled,
        {{ exact_sum('score') }} as sum_score,
        {{ whole_sum('label') }} as sum_label
    from cohorts
    group by loop, departure_date, model_version, is_served, cohort_dimension, cohort_value, score_bin
)

select
    loop,
    departure_date,
    model_version,
    is_served,
    cast(cohort_dimension as varchar) as cohort_dimension,
    cast(cohort_value as varchar) as cohort_value,
    score_bin,
    n_labelled,
    sum_score,
    sum_label
from summed
