{#- Whether a double is NaN; null for null. -#}
{% macro is_nan(expression) -%}
    {{ return(adapter.dispatch('is_nan', 'ratchet')(expression)) }}
{%- endmacro %}


{% macro default__is_nan(expression) -%}
    ({{ expression }} = cast('NaN' as double precision))
{%- endmacro %}


{% macro duckdb__is_nan(expression) -%}
    isnan({{ expression }})
{%- endmacro %}
