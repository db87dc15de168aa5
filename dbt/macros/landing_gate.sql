{#- The condition that a raw row's partition passed the landing gate. No verdict is no pass.

    relation: alias of the raw relation; table_name: its name in ops.partition_gates. -#}
{% macro passed_landing_gate(relation, table_name) -%}
    ({{ relation }}.loop, {{ relation }}.received_date)
    in (
        select
            gates.loop,
            gates.partition_date
        from {{ source('ops', 'partition_gates') }} as gates
        where
            gates.border = 'landing'
            and gates.table_name = '{{ table_name }}'
            and gates.verdict in ('pass', 'warn')
    )
{%- endmacro %}
