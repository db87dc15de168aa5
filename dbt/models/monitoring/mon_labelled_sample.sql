{{ config(materialized='view', schema='monitoring') }}

with

labelled as (
    select * from {{ ref('trn_flights') }}
),

sampled as (
    {{ sampled_by_day('labelled') | indent(4) }}
)

select
    loop,
    departure_date,
    unit_id,
    {{ feature_columns() }},
    label
from sampled
