{{ config(materialized='view', schema='monitoring') }}

with

features as (
    select * from {{ ref('ftr_flights__published') }}
),

bins as (
    select * from {{ source('ops', 'feature_bins') }}
),

-- A category is its position, from 0, in the loop file's list; one that is not listed is missing.
valued as (
    {% for feature in var('flights_numeric_features') %}
        select
            features.loop,
            features.departure_date,
            '{{ feature }}' as feature,
            cast(features.{{ feature }} as double precision) as feature_value
        from features
        union all
    {% endfor %}
    {% for feature, categories in var('flights_categorical_features').items() %}
        select
            features.loop,
            features.departure_date,
            '{{ feature }}' as feature,
            cast(
                case features.{{ feature }}
                    {% for category in categories %}
                        when '{{ category }}' then {{ loop.index0 }}
                    {% endfor %}
                end as double precision
            ) as feature_value
        from features
        {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

profiled as (
    select distinct
        loop,
        feature
    from bins
),

binned as (
    select
        valued.loop,
        valued.departure_date,
        valued.feature,
        coalesce(bins.bin, 0) as bin
    from valued
    inner join profiled
        on
            valued.loop = profiled.loop
            and valued.feature = profiled.feature
    left join bins
        on
            valued.loop = bins.loop
            and valued.feature = bins.feature
            and bins.bin > 0
            and (bins.lower_bound is null or valued.feature_value >= bins.lower_bound)
            and (bins.upper_bound is null or valued.feature_value < bins.upper_bound)
            and valued.feature_value is not null
),

counted as (
    select
        loop,
        departure_date,
        feature,
        bin,
        {{ count_of('*') }} as n
    from binned
    group by loop, departure_date, feature, bin
)

select
    loop,
    departure_date,
    feature,
    bin,
    n
from counted
