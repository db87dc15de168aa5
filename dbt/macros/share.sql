{#- part / whole as a double; null when the whole is zero: no observation is not a share of zero. -#}
{% macro share(part, whole) -%}
    cast({{ part }} as double precision) / nullif({{ whole }}, 0)
{%- endmacro %}
