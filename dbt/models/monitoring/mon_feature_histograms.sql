{{ config(materialized='view', schema='monitoring') }}
{%- set numeric = var('flights_numeric_features') -%}
{%- set categorical = var('flights_categorical_features') -%}
{%- set cuts = range(1, var('flights_profile_cuts') + 1) -%}
-- depends_on: {{ ref('ftr_flights__pre_departure') }}

with

-- Not kept for all features at once: a million rows of twenty would be copied before they are counted. Days whose gate
-- is not green are left out once they are counted: to ask it for every row of every feature takes half as long again.
features as not materialized (
    select * from {{ source('published_features', 'ftr_flights__pre_departure') }}
),

gates as (
    select * from {{ source('ops', 'partition_gates') }}
),

bins as (
    select * from {{ source('ops', 'feature_bins') }}
),

profiles as (
    select * from {{ source('ops', 'feature_profiles') }}
),

-- The bins of a loop beside each other in one row: a value's bin is one and the cuts that it reaches. A join by ranges
-- takes ten times as long.
cut_points as (
    select
        {% for feature in numeric %}
            {% for cut in cuts %}
                coalesce(
                    max(case when feature = '{{ feature }}' and bin = {{ cut + 1 }} then lower_bound end),
                    cast('Infinity' as double precision)
                ) as {{ feature }}_cut_{{ cut }},
            {% endfor %}
        {% endfor %}
        {% for feature in numeric + categorical.keys() | list %}
            max(case when feature = '{{ feature }}' then 1 else 0 end) as has_{{ feature }},
        {% endfor %}
        -- To group by a number is a fifth quicker than to group by a name.
        cast(row_number() over (order by loop) as integer) as loop_number,
        loop
    from bins
    group by loop
),

training_ranges as (
    select
        {% for feature in numeric %}
            max(case when feature = '{{ feature }}' then lowest end) as {{ feature }}_lowest,
            max(case when feature = '{{ feature }}' then highest end) as {{ feature }}_highest,
        {% endfor %}
        loop
    from profiles
    group by loop
),

{% for feature in numeric %}
    {{ feature }}_binned as (
        select
            cut_points.loop_number,
            features.departure_date,
            cast(features.{{ feature }} as double precision) as feature_value,
            case
                when features.{{ feature }} is null then 0
                else {{ bin_of('features.' ~ feature, 'cut_points.' ~ feature ~ '_cut_', 1, cuts | length) }}
            end as bin,
            case
                when
                    features.{{ feature }} < training_ranges.{{ feature }}_lowest
                    or features.{{ feature }} > training_ranges.{{ feature }}_highest
                    then 1
                else 0
            end as is_out_of_range
        from features
        inner join cut_points
            on features.loop = cut_points.loop
        left join training_ranges
            on features.loop = training_ranges.loop
        where cut_points.has_{{ feature }} = 1
    ),
{% endfor %}

-- A category is one and its position, from 0, in the loop file's list; one that is not listed counts as missing.
{% for feature, categories in categorical.items() %}
    {{ feature }}_binned as (
        select
            cut_points.loop_number,
            features.departure_date,
            case features.{{ feature }}
                {% for category in categories %}
                    when '{{ category }}' then {{ loop.index }}
                {% endfor %}
                else 0
            end as bin,
            case
                when
                    features.{{ feature }} is not null
                    and features.{{ feature }} not in (
                        {% for category in categories %}
                            '{{ category }}'{% if not loop.last %},{% endif %}
                        {% endfor %}
                    )
                    then 1
                else 0
            end as is_out_of_range
        from features
        inner join cut_points
            on features.loop = cut_points.loop
        where cut_points.has_{{ feature }} = 1
    ),
{% endfor %}

counted as (
    {% for feature in numeric + categorical.keys() | list %}
        select
            loop_number,
            departure_date,
            '{{ feature }}' as feature,
            bin,
            {{ count_of('*') }} as n,
            {{ whole_sum('is_out_of_range') }} as n_out_of_range,
            {% if feature in numeric %}
                {{ exact_sum('feature_value') }} as sum_value
            {% else %}
                cast(null as double precision) as sum_value
            {% endif %}
        from {{ feature }}_binned
        group by loop_number, departure_date, bin
        {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

named as (
    select
        counted.*,
        cut_points.loop
    from counted
    inner join cut_points
        on counted.loop_number = cut_points.loop_number
    inner join gates
        on
            cut_points.loop = gates.loop
            and counted.departure_date = gates.partition_date
            and {{ opens_feature_partition('gates') }}
)

select
    loop,
    departure_date,
    cast(feature as varchar) as feature,
    bin,
    n,
    n_out_of_range,
    sum_value
from named
