{#- True for the gate row, of the alias `gates`, of a feature partition that may be read. -#}
{% macro opens_feature_partition(gates) -%}
    {{ gates }}.border = 'features'
    and {{ gates }}.table_name = 'ftr_flights__pre_departure'
    and {{ gates }}.verdict in ('pass', 'warn')
{%- endmacro %}
