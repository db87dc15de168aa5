{#- Each row of a relation once for everything and once a cohort dimension: the body of a CTE that is summed by
    cohort_dimension and cohort_value. The dimensions are the loop file's cohorts. -#}
{% macro by_cohort(relation) -%}
    select
        {{ relation }}.*,
        'all' as cohort_dimension,
        'all' as cohort_value
    from {{ relation }}
    {% for dimension in var('flights_cohort_dimensions') %}
        union all
        select
            {{ relation }}.*,
            '{{ dimension }}' as cohort_dimension,
            {{ relation }}.{{ dimension }} as cohort_value
        from {{ relation }}
    {% endfor %}
{%- endmacro %}
