with

predictions as (
    select * from {{ ref('fct_predictions') }}
),

reactions as (
    select * from {{ ref('fct_reactions') }}
),

scored as (
    select
        predictions.*,
        reactions.n_asked,
        reactions.n_ratings,
        reactions.sum_rating,
        reactions.n_tickets
    from predictions
    left join reactions
        on
            predictions.loop = reactions.loop
            and predictions.departure_date = reactions.departure_date
            and predictions.prediction_id = reactions.prediction_id
            and predictions.unit_id = reactions.unit_id
            and {{ departing_within('reactions.departure_date') }}
    where {{ in_build_scope('predictions') }}
),

summed as (
    select
        loop,
        departure_date,
        model_version,
        is_served,
        {{ count_of('*') }} as n_units,
        {{ count_of('log_loss') }} as n_labelled,
        {{ whole_sum("case when outcome_state = 'unresolved' then 1 else 0 end") }} as n_unresolved,
        {{ whole_sum("case when outcome_state = 'open' then 1 else 0 end") }} as n_open,
        {{ exact_sum('log_loss') }} as sum_log_loss,
        {{ exact_sum('brier') }} as sum_brier,
        {{ exact_sum('case when log_loss is not null then score end') }} as sum_score,
        {{ whole_sum('case when log_loss is not null then label end') }} as sum_label,
        {{ whole_sum('n_ratings') }} as n_ratings,
        {{ whole_sum('sum_rating') }} as sum_rating,
        {{ whole_sum('n_tickets') }} as n_tickets,
        {{ whole_sum('n_asked') }} as n_asked
    from scored
    group by loop, departure_date, model_version, is_served
)

select
    loop,
    departure_date,
    model_version,
    is_served,
    n_units,
    n_labelled,
    n_unresolved,
    n_open,
    sum_log_loss,
    sum_brier,
    sum_score,
    sum_label,
    n_ratings,
    sum_rating,
    n_tickets,
    n_asked
from summed
