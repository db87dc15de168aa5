"""What may be open or running in a loop: a request, a rollout, a holdback, cohorts that an older version keeps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from ratchet.experiment.admission import Admission
from ratchet.experiment.state import RolloutState


@dataclass(frozen=True)
class Request:
    """An open retrain request."""

    key: str
    tier: str
    reason: str
    as_of: datetime


@dataclass(frozen=True, kw_only=True)
class Running:
    """An experiment in front of users, as its entries left it. `trial` is what the next look is judged with."""

    started_as_of: datetime
    trial: RolloutState
    last_day: date | None = None
    undone: str | None = None
    """Key of a decision that is not carried out yet; nothing further is judged before it is."""

    @property
    def experiment_id(self) -> str:
        return self.trial.experiment_id


@dataclass(frozen=True, kw_only=True)
class Rollout(Running):
    """A challenger on its way to all users."""

    champion_version: int
    challenger_version: int


@dataclass(frozen=True, kw_only=True)
class Holdback(Running):
    """The share that the previous champion keeps after a promotion, beside an equally large arm of the new one.

    The experiment's roles: the previous champion is its champion (arm control), the promoted version its challenger.
    """

    previous_version: int
    promoted_version: int
    share: float
    days: int

    @property
    def champion_version(self) -> int:
        return self.previous_version

    @property
    def challenger_version(self) -> int:
        return self.promoted_version


@dataclass(frozen=True)
class Kept:
    """Cohorts that stayed on `version` when `promoted` became champion: all that `admission` does not admit."""

    version: int
    promoted: int
    admission: Admission
