{#- Post-hook of staged tables: the table of the same name that readers see has the same columns. Rows reach it by
    publishing only; a new column is empty until then. -#}
{% macro prepare_published() -%}
    {%- if execute and this.schema.startswith('build_') and model.config.materialized == 'incremental' -%}
        {%- set schema = this.schema | replace('build_', '', 1) -%}
        {%- set before = columns_before(this.database) -%}
        {%- set staged = before.get(this.schema ~ '.' ~ this.identifier) -%}
        {%- set is_kept = not should_full_refresh() and staged is not none -%}
        {%- if not (is_kept and staged == before.get(schema ~ '.' ~ this.identifier)) -%}
            {%- do adapt_published(api.Relation.create(
                database=this.database, schema=schema, identifier=this.identifier, type='table'
            )) -%}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}


{#- By table, the columns that it had when the run began, as one text. A staged table keeps its columns for as long as
    it is not made anew: only then has the published one to be looked at. -#}
{% macro columns_before(database) -%}
    {%- if 'ratchet_columns_before' not in graph -%}
        {%- set found = {} -%}
        {%- for row in run_query(
            "select table_schema || '.' || table_name, string_agg(column_name || ' ' || data_type, ', ' "
            ~ "order by column_name) from information_schema.columns where table_catalog = '" ~ database
            ~ "' group by table_schema, table_name"
        ).rows -%}
            {%- do found.update({row[0]: row[1]}) -%}
        {%- endfor -%}
        {%- do graph.update({'ratchet_columns_before': found}) -%}
    {%- endif -%}
    {{ return(graph['ratchet_columns_before']) }}
{%- endmacro %}


{% macro adapt_published(published) -%}
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
{%- endmacro %}
