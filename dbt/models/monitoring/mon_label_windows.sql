with

flights as (
    select * from {{ ref('int_flights_scheduled') }}
),

labels as (
    select * from {{ ref('fct_labels') }}
),

reported as (
    select
        flights.loop,
        flights.departure_date,
        case when labels.is_in_window then 1 else 0 end as is_in_window,
        case when not labels.is_in_window then 1 else 0 end as is_late_report,
        case when labels.unit_id is null then 1 else 0 end as is_without_outcome
    from flights
    left join labels
        on
            flights.loop = labels.loop
            and flights.departure_date = labels.departure_date
            and flights.unit_id = labels.unit_id
            and {{ departing_within('labels.departure_date') }}
    where {{ in_build_scope('flights') }}
),

summed as (
    select
        loop,
        departure_date,
        {{ count_of('*') }} as n_units,
        {{ whole_sum('is_in_window') }} as n_in_window,
        {{ whole_sum('is_late_report') }} as n_late_report,
        {{ whole_sum('is_without_outcome') }} as n_without_outcome
    from reported
    group by loop, departure_date
)

select
    loop,
    departure_date,
    n_units,
    n_in_window,
    n_late_report,
    n_without_outcome
from summed
