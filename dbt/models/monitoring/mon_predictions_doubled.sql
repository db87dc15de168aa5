with

flights as (
    select * from {{ ref('int_flights_scheduled') }}
),

predictions as (
    select * from {{ ref('stg_predictions__predictions') }}
),

facts as {{ 'materialized' if is_incremental() else 'not materialized' }} (
    select
        loop,
        departure_date,
        prediction_id,
        unit_id,
        model_version
    from {{ ref('fct_predictions') }}
    where {{ departing_within('departure_date') }}
),

placed as (
    select
        predictions.loop,
        predictions.prediction_id,
        predictions.unit_id,
        predictions.model_version,
        predictions.is_served,
        predictions.received_at,
        flights.departure_date,
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

doubled as (
    select placed.*
    from placed
    left join facts
        on
            placed.loop = facts.loop
            and placed.departure_date = facts.departure_date
            and placed.prediction_id = facts.prediction_id
            and placed.unit_id = facts.unit_id
    where
        placed.version_rank = 1
        and facts.prediction_id is null
),

named as (
    select
        doubled.*,
        facts.prediction_id as standing_prediction_id
    from doubled
    inner join facts
        on
            doubled.loop = facts.loop
            and doubled.departure_date = facts.departure_date
            and doubled.unit_id = facts.unit_id
            and doubled.model_version = facts.model_version
)

select
    loop,
    prediction_id,
    unit_id,
    departure_date,
    model_version,
    is_served,
    received_at,
    standing_prediction_id
from named
