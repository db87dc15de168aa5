"""Sensors that defer: a waiting task holds no worker slot, and says what it waits for."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowSkipException

from ratchet.airflow import windows


class ConditionSensor(BaseSensorOperator):
    """Waits, deferred, until a condition of the loop holds: `request`, `labels` or `gates`.

    Already true: succeeds at once, without a round through the triggerer.
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

        settings, wanted = load_settings(), windows.wanted(context)
        try:
            readiness = check(settings, loop_named(self.loop), self.condition, windows.wanted_from(wanted))
        except JobClosed as closed:
            raise AirflowSkipException(str(closed)) from None
        if readiness.ready:
            self.log.info("ready: %s", readiness.reason)
            return readiness.reason
        self.log.info("waiting: %s", readiness.reason)
        self.defer(
            trigger=ConditionTrigger(self.loop, self.condition, wanted, settings.sensor_poll_seconds),
            method_name="resume",
        )
        raise AssertionError("unreachable: defer always raises")

    def resume(self, context: Any, event: dict[str, str]) -> str:
        """The trigger's reason, logged; skips when the job was answered while the task waited."""
        if "closed" in event:
            raise AirflowSkipException(event["closed"])
        self.log.info("ready: %s", event["reason"])
        return event["reason"]
