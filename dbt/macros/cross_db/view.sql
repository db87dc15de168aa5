{#- A view on Postgres: left alone while its statement and columns are the same, else replaced in one transaction.

    dbt would put a new view in the place of the old one in every build, and take with it, for as long as the build
    goes on, the views that read it: a reader would find them missing. -#}
{% materialization view, adapter='postgres' -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target_relation = this.incorporate(type='view') -%}
    {%- set written = 'ratchet ' ~ local_md5(sql ~ tojson(model.columns, sort_keys=true)) -%}
    {%- set comment = run_query(
        "select obj_description(to_regclass('" ~ target_relation.include(database=false) ~ "'), 'pg_class')"
    ).rows[0][0] -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% if existing is not none and existing.is_view and comment == written %}
        {% call statement('main') %}select 'unchanged'{% endcall %}
    {% else %}
        {% if existing is not none %}
            {% do adapter.cache_dropped(existing) %}
        {% endif %}
        {% call statement('main') -%}
            {% if existing is not none -%}
                drop {{ existing.type }} if exists {{ existing }} cascade;
            {%- endif %}
            {{ get_create_view_as_sql(target_relation, sql) }};
            comment on view {{ target_relation }} is '{{ written }}'
        {%- endcall %}
    {% endif %}

    {% do persist_docs(target_relation, model) %}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target_relation]}) }}
{%- endmaterialization %}
