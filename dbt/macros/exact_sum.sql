{#- A sum that is the same to the last bit whatever the order of the rows, the number of threads or the engine: nine
    decimals, added as integers. Rounded by floor, because engines round halves and casts each their own way. Zero
    for no rows. -#}
{% macro exact_sum(expression) -%}
    cast(
        coalesce(sum(cast(floor(cast({{ expression }} as double precision) * 1000000000 + 0.5) as bigint)), 0)
        as double precision
    ) / 1000000000
{%- endmacro %}


{#- How many rows have a value, as an integer. -#}
{% macro count_of(expression) -%}
    cast(count({{ expression }}) as integer)
{%- endmacro %}


{#- A sum of whole numbers. Zero for no rows. -#}
{% macro whole_sum(expression) -%}
    cast(coalesce(sum({{ expression }}), 0) as integer)
{%- endmacro %}


{#- count - correction as an integer; either may be missing, which is zero. -#}
{% macro less(count, correction) -%}
    cast(coalesce({{ count }}, 0) - coalesce({{ correction }}, 0) as integer)
{%- endmacro %}
