{#- The CTEs that end in `windowed`: for each row of `flights`, how many of `outcome_versions` were known in each window
    before its prediction, and how many of them late. A window is a name, the columns it is taken by, a length, and
    the names of its two counts. Outcomes of the instant of the prediction itself do not count.

    Both ways give the same numbers; each engine is two to three times faster with its own. -#}
{% macro outcomes_in_windows(windows) -%}
    {{ return(adapter.dispatch('outcomes_in_windows', 'ratchet')(windows)) }}
{%- endmacro %}


{#- Postgres adds what comes into a frame and takes away what leaves it. Every frame ends one microsecond, the resolution
    of a timestamp, before the prediction: strictly earlier. -#}
{% macro default__outcomes_in_windows(windows) -%}
timeline as (
    select
        loop,
        unit_id,
        departure_date,
        predict_at as timeline_at,
        origin,
        carrier,
        dest,
        1 as is_flight,
        0 as n_outcomes,
        0 as n_late
    from flights
    union all
    select
        loop,
        unit_id,
        cast(null as date) as departure_date,
        known_at as timeline_at,
        origin,
        carrier,
        dest,
        0 as is_flight,
        1 as n_outcomes,
        n_late
    from outcome_versions
),

counted as (
    select
        timeline.loop,
        timeline.unit_id,
        timeline.departure_date,
        timeline.is_flight,
        {% for window in windows %}
            sum(timeline.n_outcomes) over {{ window.name }} as {{ window.outcomes }},
            sum(timeline.n_late) over {{ window.name }} as {{ window.late }}
            {%- if not loop.last %},{% endif %}
        {% endfor %}
    from timeline
    window
        {% for window in windows %}
            {{ window.name }} as (
                partition by timeline.loop, timeline.{{ window.by | join(', timeline.') }}
                order by timeline.timeline_at
                range between interval '{{ window.length }}' preceding and interval '1 microsecond' preceding
            )
            {%- if not loop.last %},{% endif %}
        {% endfor %}
),

windowed as (
    select
        counted.loop,
        counted.unit_id,
        counted.departure_date,
        {% for window in windows %}
            counted.{{ window.outcomes }},
            counted.{{ window.late }}
            {%- if not loop.last %},{% endif %}
        {% endfor %}
    from counted
    where counted.is_flight = 1
),
{%- endmacro %}


{#- DuckDB looks every frame with two moving ends up by itself. Running counts cost a tenth of that: those known before
    the prediction, less those known before the window began. A flight stands before the outcomes of its own instant. -#}
{% macro duckdb__outcomes_in_windows(windows) -%}
{% for window in windows %}
    {{ window.name }}_edges as (
        select
            flights.loop,
            flights.unit_id,
            flights.departure_date,
            {% for key in window.by %}flights.{{ key }},
            {% endfor %}
            flights.predict_at as edge_at,
            1 as direction,
            0 as n_outcomes,
            0 as n_late
        from flights
        union all
        select
            flights.loop,
            flights.unit_id,
            flights.departure_date,
            {% for key in window.by %}flights.{{ key }},
            {% endfor %}
            flights.predict_at - interval '{{ window.length }}' as edge_at,
            -1 as direction,
            0 as n_outcomes,
            0 as n_late
        from flights
        union all
        select
            outcome_versions.loop,
            cast(null as varchar) as unit_id,
            cast(null as date) as departure_date,
            {% for key in window.by %}outcome_versions.{{ key }},
            {% endfor %}
            outcome_versions.known_at as edge_at,
            0 as direction,
            1 as n_outcomes,
            outcome_versions.n_late
        from outcome_versions
    ),

    {{ window.name }}_counted as (
        select
            edges.loop,
            edges.unit_id,
            edges.departure_date,
            edges.direction,
            edges.direction * sum(edges.n_outcomes) over until_then as n_outcomes,
            edges.direction * sum(edges.n_late) over until_then as n_late
        from {{ window.name }}_edges as edges
        window
            until_then as (
                partition by edges.loop, edges.{{ window.by | join(', edges.') }}
                order by edges.edge_at, edges.n_outcomes
                rows between unbounded preceding and current row
            )
    ),

{% endfor %}
counted as (
    {% for window in windows %}
        select
            '{{ window.name }}' as window_name,
            {{ window.name }}_counted.*
        from {{ window.name }}_counted
        where {{ window.name }}_counted.direction <> 0
        {% if not loop.last %}union all{% endif %}
    {% endfor %}
),

windowed as (
    select
        loop,
        unit_id,
        departure_date,
        {% for window in windows %}
            sum(case when window_name = '{{ window.name }}' then n_outcomes else 0 end) as {{ window.outcomes }},
            sum(case when window_name = '{{ window.name }}' then n_late else 0 end) as {{ window.late }}
            {%- if not loop.last %},{% endif %}
        {% endfor %}
    from counted
    group by loop, unit_id, departure_date
),
{%- endmacro %}
