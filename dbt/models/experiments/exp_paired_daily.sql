with

predictions as not materialized (
    select * from {{ ref('fct_predictions') }}
),

experiments as (
    select * from {{ source('ops', 'experiments') }}
),

champion_scores as (
    select predictions.*
    from predictions
    inner join experiments
        on
            predictions.loop = experiments.loop
            and predictions.experiment_id = experiments.experiment_id
            and predictions.model_version = experiments.champion_version
    where {{ in_build_scope('predictions') }}
),

challenger_scores as (
    select predictions.*
    from predictions
    inner join experiments
        on
            predictions.loop = experiments.loop
            and predictions.experiment_id = experiments.experiment_id
            and predictions.model_version = experiments.challenger_version
    where {{ in_build_scope('predictions') }}
),

-- Only units that both models scored. A pair has losses when the label is there; scores are compared before.
paired as (
    select
        champion_scores.loop,
        champion_scores.experiment_id,
        champion_scores.departure_date,
        champion_scores.origin,
        champion_scores.carrier,
        case when champion_scores.arm = 'excluded' then 1 else 0 end as is_excluded,
        case
            when champion_scores.log_loss is not null and challenger_scores.log_loss is not null then 1
            else 0
        end as is_labelled,
        case
            when
                champion_scores.score is null
                or challenger_scores.score is null
                or {{ is_nan('champion_scores.score') }}
                or {{ is_nan('challenger_scores.score') }}
                then 0
            else 1
        end as is_scored,
        champion_scores.label,
        champion_scores.score as score_champion,
        champion_scores.log_loss as log_loss_champion,
        champion_scores.brier as brier_champion,
        challenger_scores.score as score_challenger,
        challenger_scores.log_loss as log_loss_challenger,
        challenger_scores.brier as brier_challenger
    from champion_scores
    inner join challenger_scores
        on
            champion_scores.loop = challenger_scores.loop
            and champion_scores.experiment_id = challenger_scores.experiment_id
            and champion_scores.departure_date = challenger_scores.departure_date
            and champion_scores.unit_id = challenger_scores.unit_id
),

cohorts as (
    {{ by_cohort('paired') }}
),

summed as (
    select
        loop,
        experiment_id,
        departure_date,
        cohort_dimension,
        cohort_value,
        {{ count_of('*') }} as n_units,
        {{ whole_sum('is_labelled') }} as n_labelled,
        {{ exact_sum('case when is_labelled = 1 then log_loss_champion end') }} as sum_log_loss_champion,
        {{ exact_sum('case when is_labelled = 1 then log_loss_challenger end') }} as sum_log_loss_challenger,
        {{ exact_sum('case when is_labelled = 1 then brier_champion end') }} as sum_brier_champion,
        {{ exact_sum('case when is_labelled = 1 then brier_challenger end') }} as sum_brier_challenger,
        {{ whole_sum('case when is_labelled = 1 then label end') }} as sum_label,
        {{ exact_sum('case when is_scored = 1 then score_champion end') }} as sum_score_champion,
        {{ exact_sum('case when is_scored = 1 then score_challenger end') }} as sum_score_challenger
    from cohorts
    -- Excluded units are no part of the whole; their own cohort goes on being compared, so that it may be released.
    where
        cohort_dimension <> 'all'
        or is_excluded = 0
    group by loop, experiment_id, departure_date, cohort_dimension, cohort_value
)

select
    loop,
    experiment_id,
    departure_date,
    cast(cohort_dimension as varchar) as cohort_dimension,
    cast(cohort_value as varchar) as cohort_value,
    n_units,
    n_labelled,
    sum_log_loss_champion,
    sum_log_loss_challenger,
    sum_brier_champion,
    sum_brier_challenger,
    sum_label,
    sum_score_champion,
    sum_score_challenger
from summed
