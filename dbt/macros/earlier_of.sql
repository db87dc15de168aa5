{#- The earlier of two moments of which either may be missing, which is never; missing if both are. Engines differ in
    what least() makes of a missing one. -#}
{% macro earlier_of(one, other) -%}
    least(coalesce({{ one }}, {{ other }}), coalesce({{ other }}, {{ one }}))
{%- endmacro %}
