{#- The grain: no two rows with the same values in `columns`, and none of the values missing. -#}
{% test unique_combination(model, columns) %}

select {{ columns | join(', ') }}
from {{ model }}
group by {{ columns | join(', ') }}
having
    count(*) > 1
    {% for column in columns %}
        or count({{ column }}) = 0
    {% endfor %}

{% endtest %}
