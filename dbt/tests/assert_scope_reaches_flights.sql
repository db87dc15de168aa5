-- Most data tests look at the departure dates of ops.build_scope alone, so that they cost the same every week.
-- This one fails when those dates hold no flight: then the others passed without seeing anything.
with

build_scope as (
    select * from {{ source('ops', 'build_scope') }}
),

scheduled as (
    select * from {{ ref('int_flights_scheduled') }}
),

reached as (
    select count(*) as n_flights
    from scheduled
    inner join build_scope
        on
            scheduled.loop = build_scope.loop
            and scheduled.departure_date = build_scope.departure_date
)

select n_flights from reached
where n_flights = 0
