"""Sensors that defer: a waiting task holds no worker slot, and says what it waits for."""

from __future__ import annotations

import time
from typing import Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from ratchet.airflow import windows


class ConditionSensor(BaseSensorOperator):
    """Waits, deferred, until a condition of the loop holds: `request`, `labels` or `gates`.

    Already true: succeeds at once, without a round through the triggerer. Not true within `triggers.labels.wait_hours`
    of the loop file: fails, and says what was missing.
    """

    template_fields = ("loop", "condition")

    def __init__(self, *, loop: str, condition: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.loop = loop
        self.condition = condition

    def execute(self, context: Any) -> str:
        """The reason why the wait is over; else defers. Skips when what the run was started for is answered."""
        from ratchet.airflow.loops import loop_named
        from ratchet.airflow.triggers import ConditionTrigger
        from ratchet.settings import load_settings
        from ratchet.stages.conditions import check
        from ratchet.stages.jobs import JobClosed

        settings, wanted, loop = load_settings(), windows.wanted(context), loop_named(self.loop)
        try:
            readiness = check(settings, loop, self.condition, windows.wanted_from(wanted))
        except JobClosed as closed:
            raise AirflowSkipException(str(closed)) from None
        if readiness.ready:
            self.log.info("ready: %s", readiness.reason)
            return readiness.reason
        self.log.info("waiting: %s", readiness.reason)
        self.defer(
            trigger=ConditionTrigger(
                self.loop,
                self.condition,
                wanted,
                settings.sensor_poll_seconds,
                # The clock ends a wait; it decides nothing.
                deadline=time.time() + loop.triggers.labels.wait_hours * 3600,
            ),
            method_name="resume",
        )
        raise AssertionError("unreachable: defer always raises")

    def resume(self, context: Any, event: dict[str, str]) -> str:
        """The trigger's reason, logged; skips when the job was answered while the task waited."""
        if "closed" in event:
            raise AirflowSkipException(event["closed"])
        if "missing" in event:
            raise AirflowFailException(
                f"waited too long for {self.condition} (triggers.labels.wait_hours): {event['missing']}. Mend what is "
                "missing and clear this task, or close the request: `ratchet close-request --reason TEXT`"
            )
        self.log.info("ready: %s", event["reason"])
        return event["reason"]
