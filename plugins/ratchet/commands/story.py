"""`ratchet story`: one complaint from the first answer to the last receipt, told from what the loop recorded."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ratchet.commands.terminal import console, loop_named
from ratchet.settings import Settings, load_settings, process_environment


class _Shown:
    """The stage that is under way, in a line that goes when it is over."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._task = progress, progress.add_task("")

    def stage(self, week: int, text: str, runs: int) -> None:
        self._progress.update(self._task, description=f"week {week}: {text}")

    def note(self, text: str) -> None:
        return None


def story(
    keep: Annotated[
        Path | None, typer.Option(help="An empty folder for the state, which stays. Else a temporary one.")
    ] = None,
) -> None:
    """A route is wrongly called on time; travellers complain; the loop answers. Real flights, simulated travellers.

    Status 1 when a part of it did not happen.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = keep or Path(folder)
        home.mkdir(parents=True, exist_ok=True)
        if any(home.iterdir()):
            raise typer.BadParameter(f"{home} is not empty: the story begins before its first day")
        lacking = tell(home)
    if lacking:
        console.print("The story did not come to its end: " + "; ".join(lacking), style="red")
        raise typer.Exit(1)


def tell(home: Path) -> list[str]:
    """Play the story in `home` and print it; what of it did not happen."""
    from ratchet.replay.setup import prepare
    from ratchet.replay.story import Story, missing, told
    from ratchet.replay.story_world import story_loop
    from ratchet.stages.forget import forget

    settings = _settings(home)
    loop = story_loop(loop_named(settings, "flights"))
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        shown = _Shown(progress)
        prepare(settings, lambda text: shown.stage(0, text, 0), with_airflow=False)
        played = Story(settings, loop, shown)
        played.run()
    for line in told(played):
        _say(line)
    lacking = list(missing(played))
    person, answer = played.complainer()
    _say(f"One of those who complained of it: {person}, answer {answer}")
    for body in played.receipts(person)["body"]:
        _say(str(body))
    _say("They ask to be forgotten:")
    with Progress(*columns, console=console, transient=True) as progress:
        shown = _Shown(progress)
        (done,) = forget(settings, loop, [person], lambda text: shown.stage(0, text, 0))
    _say(json.dumps({name: done[name] for name in ("removed", "files", "models")}, default=str))
    return lacking


def _settings(home: Path) -> Settings:
    """The embedded default in `home`, whatever the environment says: the story is no part of anybody's state."""
    given = {name: value for name, value in process_environment().items() if name == "RATCHET_ROOT"}
    return load_settings({**given, "RATCHET_HOME": str(home)})


def _say(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
