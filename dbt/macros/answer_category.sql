{#- What an answer is about: what its words were understood as, else what its sender chose, else none. Every sum of
    answers by category takes this. -#}
{% macro answer_category(feedback) -%}
    coalesce(
        case when {{ feedback }}.understood_as <> 'unsure' then {{ feedback }}.understood_as end,
        {{ feedback }}.category,
        'none'
    )
{%- endmacro %}
