"""What a task tells the DAGs that wait for its assets."""

from __future__ import annotations

from typing import Any

from airflow.sdk import get_current_context


def announce(name: str, extra: dict[str, Any]) -> None:
    """Let the asset `<name>` behind this task's alias have an event; without the call it has none."""
    from airflow.sdk import Asset, AssetAlias

    loop, _, asset = name.partition("__")
    events = get_current_context()["outlet_events"]
    events[AssetAlias(name=f"{name}__when_any")].add(
        Asset(name=name, uri=f"ratchet://{loop}/{asset}"), extra=extra
    )


def stamp(name: str, extra: dict[str, Any]) -> None:
    """Give the event of this task's outlet `<name>` its as-of."""
    from airflow.sdk import Asset

    loop, _, asset = name.partition("__")
    get_current_context()["outlet_events"][Asset(name=name, uri=f"ratchet://{loop}/{asset}")].extra.update(
        extra
    )
