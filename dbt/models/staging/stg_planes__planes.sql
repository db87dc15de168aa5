with

planes as (
    select * from {{ source('raw', 'planes') }}
),

passed as (
    select
        planes.loop,
        planes.tail_number,
        planes.manufacture_year,
        planes.seats,
        planes.received_at,
        planes.row_hash
    from planes
    where {{ passed_landing_gate('planes', 'planes') }}
)

select
    loop,
    tail_number,
    manufacture_year,
    seats,
    received_at,
    row_hash
from passed
