with

predictions as (
    select * from {{ ref('fct_predictions') }}
),

timed as (
    select
        predictions.*,
        case
            when predictions.latency_ms is not null
                then cast(least(floor(predictions.latency_ms / 5), 400) as integer)
        end as latency_bin
    from predictions
    where
        {{ in_build_scope('predictions') }}
        and predictions.is_served
),

counted as (
    select
        loop,
        departure_date,
        model_version,
        latency_bin,
        {{ count_of('*') }} as n_units
    from timed
    group by loop, departure_date, model_version, latency_bin
)

select
    loop,
    departure_date,
    model_version,
    latency_bin,
    n_units
from counted
