"""One example: a world, delivered and built in some order, beside the reference."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.reference.compare import differences, reference_of
from tests.reference.play import Player, tables_without_tests
from tests.reference.worlds import STARTS, Maker, Shape, steps_of


@dataclass(frozen=True)
class Example:
    """What one world showed; `differences` is empty when every cell was the reference's."""

    shape: Shape
    order: tuple[str, ...]
    builds: int
    cells: int
    differences: tuple[str, ...]


def shape_of(seed: int) -> Shape:
    """A shape from a number: 5 to 40 flights over 3 to 8 days, from nothing wrong to half of the rows."""
    dice = random.Random(seed)
    return Shape(
        seed=seed,
        start=dice.choice(STARTS),
        days=dice.randint(3, 8),
        flights=dice.randint(5, 40),
        late_share=dice.choice((0.0, 0.2, 0.5)),
        corrected_share=dice.choice((0.0, 0.2, 0.5)),
        longest_delay_days=dice.choice((1, 10, 40)),
    )


class Bench:
    """Where examples are played: one lenient checkout, and dbt's parse of it once it is made."""

    def __init__(self, folder: Path, checkout: Path) -> None:
        self.folder, self.checkout = folder, checkout
        self._parsed = folder / "partial_parse.msgpack"

    def player(self, name: str, **environment: str) -> Player:
        home = self.folder / name
        shutil.rmtree(home, ignore_errors=True)
        return Player(home, self.checkout, self._parsed, **environment)

    def keep_parse(self, player: Player) -> None:
        if not self._parsed.exists():
            self._parsed.write_bytes(player.parsed.read_bytes())

    def play(self, shape: Shape, deliveries: int, **environment: str) -> Example:
        """Play the world, build what is left over, compare everything.

        Raises:
            AssertionError: rows of the world have not landed, or more have than it holds.
        """
        player = self.player(f"world-{shape.seed}", **environment)
        rows = Maker(shape).rows
        steps = steps_of(shape, rows, deliveries)
        with tables_without_tests():
            for step in steps:
                player.play(step)
            player.build()
        self.keep_parse(player)
        landed = player.raw()
        for source, made in rows.items():
            assert len(landed[source]) == len(made) > 0 or not made, (source, len(made), len(landed[source]))
        found, cells = differences(player, reference_of(player))
        shutil.rmtree(player.settings.home, ignore_errors=True)
        return Example(shape, tuple(step.then for step in steps), player.builds, cells, tuple(found))
