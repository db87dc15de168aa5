with

predictions as not materialized (
    select * from {{ ref('fct_predictions') }}
),

reactions as (
    select * from {{ ref('fct_reactions') }}
),

experiments as (
    select * from {{ source('ops', 'experiments') }}
),

-- What the champion says of a unit, whoever served it: a measure that no arm can change.
champion_scores as (
    select
        predictions.loop,
        predictions.experiment_id,
        predictions.departure_date,
        predictions.unit_id,
        predictions.score,
        predictions.score - predictions.label as gap
    from predictions
    inner join experiments
        on
            predictions.loop = experiments.loop
            and predictions.experiment_id = experiments.experiment_id
            and predictions.model_version = experiments.champion_version
    where
        {{ in_build_scope('predictions') }}
        and predictions.score is not null
        and not {{ is_nan('predictions.score') }}
),

served as (
    select
        predictions.*,
        champion_scores.gap as champion_gap,
        champion_scores.score * reactions.n_ratings as champion_score_rated,
        champion_scores.score * champion_scores.score * reactions.n_ratings as champion_score_squared_rated,
        champion_scores.score * reactions.sum_rating as rating_by_champion_score,
        reactions.n_asked,
        reactions.n_ratings,
        reactions.sum_rating,
        reactions.sum_rating_squared,
        reactions.n_tickets,
        case
            -- What a loop keeps from the challenger may have the champion, or one before it.
            when
                predictions.arm = 'excluded'
                and predictions.model_version <> experiments.challenger_version
                then 0
            when
                predictions.model_version
                = case
                    when predictions.arm = 'challenger' then experiments.challenger_version
                    when predictions.arm = 'rest'
                        then coalesce(experiments.rest_version, experiments.champion_version)
                    else experiments.champion_version
                end
                then 0
            else 1
        end as is_wrong_version,
        case when predictions.score is null or {{ is_nan('predictions.score') }} then 1 else 0 end as is_null_score
    from predictions
    left join experiments
        on
            predictions.loop = experiments.loop
            and predictions.experiment_id = experiments.experiment_id
    left join reactions
        on
            predictions.loop = reactions.loop
            and predictions.departure_date = reactions.departure_date
            and predictions.prediction_id = reactions.prediction_id
            and predictions.unit_id = reactions.unit_id
            and {{ departing_within('reactions.departure_date') }}
    left join champion_scores
        on
            predictions.loop = champion_scores.loop
            and predictions.experiment_id = champion_scores.experiment_id
            and predictions.departure_date = champion_scores.departure_date
            and predictions.unit_id = champion_scores.unit_id
    where
        {{ in_build_scope('predictions') }}
        and predictions.experiment_id is not null
        and predictions.is_served
),

summed as (
    select
        loop,
        experiment_id,
        departure_date,
        arm,
        {{ count_of('*') }} as n_units,
        {{ count_of('log_loss') }} as n_labelled,
        {{ whole_sum('case when log_loss is not null then label end') }} as sum_label,
        {{ exact_sum('case when is_null_score = 0 then score end') }} as sum_score,
        {{ exact_sum('log_loss') }} as sum_log_loss,
        {{ exact_sum('brier') }} as sum_brier,
        {{ whole_sum('n_asked') }} as n_asked,
        {{ whole_sum('n_ratings') }} as n_ratings,
        {{ whole_sum('sum_rating') }} as sum_rating,
        {{ whole_sum('sum_rating_squared') }} as sum_rating_squared,
        {{ whole_sum('n_tickets') }} as n_tickets,
        {{ exact_sum('latency_ms') }} as sum_latency_ms,
        max(latency_ms) as max_latency_ms,
        {{ whole_sum('is_wrong_version') }} as n_wrong_version,
        {{ whole_sum('is_null_score') }} as n_null_score,
        {{ count_of('champion_gap') }} as n_champion_labelled,
        {{ exact_sum('champion_gap') }} as sum_champion_gap,
        {{ exact_sum('champion_score_rated') }} as sum_champion_score_rated,
        {{ exact_sum('champion_score_squared_rated') }} as sum_champion_score_squared_rated,
        {{ exact_sum('rating_by_champion_score') }} as sum_rating_by_champion_score
    from served
    group by loop, experiment_id, departure_date, arm
)

select
    loop,
    experiment_id,
    departure_date,
    arm,
    n_units,
    n_labelled,
    sum_label,
    sum_score,
    sum_log_loss,
    sum_brier,
    n_asked,
    n_ratings,
    sum_rating,
    sum_rating_squared,
    n_tickets,
    sum_latency_ms,
    max_latency_ms,
    n_wrong_version,
    n_null_score,
    n_champion_labelled,
    sum_champion_gap,
    sum_champion_score_rated,
    sum_champion_score_squared_rated,
    sum_rating_by_champion_score
from summed
