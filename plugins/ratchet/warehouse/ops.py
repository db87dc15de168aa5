"""The warehouse's own book-keeping: what landed, what is dirty, which partitions are green.

dbt reads these tables as sources and writes none of them.
"""

from __future__ import annotations

from ratchet.warehouse.protocol import Warehouse

_TABLES = {
    "ops.landings": """
        loop varchar not null, source varchar not null, received_date date not null,
        file_name varchar not null, file_sha256 varchar not null,
        rows_read integer not null, rows_landed integer not null,
        rows_quarantined integer not null, rows_duplicate integer not null,
        rows_forgotten integer default 0,
        primary key (loop, source, received_date, file_name, file_sha256)""",
    "ops.dirty_partitions": """
        loop varchar not null, source varchar not null, received_date date not null,
        primary key (loop, source, received_date)""",
    "ops.reweighed_partitions": """
        loop varchar not null, received_date date not null,
        primary key (loop, received_date)""",
    "ops.partition_gates": """
        loop varchar not null, border varchar not null, table_name varchar not null,
        partition_date date not null, verdict varchar not null, rows integer not null, reason varchar,
        suite_sha256 varchar not null, as_of timestamp not null,
        primary key (loop, border, table_name, partition_date)""",
    "ops.build_scope": """
        loop varchar not null, departure_date date not null,
        as_of timestamp not null, includes_features boolean not null,
        primary key (loop, departure_date)""",
    "ops.building_partitions": """
        loop varchar not null, source varchar not null, received_date date not null,
        primary key (loop, source, received_date)""",
    "ops.staged_gates": """
        loop varchar not null, table_name varchar not null, partition_date date not null,
        verdict varchar not null, rows integer not null, reason varchar,
        suite_sha256 varchar not null, as_of timestamp not null,
        primary key (loop, table_name, partition_date)""",
    "ops.built_until": """
        loop varchar not null, landed_until timestamp not null, outcomes_until timestamp,
        sources varchar not null,
        primary key (loop)""",
    "ops.feature_bins": """
        loop varchar not null, model_version integer not null, feature varchar not null, bin integer not null,
        lower_bound double precision, upper_bound double precision, reference_share double precision not null,
        primary key (loop, model_version, feature, bin)""",
    "ops.feature_profiles": """
        loop varchar not null, model_version integer not null, feature varchar not null,
        lowest double precision, highest double precision, days integer not null,
        log_distance double precision, log_distance_spread double precision,
        day_mean double precision, day_mean_spread double precision,
        effect double precision, effect_largest double precision, importance double precision,
        primary key (loop, model_version, feature)""",
    "ops.staleness_daily": """
        loop varchar not null, model_version integer not null, departure_date date not null,
        trained_until date not null, n_labelled integer not null,
        sum_log_loss double precision not null, sum_brier double precision not null,
        primary key (loop, model_version, departure_date)""",
    "ops.experiments": """
        loop varchar not null, experiment_id varchar not null,
        champion_version integer not null, challenger_version integer not null,
        rest_version integer,
        primary key (loop, experiment_id)""",
    "ops.watermarks": """
        loop varchar not null, source varchar not null,
        received_at timestamp not null, as_of timestamp not null,
        primary key (loop, source)""",
    "ops.enrichment_versions": """
        loop varchar not null, enrichment_version varchar not null, rubric_version varchar not null,
        is_current boolean not null,
        primary key (loop, enrichment_version)""",
    "ops.feedback_enrichment": """
        loop varchar not null, feedback_id varchar not null, row_hash varchar not null, received_date date not null,
        thread_key varchar not null, language varchar not null, sentiment double precision, category varchar not null,
        confidence double precision not null, source varchar not null, duplicate_key varchar not null,
        rubric_version varchar not null, enrichment_version varchar not null,
        primary key (loop, feedback_id, row_hash, enrichment_version)""",
    "ops.feedback_weights": """
        loop varchar not null, feedback_id varchar not null, received_date date not null,
        weights_version varchar not null, as_of timestamp not null,
        weight double precision not null, reason varchar not null,
        primary key (loop, feedback_id, weights_version, as_of)""",
    "ops.annotations": """
        loop varchar not null, feedback_id varchar not null, annotator varchar not null, category varchar not null,
        rubric_version varchar not null, event_at timestamp not null, received_at timestamp not null,
        source varchar not null,
        primary key (loop, feedback_id, annotator, rubric_version, event_at)""",
    "ops.annotation_sets": """
        loop varchar not null, label_set varchar not null, rubric_version varchar not null, as_of timestamp not null,
        is_current boolean not null,
        primary key (loop, label_set)""",
    "ops.annotation_resolved": """
        loop varchar not null, label_set varchar not null, feedback_id varchar not null, category varchar not null,
        state varchar not null,
        primary key (loop, label_set, feedback_id)""",
    "raw.quarantine": """
        loop varchar not null, source varchar not null, received_date date not null,
        source_file varchar not null, source_line integer not null,
        reason varchar not null, original varchar,
        quarantine_id varchar, original_bytes bytea, is_redacted boolean, file_header varchar,
        file_sha256 varchar, location varchar, is_cut_off boolean,
        state varchar default 'held', settled_at timestamp, settled_as varchar, people varchar""",
    "ops.extra_columns": """
        loop varchar not null, source varchar not null, received_date date not null,
        file_name varchar not null, column_name varchar not null, rows bigint not null,
        primary key (loop, source, received_date, file_name, column_name)""",
    "ops.person_key": """
        fingerprint varchar not null primary key""",
    "ops.forgotten_people": """
        loop varchar not null, person varchar not null, as_of timestamp not null,
        primary key (loop, person)""",
    "ops.forgetting": """
        loop varchar not null, person varchar not null, kind varchar not null, name varchar not null,
        primary key (loop, person, kind, name)""",
    "ops.forgetting_steps": """
        loop varchar not null, person varchar not null, step varchar not null, removed varchar not null,
        primary key (loop, person, step)""",
    "ops.training_tombstones": """
        loop varchar not null, unit_id varchar not null,
        primary key (loop, unit_id)""",
    "ops.receipts_outbox": """
        loop varchar not null, person varchar not null, period_start date not null, period_end date not null,
        contributions integer not null, templates varchar not null, subject varchar not null, body varchar not null,
        message_id varchar not null, state varchar not null, channel varchar, as_of timestamp not null,
        primary key (loop, person, period_start)""",
    "ops.partition_digests": """
        loop varchar not null, source varchar not null, received_date date not null,
        n_rows bigint not null, digest varchar not null,
        primary key (loop, source, received_date)""",
}


_GAINED = {
    "ops.experiments": {"rest_version": "integer"},
    "raw.quarantine": {
        "quarantine_id": "varchar",
        "original_bytes": "bytea",
        "is_redacted": "boolean",
        "file_header": "varchar",
        "file_sha256": "varchar",
        "location": "varchar",
        "is_cut_off": "boolean",
        "state": "varchar default 'held'",
        "settled_at": "timestamp",
        "settled_as": "varchar",
        "people": "varchar",
    },
    "ops.landings": {"rows_forgotten": "integer default 0"},
}


def ensure(wh: Warehouse) -> None:
    """Create the schemas `raw` and `ops` and their tables where they are missing; changes no row."""
    # Two sessions that create the same schema at once would both find it missing.
    with wh.transaction(), wh.lock("tables"):
        for schema in ("raw", "ops"):
            wh.execute(f"create schema if not exists {schema}")
        for table, columns in _TABLES.items():
            wh.execute(f"create table if not exists {table} ({columns})")
        _add_missing(wh)


def _add_missing(wh: Warehouse) -> None:
    """Give a warehouse that was made before them the columns that a table has gained.

    Asked first: to alter a table waits for everybody who reads it, also when there is nothing to do.
    """
    for table, columns in _GAINED.items():
        schema, name = table.split(".")
        present = wh.frame(
            "select column_name from information_schema.columns where table_schema = ? and table_name = ?",
            (schema, name),
        )
        for column, kind in columns.items():
            if column not in set(present["column_name"]):
                wh.execute(f"alter table {table} add column if not exists {column} {kind}")


def tables() -> tuple[str, ...]:
    """Names of the tables that `ensure` creates, as schema.table."""
    return tuple(_TABLES)
