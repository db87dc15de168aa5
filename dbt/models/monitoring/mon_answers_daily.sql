with

feedback as (
    select * from {{ ref('fct_feedback') }}
),

answered as (
    select
        feedback.*,
        {{ answer_category('feedback') }} as answer_category
    from feedback
    where
        {{ in_build_scope('feedback') }}
        and feedback.is_in_window
),

counted as (
    select
        loop,
        departure_date,
        model_version,
        channel,
        answer_category,
        {{ count_of('*') }} as n_answers,
        {{ count_of('rating') }} as n_ratings,
        {{ whole_sum('rating') }} as sum_rating,
        {{ whole_sum('case when is_simulated then 1 else 0 end') }} as n_simulated
    from answered
    group by loop, departure_date, model_version, channel, answer_category
)

select
    loop,
    departure_date,
    model_version,
    channel,
    cast(answer_category as varchar) as answer_category,
    n_answers,
    n_ratings,
    sum_rating,
    n_simulated
from counted
