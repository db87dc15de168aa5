"""Letting a cohort go from the page: who may, and what Airflow's login vouches for."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fastapi import HTTPException

from ratchet.airflow.page_access import Reader
from ratchet.pages.source import Source
from ratchet.stages.accounts import approvers
from ratchet.stages.admitting import NotExcluded, release

_log = logging.getLogger("ratchet.pages")


def released(source: Source, reader: Reader, fields: Mapping[str, str]) -> None:
    """Release the cohort that a checked form names, in the name of its reader.

    Raises:
        HTTPException: no reason was given, the reader is not one whom the loop file names, or the cohort is not
            excluded from what they saw; nothing was done.
    """
    reason, people = fields.get("reason", "").strip(), approvers(source.loop)
    if not reason:
        raise HTTPException(400, "Nothing was done: say why, for those who read the ledger.")
    names = reader.signing_names(source.loop.approvals.authenticated)
    by = next((name for name in names if name in people), None)
    if by is None:
        raise HTTPException(
            403, f"Nothing was done: {names[0]!r} may not; the loop file names {', '.join(people)}."
        )
    try:
        seen = [int(version) for version in fields.get("instead_of", "").split(",")]
    except ValueError:
        raise HTTPException(400, "Nothing was done: the form does not say what you saw.") from None
    try:
        release(
            source.settings, source.loop, fields["cohort"], reason=reason, actor=f"airflow:{reader.names[0]}", by=by,
            identity="airflow", seen=seen, log=_log.info,
        )  # fmt: skip
    except NotExcluded as error:
        raise HTTPException(409, f"Nothing was done: {error}.") from None
