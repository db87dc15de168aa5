{%- set warned = "score >= " ~ var('flights_decision_threshold') -%}

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
        reactions.n_tickets,
        reactions.n_errors
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

by_cohort as (
    {{ by_cohort('scored') }}
),

summed as (
    select
        loop,
        departure_date,
        model_version,
        is_served,
        cohort_dimension,
        cohort_value,
        {{ count_of('*') }} as n_units,
        {{ whole_sum("case when outcome_state = 'open' then 1 else 0 end") }} as n_open,
        {{ whole_sum('case when ' ~ warned ~ ' then 1 else 0 end') }} as n_warned,
        {{ count_of('log_loss') }} as n_labelled,
        {{ exact_sum('log_loss') }} as sum_log_loss,
        {{ exact_sum('brier') }} as sum_brier,
        {{ exact_sum('case when log_loss is not null then score end') }} as sum_score,
        {{ whole_sum('case when log_loss is not null then label end') }} as sum_label,
        {{ whole_sum('case when log_loss is not null and label = 1 and not ' ~ warned ~ ' then 1 else 0 end') }}
            as n_late_not_warned,
        {{ whole_sum('case when log_loss is not null and label = 0 and ' ~ warned ~ ' then 1 else 0 end') }}
            as n_punctual_warned,
        {{ whole_sum('n_asked') }} as n_asked,
        {{ whole_sum('n_ratings') }} as n_ratings,
        {{ whole_sum('sum_rating') }} as sum_rating,
        {{ whole_sum('n_tickets') }} as n_tickets,
        {{ whole_sum('n_errors') }} as n_errors
    from by_cohort
    group by loop, departure_date, model_version, is_served, cohort_dimension, cohort_value
)

select
    loop,
    departure_date,
    model_version,
    is_served,
    cast(cohort_dimension as varchar) as cohort_dimension,
    cast(cohort_value as varchar) as cohort_value,
    n_units,
    n_open,
    n_warned,
    n_labelled,
    sum_log_loss,
    sum_brier,
    sum_score,
    sum_label,
    n_late_not_warned,
    n_punctual_warned,
    n_asked,
    n_ratings,
    sum_rating,
    n_tickets,
    n_errors
from summed
