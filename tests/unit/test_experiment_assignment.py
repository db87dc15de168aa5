"""Assignment: refusals, shares, and that a growing share moves nobody between experimental arms."""

from __future__ import annotations

import numpy as np
import pytest

from ratchet.experiment.assignment import arm_weights, assign, murmur3_32

IDS = [f"UA{n}-EWR-20130514-0515" for n in range(20_000)]


def test_murmur3_known_values() -> None:
    # verification values of MurmurHash3_x86_32 with seed 0
    keys = [b"", b"a", b"test", b"Hello, world!", b"The quick brown fox jumps over the lazy dog"]
    expected = [0x0, 0x3C2569B2, 0xBA6BD213, 0xC0363E43, 0x2E4FF723]
    assert murmur3_32(keys).tolist() == expected


def test_shares_are_met() -> None:
    arms = assign(IDS, "exp-1", arm_weights(0.05))
    counts = {arm: int((arms == arm).sum()) for arm in ("challenger", "rest", "control")}
    assert sum(counts.values()) == len(IDS)
    assert counts["challenger"] == pytest.approx(1000, abs=100)
    assert counts["control"] == pytest.approx(1000, abs=100)


def test_a_growing_share_moves_nobody_between_challenger_and_control() -> None:
    before = assign(IDS, "exp-1", arm_weights(0.0))
    for share in (0.01, 0.05, 0.10, 0.25, 0.5):
        after = assign(IDS, "exp-1", arm_weights(share))
        exposed = before != "rest"
        assert (after[exposed] == before[exposed]).all()
        before = after
    assert set(before) == {"challenger", "control"}


def test_the_other_order_would_move_units() -> None:
    """With champion, control, challenger the same growth changes arms: the order is what protects."""

    def ordered(share: int) -> np.ndarray:
        return assign(IDS, "e", [("rest", 100 - 2 * share), ("control", share), ("challenger", share)])

    small, large = ordered(5), ordered(25)
    exposed = small != "rest"
    assert (small[exposed] != large[exposed]).any()


def test_another_experiment_draws_anew() -> None:
    one, two = assign(IDS, "exp-1", arm_weights(0.5)), assign(IDS, "exp-2", arm_weights(0.5))
    assert np.mean(one == two) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    "variants",
    [
        [],
        [("a", 0)],
        [("a", -1), ("b", 2)],
        [("a", 1.5)],
        [("a", True)],
        [("a", 1), ("a", 1)],
        [("a", 2**31)],
    ],
)
def test_impossible_variants_are_refused(variants) -> None:
    with pytest.raises(ValueError):
        assign(IDS[:3], "exp-1", variants)


@pytest.mark.parametrize(("ids", "key"), [([""], "e"), ([None], "e"), ([7], "e"), (["x"], "")])
def test_units_need_ids_and_flags_a_key(ids, key: str) -> None:
    with pytest.raises(ValueError):
        assign(ids, key, arm_weights(0.5))


@pytest.mark.parametrize("share", [-0.1, 0.51, float("nan")])
def test_a_share_beyond_half_is_refused(share: float) -> None:
    with pytest.raises(ValueError):
        arm_weights(share)


def test_nobody_to_assign_is_fine() -> None:
    assert len(assign([], "exp-1", arm_weights(0.5))) == 0
