{{ config(materialized='view') }}

with

landings as (
    select * from {{ source('ops', 'landings') }}
),

-- What is logged by ourselves (predictions, features as served) says nothing about how far the world is known.
landed as (
    select
        loop,
        cast(max(received_date) as timestamp) + interval '1 day' as landed_until,
        cast(max(case when source = 'outcomes' then received_date end) as timestamp) + interval '1 day'
            as outcomes_until
    from landings
    where source in ('schedule', 'weather', 'outcomes')
    group by loop
)

select
    loop,
    landed_until,
    outcomes_until
from landed
