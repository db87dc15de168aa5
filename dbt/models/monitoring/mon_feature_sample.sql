{{ config(materialized='view', schema='monitoring') }}

with

features as (
    select * from {{ ref('ftr_flights__published') }}
),

sampled as (
    {{ sampled_by_day('features') | indent(4) }}
)

select
    loop,
    departure_date,
    unit_id,
    {{ feature_columns() }}
from sampled
