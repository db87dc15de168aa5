{{ config(materialized='view', schema='monitoring') }}
-- depends_on: {{ ref('ftr_flights__pre_departure') }}
-- depends_on: {{ ref('fct_labels') }}
-- depends_on: {{ ref('fct_predictions') }}
-- depends_on: {{ ref('fct_feedback') }}

with

features as (
    select * from {{ source('published_features', 'ftr_flights__pre_departure') }}
),

labels as (
    select * from {{ source('published_marts', 'fct_labels') }}
),

predictions as (
    select * from {{ source('published_marts', 'fct_predictions') }}
),

feedback as (
    select * from {{ source('published_marts', 'fct_feedback') }}
),

rows_of_tables as (
    select
        loop,
        'ftr_flights__pre_departure' as table_name,
        departure_date as partition_date
    from features
    union all
    select
        loop,
        'fct_labels' as table_name,
        departure_date as partition_date
    from labels
    union all
    select
        loop,
        'fct_predictions' as table_name,
        departure_date as partition_date
    from predictions
    union all
    select
        loop,
        'fct_feedback' as table_name,
        departure_date as partition_date
    from feedback
),

counted as (
    select
        loop,
        table_name,
        partition_date,
        {{ count_of('*') }} as n_rows
    from rows_of_tables
    group by loop, table_name, partition_date
)

select
    loop,
    table_name,
    partition_date,
    n_rows
from counted
