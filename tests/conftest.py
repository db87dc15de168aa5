"""What every test shares: engines that may be missing are named, counted skips; nothing is sent anywhere."""

from __future__ import annotations

import os

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

import pytest

REQUIRED = os.environ.get("RATCHET_REQUIRE_ENGINES") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """Under RATCHET_REQUIRE_ENGINES=1 a skip is a failure: CI installs everything that a test may need."""
    report = yield
    if REQUIRED and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} was skipped, and RATCHET_REQUIRE_ENGINES=1 allows no skip: {report.longrepr}"
        )
    return report
