"""A daily or weekly timetable over a loop's data span: no run lies after the data's end.

A DAG's own `end_date` would do the same for the timetable, but it also makes a run by hand (whose logical date
is today) end green without a task.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable


class SpanTimetable(CronDataIntervalTimetable):
    """`CronDataIntervalTimetable` in UTC whose last interval starts on `last` (None: no end)."""

    def __init__(self, cron: str, last: date | None) -> None:
        super().__init__(cron, timezone="UTC")
        self.last = last

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> SpanTimetable:
        """The timetable that `serialize` wrote."""
        return cls(data["expression"], None if data["last"] is None else date.fromisoformat(data["last"]))

    def serialize(self) -> dict[str, Any]:
        """Plain data."""
        return {"expression": self._expression, "last": None if self.last is None else self.last.isoformat()}

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The next interval, unless it starts after the span."""
        info = super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=restriction
        )
        if info is None or info.data_interval is None:
            return info
        return None if self.last is not None and info.data_interval.start.date() > self.last else info
