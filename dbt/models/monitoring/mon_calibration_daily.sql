with

predictions as (
    select * from {{ ref('fct_predictions') }}
),

labelled as (
    select
        predictions.loop,
        predictions.departure_date,
        predictions.model_version,
        predictions.score,
        predictions.label,
        cast(least(floor(predictions.score * 10), 9) as integer) as score_bin
    from predictions
    where
        {{ in_build_scope('predictions') }}
        and predictions.is_served
        and predictions.log_loss is not null
),

summed as (
    select
        loop,
        departure_date,
        model_version,
        score_bin,
        {{ count_of('*') }} as n_labelled,
        {{ exact_sum('score') }} as sum_score,
        {{ whole_sum('label') }} as sum_label
    from labelled
    group by loop, departure_date, model_version, score_bin
)

select
    loop,
    departure_date,
    model_version,
    score_bin,
    n_labelled,
    sum_score,
    sum_label
from summed
