"""Who may look at a loop's pages, who may answer there, and whether a form came from them."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.configuration import conf
from airflow.models.dag import DagModel

#: Whoever may look at these DAGs of a loop may look at its pages; answering is a change of the last.
LOOKED_AT = ("monitor_model", "run_rollout")
COOKIE = "ratchet_csrf"


class Forged(PermissionError):
    """A form that did not come from our own page; nothing was done."""


@dataclass(frozen=True)
class Reader:
    """Who looks: the names that Airflow knows them by."""

    user: BaseUser

    @property
    def names(self) -> tuple[str, ...]:
        """Id and name, each once; an approver's is one that the loop file has."""
        return tuple(dict.fromkeys((str(self.user.get_id()), str(self.user.get_name()))))

    def signing_names(self, authenticated: bool) -> tuple[str, ...]:
        """The names that count: a display name can be chosen, so where people have to be authenticated only the id."""
        return self.names[:1] if authenticated else self.names

    def may_look(self, loop: str) -> bool:
        """Whether Airflow lets them see the loop's DAGs."""
        return all(_authorized(self.user, "GET", f"{loop}__{stage}") for stage in LOOKED_AT)

    def may_answer(self, loop: str) -> bool:
        """Whether Airflow lets them answer what the loop's rollout asks, whoever they are."""
        return _authorized(self.user, "PUT", f"{loop}__run_rollout", DagAccessEntity.HITL_DETAIL)


def _authorized(user: BaseUser, method: Any, dag_id: str, entity: DagAccessEntity | None = None) -> bool:
    team = DagModel.get_team_name(dag_id) if conf.getboolean("core", "multi_team", fallback=False) else None
    details = DagDetails(id=dag_id, team_name=team)
    return bool(
        get_auth_manager().is_authorized_dag(method=method, access_entity=entity, details=details, user=user)
    )


def fresh_nonce() -> str:
    """What the cookie of a form holds."""
    return secrets.token_urlsafe(32)


def form_token(nonce: str, reader: Reader, loop: str) -> str:
    """What a form of `reader` carries beside the cookie: only this installation can make it."""
    key = conf.get_mandatory_value("api", "secret_key").encode()
    said = "\0".join((nonce, reader.names[0], loop))
    return hmac.new(key, said.encode(), hashlib.sha256).hexdigest()


def check_form(
    headers: Mapping[str, str], cookies: Mapping[str, str], token: str, reader: Reader, loop: str
) -> None:
    """Refuse what another site sent in the reader's name.

    Raises:
        Forged: the request names another origin, or none, or cookie and form do not belong together.
    """
    origin = headers.get("origin") or headers.get("referer") or ""
    own = {headers.get("host", ""), urlsplit(conf.get("api", "base_url", fallback="")).netloc} - {""}
    if urlsplit(origin).netloc not in own or headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise Forged("the form was sent from another site: open it here, and answer again")
    nonce = cookies.get(COOKIE, "")
    if not nonce or not hmac.compare_digest(form_token(nonce, reader, loop).encode(), token.encode()):
        raise Forged("the form is of another session or too old: open it anew, and answer again")
