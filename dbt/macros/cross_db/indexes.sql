{#- Postgres finds a departure date by an index, and plans by statistics, which a new table lacks until somebody asks.
    DuckDB needs neither: it skips by the smallest and largest value of each block. -#}
{% macro postgres__create_indexes(relation) -%}
    {%- set names = adapter.get_columns_in_relation(relation) | map(attribute='name') | list -%}
    {%- if 'loop' in names and 'departure_date' in names -%}
        {%- do run_query(get_create_index_sql(relation, {'columns': ['loop', 'departure_date']})) -%}
    {%- endif -%}
    {%- do run_query('analyze ' ~ relation) -%}
{%- endmacro %}
