{{ config(materialized='view', schema='monitoring') }}
-- depends_on: {{ ref('fct_predictions') }}, {{ ref('fct_reactions') }}, {{ ref('fct_feedback') }}

with

predictions as (
    select * from {{ source('published_marts', 'fct_predictions') }}
),

reactions as (
    select * from {{ source('published_marts', 'fct_reactions') }}
),

feedback as (
    select * from {{ source('published_marts', 'fct_feedback') }}
),

weights as (
    select * from {{ source('ops', 'feedback_weights') }}
),

-- What an answer counts is what was last said of it.
ranked_weights as (
    select
        weights.*,
        row_number() over (
            partition by weights.loop, weights.feedback_id
            order by weights.as_of desc, weights.weights_version desc
        ) as rank_of_weight
    from weights
),

-- Asked for a range of dates, it reads that range alone: nothing in between is made as a whole.
served as not materialized (
    select
        predictions.loop,
        predictions.departure_date,
        predictions.model_version,
        predictions.origin,
        predictions.carrier,
        predictions.prediction_id,
        predictions.unit_id,
        coalesce(predictions.experiment_id, 'none') as experiment_id,
        coalesce(predictions.arm, 'none') as arm,
        coalesce(reactions.n_asked, 0) as n_asked
    from predictions
    left join reactions
        on
            predictions.loop = reactions.loop
            and predictions.departure_date = reactions.departure_date
            and predictions.prediction_id = reactions.prediction_id
            and predictions.unit_id = reactions.unit_id
    where predictions.is_served
),

answers as not materialized (
    select
        served.*,
        feedback.rating,
        feedback.is_simulated,
        coalesce(ranked_weights.weight, 1) as weight,
        {{ answer_category('feedback') }} as answer_category
    from served
    inner join feedback
        on
            served.loop = feedback.loop
            and served.departure_date = feedback.departure_date
            and served.prediction_id = feedback.prediction_id
            and served.unit_id = feedback.unit_id
    left join ranked_weights
        on
            feedback.loop = ranked_weights.loop
            and feedback.feedback_id = ranked_weights.feedback_id
            and ranked_weights.rank_of_weight = 1
    where feedback.is_in_window
),

-- Units are counted under all only, answers under all and under what they are about.
counted as not materialized (
    select
        loop,
        departure_date,
        experiment_id,
        arm,
        model_version,
        origin,
        carrier,
        'all' as answer_category,
        1 as n_units,
        n_asked,
        0 as n_answers,
        0.0 as weight,
        null as rating,
        0 as n_simulated
    from served
    {%- for category in ["'all'", "answers.answer_category"] %}
        union all
        select
            loop,
            departure_date,
            experiment_id,
            arm,
            model_version,
            origin,
            carrier,
            {{ category }} as answer_category,
            0 as n_units,
            0 as n_asked,
            1 as n_answers,
            weight,
            rating,
            case when is_simulated then 1 else 0 end as n_simulated
        from answers
    {%- endfor %}
),

cohorts as (
    {{ by_cohort('counted') }}
),

summed as (
    select
        loop,
        departure_date,
        experiment_id,
        arm,
        model_version,
        cohort_dimension,
        cohort_value,
        answer_category,
        {{ whole_sum('n_units') }} as n_units,
        {{ whole_sum('n_asked') }} as n_asked,
        {{ whole_sum('n_answers') }} as n_answers,
        {{ exact_sum('weight') }} as sum_weight,
        {{ exact_sum('case when rating is not null then weight end') }} as sum_weight_rated,
        {{ exact_sum('weight * rating') }} as sum_rating_weighted,
        {{ whole_sum('n_simulated') }} as n_simulated
    from cohorts
    group by
        loop, departure_date, experiment_id, arm, model_version, cohort_dimension, cohort_value, answer_category
)

select
    loop,
    departure_date,
    cast(experiment_id as varchar) as experiment_id,
    cast(arm as varchar) as arm,
    model_version,
    cast(cohort_dimension as varchar) as cohort_dimension,
    cast(cohort_value as varchar) as cohort_value,
    cast(answer_category as varchar) as answer_category,
    n_units,
    n_asked,
    n_answers,
    sum_weight,
    sum_weight_rated,
    sum_rating_weighted,
    n_simulated
from summed
