{%- set numeric = var('flights_numeric_features') -%}
{%- set categorical = var('flights_categorical_features').keys() | list -%}

with

served as (
    select * from {{ ref('int_features_served') }}
),

predictions as (
    select * from {{ ref('fct_predictions') }}
),

features as (
    select * from {{ ref('ftr_flights__pre_departure') }}
),

told as (
    select distinct
        predictions.loop,
        predictions.departure_date,
        predictions.unit_id
    from predictions
    where
        {{ in_build_scope('predictions') }}
        and predictions.is_served
),

paired as (
    select
        told.loop,
        told.departure_date,
        {% for feature in numeric %}
            served.{{ feature }} as served_{{ feature }},
            cast(features.{{ feature }} as double precision) as today_{{ feature }},
        {% endfor %}
        {% for feature in categorical %}
            served.{{ feature }} as served_{{ feature }},
            features.{{ feature }} as today_{{ feature }},
        {% endfor %}
        case when served.unit_id is null then 1 else 0 end as is_not_logged,
        case when features.unit_id is null then 1 else 0 end as is_gone,
        case when served.unit_id is not null and features.unit_id is not null then 1 else 0 end as is_compared
    from told
    left join served
        on
            told.loop = served.loop
            and told.departure_date = served.departure_date
            and told.unit_id = served.unit_id
            and {{ departing_within('served.departure_date') }}
    left join features
        on
            told.loop = features.loop
            and told.departure_date = features.departure_date
            and told.unit_id = features.unit_id
            and {{ departing_within('features.departure_date') }}
),

daily as (
    select
        loop,
        departure_date,
        {% for feature in numeric + categorical %}
            {{ whole_sum(
                'case when is_compared = 1 and served_' ~ feature ~ ' is distinct from today_' ~ feature
                ~ ' then 1 else 0 end'
            ) }} as different_{{ feature }},
        {% endfor %}
        {% for feature in numeric %}
            max(case when is_compared = 1 then abs(served_{{ feature }} - today_{{ feature }}) end)
                as furthest_{{ feature }},
        {% endfor %}
        {{ count_of('*') }} as n_served,
        {{ whole_sum('is_not_logged') }} as n_not_logged,
        {{ whole_sum('is_gone') }} as n_gone,
        {{ whole_sum('is_compared') }} as n_compared
    from paired
    group by loop, departure_date
),

by_feature as (
    {% for feature in numeric + categorical %}
        select
            loop,
            departure_date,
            '{{ feature }}' as feature,
            n_served,
            n_not_logged,
            n_gone,
            n_compared,
            different_{{ feature }} as n_different,
            {% if feature in numeric %}furthest_{{ feature }}{% else %}cast(null as double precision){% endif %}
                as max_abs_difference
        from daily
        {% if not loop.last %}union all{% endif %}
    {% endfor %}
)

select
    loop,
    departure_date,
    cast(feature as varchar) as feature,
    n_served,
    n_not_logged,
    n_gone,
    n_compared,
    n_different,
    max_abs_difference
from by_feature
