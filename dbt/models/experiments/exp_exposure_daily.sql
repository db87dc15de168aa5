{{ config(materialized='view', schema='experiments') }}
-- depends_on: {{ ref('fct_predictions') }}

with

predictions as (
    select * from {{ source('published_marts', 'fct_predictions') }}
),

served as (
    select *
    from predictions
    where
        experiment_id is not null
        and is_served
),

-- When a unit first came into each of the two experimental arms.
first_seen as (
    select
        loop,
        experiment_id,
        unit_id,
        min(case when arm = 'challenger' then departure_date end) as challenger_since,
        min(case when arm = 'control' then departure_date end) as control_since
    from served
    group by loop, experiment_id, unit_id
),

changed as (
    select *
    from first_seen
    where
        challenger_since is not null
        and control_since is not null
),

placed as (
    select
        served.*,
        case
            when served.arm = 'challenger' and changed.control_since <= served.departure_date then 1
            when served.arm = 'control' and changed.challenger_since <= served.departure_date then 1
            else 0
        end as is_in_other_arm
    from served
    left join changed
        on
            served.loop = changed.loop
            and served.experiment_id = changed.experiment_id
            and served.unit_id = changed.unit_id
),

cohorts as (
    {{ by_cohort('placed') }}
),

summed as (
    select
        loop,
        experiment_id,
        departure_date,
        cohort_dimension,
        cohort_value,
        arm,
        {{ count_of('*') }} as n_units,
        {{ whole_sum('is_in_other_arm') }} as n_in_other_arm,
        {{ count_of('log_loss') }} as n_labelled,
        {{ whole_sum('case when log_loss is not null then label end') }} as sum_label,
        {{ exact_sum('log_loss') }} as sum_log_loss,
        {{ exact_sum('brier') }} as sum_brier
    from cohorts
    group by loop, experiment_id, departure_date, cohort_dimension, cohort_value, arm
)

select
    loop,
    experiment_id,
    departure_date,
    cast(cohort_dimension as varchar) as cohort_dimension,
    cast(cohort_value as varchar) as cohort_value,
    arm,
    n_units,
    n_in_other_arm,
    n_labelled,
    sum_label,
    sum_log_loss,
    sum_brier
from summed
