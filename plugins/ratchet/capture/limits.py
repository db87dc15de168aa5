"""How often one client may ask: a bucket of tokens each, refilled at a steady rate."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock


class RateLimit:
    """`per_second` on average and `burst` at once for each client; the `most` clients seen last are remembered."""

    def __init__(self, per_second: float, burst: int, most: int = 10_000) -> None:
        self._rate, self._burst, self._most = per_second, float(burst), most
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def wait(self, client: str, now: float) -> float:
        """0 when the client may go ahead, else the seconds after which it may ask again. `now`: a steady clock."""
        with self._lock:
            tokens, at = self._buckets.pop(client, (self._burst, now))
            tokens = min(self._burst, tokens + max(0.0, now - at) * self._rate)
            may = tokens >= 1.0
            self._buckets[client] = (tokens - 1.0 if may else tokens, now)
            while len(self._buckets) > self._most:
                self._buckets.popitem(last=False)
            return 0.0 if may else (1.0 - tokens) / self._rate
