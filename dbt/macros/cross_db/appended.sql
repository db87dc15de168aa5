{#- How rows are laid down on DuckDB, which skips by the smallest and largest value of each block: a table that is made
    anew lies in order of departure dates, and what an incremental model appends is of few of them. Appended rows are
    read through a temporary view, so that they are made once, where they belong; dbt would make a table of them first
    and copy it. -#}
{% macro duckdb__create_table_as(
    temporary, relation, compiled_code, language='sql', partitioned_by=none, sorted_by=none
) -%}
    {%- set is_dated = model.resource_type == 'model' and 'departure_date' in model.columns -%}
    {%- if temporary and model.resource_type == 'model' and config.get('incremental_strategy') == 'append' -%}
        {%- if config.get('contract').enforced -%}
            {{ get_assert_columns_equivalent(compiled_code) }}
        {%- endif -%}
        create or replace temporary view {{ relation.include(database=false, schema=false) }} as (
            {{ compiled_code }}
        )
    {%- else -%}
        {%- set ordered -%}
            {%- if is_dated and not temporary -%}
                select * from ({{ compiled_code }}) as unordered order by departure_date
            {%- else -%}
                {{ compiled_code }}
            {%- endif -%}
        {%- endset -%}
        {{ dbt.duckdb__create_table_as(temporary, relation, ordered, language, partitioned_by, sorted_by) }}
    {%- endif -%}
{%- endmacro %}
