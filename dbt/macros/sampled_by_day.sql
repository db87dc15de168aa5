{#- The body of a CTE: the first units of each departure date by a hash of their name. The same units in whatever order
    the rows lie, and each day weighs the same. -#}
{% macro sampled_by_day(relation) -%}
    select ranked.*
    from (
        select
            {{ relation }}.*,
            row_number() over (
                partition by {{ relation }}.loop, {{ relation }}.departure_date
                order by md5({{ relation }}.unit_id), {{ relation }}.unit_id
            ) as sample_rank
        from {{ relation }}
    ) as ranked
    where ranked.sample_rank <= {{ var('flights_sample_per_day') }}
{%- endmacro %}
