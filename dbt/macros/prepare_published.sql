{#- Post-hook of staged tables: the table of the same name that readers see has the same columns. Rows reach it by
    publishing only; a new column is empty until then. -#}
{% macro prepare_published() -%}
    {%- if execute and this.schema.startswith('build_') and model.config.materialized == 'incremental' -%}
        {%- set schema = this.schema | replace('build_', '', 1) -%}
        {%- set published = api.Relation.create(
            database=this.database, schema=schema, identifier=this.identifier, type='table'
        ) -%}
        {%- do adapter.create_schema(published) -%}
        {%- do run_query("create table if not exists " ~ published ~ " as select * from " ~ this ~ " where false") -%}
        {%- set here = {} -%}
        {%- for column in adapter.get_columns_in_relation(published) -%}
            {%- do here.update({column.name: column.data_type}) -%}
        {%- endfor -%}
        {%- set wanted = {} -%}
        {%- for column in adapter.get_columns_in_relation(this) -%}
            {%- do wanted.update({column.name: column.data_type}) -%}
        {%- endfor -%}
        {%- for name, data_type in here.items() if wanted.get(name) != data_type -%}
            {%- do run_query("alter table " ~ published ~ " drop column " ~ adapter.quote(name) ~ " cascade") -%}
        {%- endfor -%}
        {%- for name, data_type in wanted.items() if here.get(name) != data_type -%}
            {%- do run_query("alter table " ~ published ~ " add column " ~ adapter.quote(name) ~ " " ~ data_type) -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}
