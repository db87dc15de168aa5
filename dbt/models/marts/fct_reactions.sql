with

flights as (
    select * from {{ ref('int_flights_scheduled') }}
),

predictions as (
    select * from {{ ref('fct_predictions') }}
),

feedback as (
    select * from {{ ref('fct_feedback') }}
),

events as (
    select * from {{ ref('stg_telemetry__events') }}
),

served as (
    select
        predictions.loop,
        predictions.prediction_id,
        predictions.unit_id,
        predictions.departure_date,
        flights.scheduled_departure_at,
        flights.scheduled_departure_at
        + interval '{{ var("flights_feedback_maturity_hours") }} hours' as feedback_window_ends_at
    from predictions
    inner join flights
        on
            predictions.loop = flights.loop
            and predictions.departure_date = flights.departure_date
            and predictions.unit_id = flights.unit_id
    where
        {{ in_build_scope('predictions') }}
        and predictions.is_served
),

answered as (
    select
        feedback.loop,
        feedback.prediction_id,
        feedback.unit_id,
        {{ whole_sum("case when feedback.channel = 'rating' and feedback.rating is not null then 1 else 0 end") }}
            as n_ratings,
        {{ whole_sum("case when feedback.channel = 'rating' then feedback.rating end") }} as sum_rating,
        {{ whole_sum("case when feedback.channel = 'rating' then feedback.rating * feedback.rating end") }}
            as sum_rating_squared,
        {{ whole_sum("case when feedback.channel = 'ticket' then 1 else 0 end") }} as n_tickets
    from feedback
    where
        {{ in_build_scope('feedback') }}
        and feedback.is_in_window
    group by feedback.loop, feedback.prediction_id, feedback.unit_id
),

counted_versions as (
    select
        events.loop,
        events.prediction_id,
        events.unit_id,
        events.event_type,
        events.event_count,
        row_number() over (
            partition by events.loop, events.telemetry_id, events.prediction_id, events.unit_id
            order by events.received_at desc, events.row_hash desc
        ) as version_rank
    from events
    inner join served
        on
            events.loop = served.loop
            and events.prediction_id = served.prediction_id
            and events.unit_id = served.unit_id
            and events.received_at <= served.feedback_window_ends_at
    where
        {{ received_within_reach('events.received_at') }}
        and {{ within_reach('events.received_at', 'served.scheduled_departure_at') }}
),

counted as (
    select
        loop,
        prediction_id,
        unit_id,
        {{ whole_sum("case when event_type = 'rating_asked' then event_count end") }} as n_asked,
        {{ whole_sum("case when event_type = 'alert_dismissed' then event_count end") }} as n_dismissed,
        {{ whole_sum("case when event_type = 'screen_reopened' then event_count end") }} as n_reopened,
        {{ whole_sum("case when event_type = 'app_error' then event_count end") }} as n_errors
    from counted_versions
    where version_rank = 1
    group by loop, prediction_id, unit_id
),

reactions as (
    select
        served.loop,
        served.prediction_id,
        served.unit_id,
        served.departure_date,
        coalesce(counted.n_asked, 0) as n_asked,
        coalesce(answered.n_ratings, 0) as n_ratings,
        coalesce(answered.sum_rating, 0) as sum_rating,
        coalesce(answered.sum_rating_squared, 0) as sum_rating_squared,
        coalesce(answered.n_tickets, 0) as n_tickets,
        coalesce(counted.n_dismissed, 0) as n_dismissed,
        coalesce(counted.n_reopened, 0) as n_reopened,
        coalesce(counted.n_errors, 0) as n_errors
    from served
    left join answered
        on
            served.loop = answered.loop
            and served.prediction_id = answered.prediction_id
            and served.unit_id = answered.unit_id
    left join counted
        on
            served.loop = counted.loop
            and served.prediction_id = counted.prediction_id
            and served.unit_id = counted.unit_id
)

select
    loop,
    prediction_id,
    unit_id,
    departure_date,
    n_asked,
    n_ratings,
    sum_rating,
    sum_rating_squared,
    n_tickets,
    n_dismissed,
    n_reopened,
    n_errors
from reactions
