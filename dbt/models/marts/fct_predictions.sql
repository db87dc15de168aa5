with

flights as (
    select * from {{ ref('int_flights_scheduled') }}
),

predictions as (
    select * from {{ ref('stg_predictions__predictions') }}
),

labels as (
    select * from {{ ref('fct_labels') }}
),

landed as (
    select * from {{ ref('int_feeds_landed') }}
),

-- An id that names two flights is two predictions: what it says of one must not depend on the other.
placed as (
    select
        predictions.*,
        flights.departure_date,
        flights.origin,
        flights.carrier,
        flights.scheduled_departure_at
        + interval '{{ var("flights_label_maturity_hours") }} hours' as label_window_ends_at,
        row_number() over (
            partition by predictions.loop, predictions.prediction_id, predictions.unit_id
            order by predictions.received_at desc, predictions.row_hash desc
        ) as version_rank
    from predictions
    inner join flights
        on
            predictions.loop = flights.loop
            and predictions.unit_id = flights.unit_id
    where
        {{ in_build_scope('flights') }}
        and {{ received_within_reach('predictions.received_at') }}
        and {{ within_reach('predictions.received_at', 'flights.scheduled_departure_at') }}
),

resolved as (
    select
        placed.*,
        case when labels.is_in_window then labels.label end as label,
        case when labels.is_in_window then labels.outcome_received_at end as label_received_at,
        case
            when labels.is_in_window then 'arrived'
            when labels.unit_id is not null then 'late_report'
            when coalesce(landed.outcomes_until <= placed.label_window_ends_at, true) then 'open'
            else 'unresolved'
        end as outcome_state,
        case
            when placed.score is null or {{ is_nan('placed.score') }} then null
            else least(greatest(placed.score, 0.000001), 0.999999)
        end as clipped_score
    from placed
    inner join landed
        on placed.loop = landed.loop
    left join labels
        on
            placed.loop = labels.loop
            and placed.departure_date = labels.departure_date
            and placed.unit_id = labels.unit_id
            and {{ departing_within('labels.departure_date') }}
    where placed.version_rank = 1
),

judged as (
    select
        resolved.*,
        case
            when resolved.label = 1 then -ln(resolved.clipped_score)
            when resolved.label = 0 then -ln(1 - resolved.clipped_score)
        end as log_loss,
        (resolved.clipped_score - resolved.label) * (resolved.clipped_score - resolved.label) as brier
    from resolved
)

select
    loop,
    prediction_id,
    unit_id,
    departure_date,
    experiment_id,
    arm,
    model_version,
    is_served,
    score,
    latency_ms,
    predicted_at,
    received_at,
    origin,
    carrier,
    label,
    label_received_at,
    cast(outcome_state as varchar) as outcome_state,
    cast(log_loss as double precision) as log_loss,
    cast(brier as double precision) as brier
from judged
