-- Every prediction that landed in time for a scheduled flight of the scope has its one row, and no other has one.
with

build_scope as (
    select * from {{ source('ops', 'build_scope') }}
),

scheduled as (
    select * from {{ ref('int_flights_scheduled') }}
),

staged as (
    select * from {{ ref('stg_predictions__predictions') }}
),

facts as (
    select * from {{ ref('fct_predictions') }}
),

expected as (
    select count(distinct staged.prediction_id || '|' || staged.unit_id) as n_expected
    from staged
    inner join scheduled
        on
            staged.loop = scheduled.loop
            and staged.unit_id = scheduled.unit_id
    inner join build_scope
        on
            scheduled.loop = build_scope.loop
            and scheduled.departure_date = build_scope.departure_date
    where {{ within_reach('staged.received_at', 'scheduled.scheduled_departure_at') }}
),

found as (
    select count(*) as n_found
    from facts
    inner join build_scope
        on
            facts.loop = build_scope.loop
            and facts.departure_date = build_scope.departure_date
)

select
    expected.n_expected,
    found.n_found
from expected
cross join found
where expected.n_expected <> found.n_found
