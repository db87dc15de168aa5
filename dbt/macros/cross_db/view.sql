{#- A view: left alone while its statement and columns are the same, else replaced in one transaction.

    dbt would put a new view in the place of the old one in every build. On Postgres that takes with it, for as long
    as the build goes on, the views that read it: a reader would find them missing. On DuckDB it is most of what a
    day's build costs beside its rows. The database's name is not a part of what is compared: a copy of a database
    has another. -#}
{% materialization view, default -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type='view') -%}
    {%- set written = 'ratchet ' ~ local_md5(
        sql | replace('"' ~ this.database ~ '".', '') ~ tojson(model.columns, sort_keys=true)
    ) -%}
    {%- set comment = comment_of_view(target_relation) -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- set is_unchanged = existing is not none and existing.is_view and comment == written -%}
    {% if is_unchanged %}
        {% call noop_statement('main', 'unchanged') %}{% endcall %}
    {% else %}
        {% if existing is not none %}
            {% do adapter.cache_dropped(existing) %}
        {% endif %}
        {% call statement('main') -%}
            {{ replace_view(existing, target_relation, sql) }}
            comment on view {{ target_relation }} is '{{ written }}'
        {%- endcall %}
    {% endif %}

    {% do persist_docs(target_relation, model) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {%- if not is_unchanged -%}
        {{ adapter.commit() }}
    {%- endif -%}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target_relation]}) }}
{%- endmaterialization %}


{#- What was written beside the view when it was made; none without one. -#}
{% macro comment_of_view(relation) -%}
    {{ return(adapter.dispatch('comment_of_view')(relation)) }}
{%- endmacro %}


{#- DuckDB drops one view at a time, so that what was asked once of all of them holds for the run. -#}
{% macro default__comment_of_view(relation) -%}
    {%- if 'ratchet_view_comments' not in graph -%}
        {%- set found = {} -%}
        {%- for row in run_query(
            "select schema_name || '.' || view_name, comment from duckdb_views() "
            ~ "where database_name = current_database() and comment is not null"
        ).rows -%}
            {%- do found.update({row[0]: row[1]}) -%}
        {%- endfor -%}
        {%- do graph.update({'ratchet_view_comments': found}) -%}
    {%- endif -%}
    {{ return(graph['ratchet_view_comments'].get(relation.schema ~ '.' ~ relation.identifier)) }}
{%- endmacro %}


{% macro postgres__comment_of_view(relation) -%}
    {{ return(run_query(
        "select obj_description(to_regclass('" ~ relation.include(database=false) ~ "'), 'pg_class')"
    ).rows[0][0]) }}
{%- endmacro %}


{#- Statements that put the view in the place of what is there. -#}
{% macro replace_view(existing, relation, sql) -%}
    {{ return(adapter.dispatch('replace_view')(existing, relation, sql)) }}
{%- endmacro %}


{% macro default__replace_view(existing, relation, sql) -%}
    {% if existing is not none -%}
        drop {{ existing.type }} if exists {{ existing }} cascade;
    {%- endif %}
    {{ get_create_view_as_sql(relation, sql) }};
{%- endmacro %}


{#- In its place as long as the columns allow it: the views that read it stay. A view whose columns have other names
    or types takes them with it until the build has made them again. -#}
{% macro postgres__replace_view(existing, relation, sql) -%}
    {% if existing is none or not existing.is_view -%}
        {{ default__replace_view(existing, relation, sql) }}
    {%- else -%}
        {%- if config.get('contract').enforced -%}
            {{ get_assert_columns_equivalent(sql) }}
        {%- endif %}
        do $replace_view$
        begin
            create or replace view {{ relation }} as (
                {{ sql }}
            );
        exception
            when invalid_table_definition then
                drop view {{ relation }} cascade;
                create view {{ relation }} as (
                    {{ sql }}
                );
        end
        $replace_view$;
    {%- endif %}
{%- endmacro %}
