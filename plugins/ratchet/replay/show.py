"""Run the replay in a terminal: progress while it runs, the summary after it, the exit status."""

from __future__ import annotations

from datetime import date

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ratchet.ledger.state import fold
from ratchet.ledger.store import Ledger
from ratchet.loop import Loop
from ratchet.replay.airflow_api import AirflowApi, AirflowError
from ratchet.replay.direct import DirectApi
from ratchet.replay.driver import Replay, ReplayStopped
from ratchet.replay.services import ServiceFailed, free_port, running_airflow
from ratchet.replay.summary import PLANTED, outcome_of, show
from ratchet.settings import Settings
from ratchet.stages.serving import stage_of

#: The replay needs a history to train on, and a full last week.
EARLIEST = date(2013, 3, 12)


class Bar:
    """A progress bar whose text says week, stage, champion and challenger; plain lines when not in a terminal."""

    def __init__(self, settings: Settings, loop: Loop, weeks: int, console: Console) -> None:
        self._settings, self._loop, self._weeks, self._console = settings, loop, weeks, console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("starting", total=weeks + 1)
        self._week = -1

    def __enter__(self) -> Bar:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _serving(self) -> str:
        entries = Ledger(self._settings.ledger_url).entries(self._loop.loop)
        state = fold(entries)
        if state.champion_version is None:
            return "no champion yet"
        text = f"champion v{state.champion_version}"
        if state.rollout is not None:
            stage = stage_of(entries, state.rollout)
            text += f", challenger v{state.rollout.challenger_version} in {stage.name} ({stage.share:.0%})"
        return text

    def stage(self, week: int, text: str, runs: int) -> None:
        """A stage began."""
        if not self._console.is_terminal:
            if week != self._week:
                self._console.print(f"week {week} of {self._weeks}: {text} [{self._serving()}]", markup=False)
            self._week = week
            return
        self._progress.update(
            self._task,
            completed=week,
            description=f"week {week}/{self._weeks}  {text}  [{self._serving()}]  {runs} DAG runs",
        )

    def note(self, text: str) -> None:
        """Files written: too much for a terminal that shows a bar."""


def run_replay(
    settings: Settings,
    loop: Loop,
    start: date,
    weeks: int,
    seed: int,
    *,
    smoke: bool,
    direct: bool,
    console: Console,
) -> int:
    """Replay and tell; the exit status: 0 when the loop closed (or, in a smoke run, every stage ran)."""
    last = loop.data_span.end
    if start < EARLIEST or (last is not None and (last - start).days < 7 * weeks):
        console.print(
            f"START={start} with {weeks} weeks does not fit: replay from {EARLIEST} on, ending by {last}",
            style="bold red",
        )
        return 2
    try:
        with Bar(settings, loop, weeks, console) as bar:
            if direct:
                Replay(settings, loop, start, seed, DirectApi(settings, loop), bar).run(weeks)
            else:
                with running_airflow(settings, free_port(8080)) as url:
                    api = AirflowApi(url)
                    api.wait_for_dags({f"{loop.loop}__{stage}" for stage in STAGES})
                    Replay(settings, loop, start, seed, api, bar).run(weeks)
    except (ReplayStopped, ServiceFailed, AirflowError) as error:
        console.print(str(error), style="bold red", markup=False)
        return 1
    _build_docs(settings)
    outcome = outcome_of(settings, loop, weeks)
    show(console, settings, loop, outcome)
    if outcome.is_closed:
        console.print(f"loop closed: {outcome.promoted} challenger(s) promoted, all planted models refused")
        return 0
    console.print(
        f"loop not closed: {outcome.promoted} challenger(s) promoted, "
        f"{outcome.drill_refused} of {len(PLANTED)} planted models refused"
    )
    return 0 if smoke and not outcome.problems and outcome.drill_refused == len(PLANTED) else 1


STAGES = (
    "ingest_events",
    "build_warehouse",
    "monitor_model",
    "train_model",
    "score_batch",
    "run_rollout",
    "drill_gates",
)


def _build_docs(settings: Settings) -> None:
    from ratchet.quality.docs import build_data_docs

    build_data_docs(settings)
