"""What each group of features is worth, and what it costs: a table, and a refusal for a group that does harm.

For each declared group, and for the weights and labels that feedback adds, the recipe is fitted without it on the
newest rows before the window, as it is with all on the same rows: small fits, compared with each other and never
with the candidate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ratchet.evaluation.facts import GateResult, gate
from ratchet.experiment.paired import plain, ratio_estimate
from ratchet.training.candidate import WHOLE
from ratchet.training.weights import LABELS, WEIGHTS

if TYPE_CHECKING:
    from ratchet.loop import Loop


def ablation_gate(loop: Loop, sums: Mapping[str, Any]) -> GateResult:
    """Whether no group, and nothing that feedback adds, makes the model worse by more than the margin, beyond chance
    (Bonferroni over what was left out)."""
    name, rules = "feature_ablation", loop.gates.evaluation.ablation
    found = sums.get("ablation")
    if not found:
        return gate(name, False, "not judged: nothing was fitted without a group")
    window = sums["windows"][-1]
    rows = np.asarray(window["rows"], dtype=np.float64)
    # Weights and labels from feedback are no features; they are judged where something was fitted without them.
    added = {extra: () for extra in (WEIGHTS, LABELS) if extra in found["losses"]}
    groups: dict[str, tuple[str, ...]] = {**rules.groups, **added}
    losses = {group: np.asarray(found["losses"][group], dtype=np.float64) for group in (WHOLE, *groups)}
    error = loop.gates.evaluation.alpha / len(groups)
    absent = found.get("absent", {})
    table: dict[str, Any] = {}
    bad = []
    for group, columns in groups.items():
        worth = ratio_estimate(losses[group] - losses[WHOLE], rows)
        low, high = worth.bound(error)
        harms = not worth.is_usable or (-worth.value > rules.margin and high < 0)
        bad += [group] if harms else []
        table[group] = {
            "columns": len(columns),
            "seconds_saved": plain(found["seconds"][WHOLE] - found["seconds"][group]),
            "worth": plain(worth.value),
            "low": plain(low),
            "high": plain(high),
            "state": "harms" if harms else "helps" if low > 0 else "not shown to matter",
        }
    told = ", ".join(
        f"{group} {row['worth']:+.4f} ({row['state']})"
        for group, row in table.items()
        if row["worth"] is not None
    )
    return gate(
        name,
        not bad,
        f"{', '.join(bad) or 'no group'} makes the model worse by more than {rules.margin:g}: without it "
        f"{loop.metrics.primary} changes by {told}, fitted on {found['rows']} rows"
        + "".join(f"; {group} not judged: {why}" for group, why in sorted(absent.items())),
        groups=table,
        rows=found["rows"],
        **({"absent": dict(absent)} if absent else {}),
    )
