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
        ) as version_rank,
        first_value(predictions.received_at) over (
            partition by predictions.loop, predictions.prediction_id, predictions.unit_id
            order by predictions.received_at asc, predictions.row_hash asc
        ) as first_received_at,
        first_value(predictions.row_hash) over (
            partition by predictions.loop, predictions.prediction_id, predictions.unit_id
            order by predictions.received_at asc, predictions.row_hash asc
        ) as first_row_hash
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

-- A model version says one thing about a unit: of predictions with other ids the first received stands, so that what
-- counted never changes for one that came later. mon_predictions_doubled names the others.
ranked as (
    select
        placed.*,
        row_number() over (
            partition by placed.loop, placed.unit_id, placed.model_version
            order by placed.first_received_at asc, placed.first_row_hash asc
        ) as unit_rank
    from placed
    where placed.version_rank = 1
),

resolved as (
    select
        ranked.*,
        case when labels.is_in_window then labels.label end as label,
        case when labels.is_in_window then labels.outcome_received_at end as label_received_at,
        case
            when labels.is_in_window then 'arrived'
            when labels.unit_id is not null then 'late_report'
            when coalesce(landed.outcomes_until <= ranked.label_window_ends_at, true) then 'open'
            else 'unresolved'
        end as outcome_state,
        case
            when ranked.score is null or {{ is_nan('ranked.score') }} then null
            else least(greatest(ranked.score, 0.000001), 0.999999)
        end as clipped_score
    from ranked
    inner join landed
        on ranked.loop = landed.loop
    left join labels
        on
            ranked.loop = labels.loop
            and ranked.departure_date = labels.departure_date
            and ranked.unit_id = labels.unit_id
            and {{ departing_within('labels.departure_date') }}
    where ranked.unit_rank = 1
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
