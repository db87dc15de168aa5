{%- set edges = edges_of_scope() or ('1900-01-01', '2200-01-01') -%}
-- Every prediction that landed in time for a scheduled flight of the scope counts or is named as doubled, and no other.
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

doubled as (
    select * from {{ ref('mon_predictions_doubled') }}
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
    where
        {{ within_reach('staged.received_at', 'scheduled.scheduled_departure_at') }}
        -- What the line above implies, so that a table of years is read for these days alone. Dates are local.
        and scheduled.departure_date between {{ day_literal(edges[0], 0) }} and {{ day_literal(edges[1], 0) }}
        and staged.received_at >= {{ day_literal(edges[0], -var('flights_ahead_days') - 2) }}
        and staged.received_at < {{ day_literal(edges[1], var('flights_amend_days') + 2) }}
),

found as (
    select count(*) as n_found
    from facts
    inner join build_scope
        on
            facts.loop = build_scope.loop
            and facts.departure_date = build_scope.departure_date
),

named as (
    select count(*) as n_doubled
    from doubled
    inner join build_scope
        on
            doubled.loop = build_scope.loop
            and doubled.departure_date = build_scope.departure_date
)

select
    expected.n_expected,
    found.n_found,
    named.n_doubled
from expected
cross join found
cross join named
where expected.n_expected <> found.n_found + named.n_doubled
