"""Landing keeps up: a guard against losing the column-wise paths, not a benchmark."""

from __future__ import annotations

import json
import time
from datetime import date

from ratchet.landing.contract import load_contract
from ratchet.landing.readers import read
from ratchet.landing.row_hash import row_hashes
from ratchet.landing.validate import validate
from ratchet.settings import load_settings

ROWS = 20_000
# CPU time; the reference machine does more than three times as many.
LEAST_ROWS_A_SECOND = 25_000


def test_json_lines_are_read_validated_and_hashed_fast_enough() -> None:
    contract = load_contract(load_settings({}).dbt_dir, "outcomes")
    row = {
        "unit_id": "UA1-EWR-20130514-0515",
        "outcome_value": 12.5,
        "event_at": "2013-05-14T09:00:00Z",
        "received_at": "2013-05-14T10:00:00Z",
    }
    data = "\n".join(json.dumps({"outcome_id": f"arrival-{i}", **row}) for i in range(ROWS)).encode()
    best = 0.0
    for _ in range(3):
        began = time.process_time()
        raw = read(data, "jsonl", contract)
        typed, good, _ = validate(raw, contract, date(2013, 5, 14))
        hashes = row_hashes(typed, contract)
        best = max(best, ROWS / (time.process_time() - began))
        assert good.all()
        assert len(set(hashes)) == ROWS
    assert best >= LEAST_ROWS_A_SECOND, f"{best:,.0f} rows a second"
