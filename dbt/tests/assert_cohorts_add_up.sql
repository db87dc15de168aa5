-- The cohorts of each dimension hold the same units, labels and losses as the whole.
with

build_scope as (
    select * from {{ source('ops', 'build_scope') }}
),

paired as (
    select * from {{ ref('exp_paired_daily') }}
),

whole as (
    select
        paired.loop,
        paired.experiment_id,
        paired.departure_date,
        paired.n_units,
        paired.n_labelled,
        paired.sum_label,
        paired.sum_log_loss_champion,
        paired.sum_log_loss_challenger
    from paired
    inner join build_scope
        on
            paired.loop = build_scope.loop
            and paired.departure_date = build_scope.departure_date
    where paired.cohort_dimension = 'all'
),

dimensions as (
    select
        loop,
        experiment_id,
        departure_date,
        cohort_dimension,
        sum(n_units) as n_units,
        sum(n_labelled) as n_labelled,
        sum(sum_label) as sum_label,
        sum(sum_log_loss_champion) as sum_log_loss_champion,
        sum(sum_log_loss_challenger) as sum_log_loss_challenger
    from paired
    where cohort_dimension <> 'all'
    group by loop, experiment_id, departure_date, cohort_dimension
)

select
    whole.loop,
    whole.experiment_id,
    whole.departure_date,
    dimensions.cohort_dimension
from whole
left join dimensions
    on
        whole.loop = dimensions.loop
        and whole.experiment_id = dimensions.experiment_id
        and whole.departure_date = dimensions.departure_date
where
    dimensions.n_units is null
    or whole.n_units <> dimensions.n_units
    or whole.n_labelled <> dimensions.n_labelled
    or whole.sum_label <> dimensions.sum_label
    or abs(whole.sum_log_loss_champion - dimensions.sum_log_loss_champion) > 0.000001
    or abs(whole.sum_log_loss_challenger - dimensions.sum_log_loss_challenger) > 0.000001
