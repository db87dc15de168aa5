{#- A unit test on Postgres, whose names have 63 characters at most: the table that dbt makes to learn the columns'
    types is named by the test's hash, so that a test may be named for what it claims. Else as in dbt itself. -#}
{% materialization unit, adapter='postgres' -%}
    {%- set expected_rows = config.get('expected_rows') -%}
    {%- set expected_sql = config.get('expected_sql') -%}
    {%- set tested = expected_rows[0].keys() if expected_rows | length > 0 else get_columns_in_query(sql) -%}

    {%- set short = this.incorporate(path={'identifier': 'unit_' ~ local_md5(this.identifier)}, type='table') -%}
    {%- set temporary = make_temp_relation(short) -%}
    {%- do run_query(get_create_table_as_sql(True, temporary, get_empty_subquery_sql(sql))) -%}
    {%- set types = {} -%}
    {%- set quoted = {} -%}
    {%- for column in adapter.get_columns_in_relation(temporary) -%}
        {%- do types.update({column.name | lower: column.data_type}) -%}
        {%- do quoted.update({column.name | lower: column.quoted}) -%}
    {%- endfor -%}
    {%- set names = [] -%}
    {%- for name in tested -%}
        {%- do names.append(quoted[name | lower]) -%}
    {%- endfor -%}

    {% call statement('main', fetch_result=True) -%}
        {{ get_unit_test_sql(sql, expected_sql or get_expected_sql(expected_rows, types, quoted), names) }}
    {%- endcall %}

    {% do adapter.drop_relation(temporary) %}
    {{ return({'relations': []}) }}
{%- endmaterialization %}
