{#- Which of the ordered cuts <prefix>first to <prefix>last a value reaches, as the number after the last that it does:
    halved, so that a value meets four of nine cuts instead of all. -#}
{% macro bin_of(value, prefix, first, last) -%}
    {%- if first > last -%}
        {{ first }}
    {%- else -%}
        {%- set middle = (first + last) // 2 -%}
        case
            when {{ value }} >= {{ prefix }}{{ middle }} then {{ bin_of(value, prefix, middle + 1, last) }}
            else {{ bin_of(value, prefix, first, middle - 1) }}
        end
    {%- endif -%}
{%- endmacro %}
