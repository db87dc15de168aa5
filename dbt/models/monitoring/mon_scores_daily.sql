with

predictions as (
    select * from {{ ref('fct_predictions') }}
),

scored as (
    select
        predictions.*,
        cast(least(floor(predictions.score * 50), 49) as integer) as score_bin
    from predictions
    where
        {{ in_build_scope('predictions') }}
        and predictions.score is not null
        and not {{ is_nan('predictions.score') }}
),

summed as (
    select
        loop,
        departure_date,
        model_version,
        is_served,
        arm,
        score_bin,
        {{ count_of('*') }} as n_units,
        {{ exact_sum('score') }} as sum_score,
        {{ count_of('log_loss') }} as n_labelled,
        {{ exact_sum('case when log_loss is not null then score end') }} as sum_score_labelled,
        {{ whole_sum('case when log_loss is not null then label end') }} as sum_label
    from scored
    group by loop, departure_date, model_version, is_served, arm, score_bin
)

select
    loop,
    departure_date,
    model_version,
    is_served,
    arm,
    score_bin,
    n_units,
    sum_score,
    n_labelled,
    sum_score_labelled,
    sum_label
from summed
