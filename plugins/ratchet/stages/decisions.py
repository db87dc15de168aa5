"""What outside of the ledger rests on it, compared with what it says."""

from __future__ import annotations

from collections.abc import Sequence

from ratchet.ledger.chain import Entry
from ratchet.scoring.routing import RoutingError, read_routing
from ratchet.settings import Settings


def not_in_ledger(settings: Settings, entries: Sequence[Entry]) -> list[str]:
    """Decisions that a routing file was written for and that the ledger does not have, in words."""
    known = {(entry.loop, entry.key) for entry in entries}
    found = []
    for path in sorted(settings.routing_dir.glob("*.flagd.json")):
        loop = path.name.removesuffix(".flagd.json")
        try:
            decision = read_routing(settings, loop).decision
        except RoutingError as error:
            found.append(str(error))
            continue
        if (loop, decision) not in known:
            found.append(f"{path} serves by the decision {decision!r}, which the ledger does not have")
    return found
