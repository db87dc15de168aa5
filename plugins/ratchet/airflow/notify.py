"""Notices through Airflow's notifiers: mail, Slack, or a webhook. Servers and secrets are Airflow's connections."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from ratchet.loop_alerts import NotifyChannel

_log = logging.getLogger("ratchet.notify")
SECONDS = 20  # a server that takes longer has not taken it


class NotTaken(RuntimeError):
    """The receiver answered with an error; the message has its status only."""


def deliver(channel: NotifyChannel, notice: Mapping[str, Any]) -> None:
    """Send one notice through one channel.

    Raises:
        Exception: whatever the provider raises when the server did not take it.
    """
    senders: dict[str, Callable[[NotifyChannel, Mapping[str, Any]], None]] = {
        "smtp": _mail,
        "slack_webhook": _slack,
        "webhook": _webhook,
    }
    senders[channel.kind](channel, notice)


def _mail(channel: NotifyChannel, notice: Mapping[str, Any]) -> None:
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    # Not rendered: texts of records are data, never templates.
    SmtpNotifier(
        to=list(dict.fromkeys([*channel.to, *notice["also"]])),
        subject=_one_line(notice["subject"]),
        html_content=f"<pre>{html.escape(notice['text'])}</pre>",
        custom_headers={"Message-ID": notice["message_id"]},
        smtp_conn_id=channel.connection,
    ).notify({})


def _slack(channel: NotifyChannel, notice: Mapping[str, Any]) -> None:
    from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier

    # Slack reads these three as its own marks.
    text = notice["text"].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    SlackWebhookNotifier(
        slack_webhook_conn_id=channel.connection,
        text=f"*{_one_line(notice['subject'])}*\n{text}",
        timeout=SECONDS,
        unfurl_links=False,
    ).notify({})


def _webhook(channel: NotifyChannel, notice: Mapping[str, Any]) -> None:
    names = ("incident", "what", "severity", "subject", "text", "message_id")
    post(channel.connection, {name: notice[name] for name in names})


def post(connection: str, body: Mapping[str, Any]) -> None:
    """Send `body`, whose message_id is the same for the same message, to the webhook of an Airflow connection.

    Raises:
        NotTaken: it answered with an error.
    """
    import httpx
    from airflow.sdk import Connection

    asked = Connection.get(connection)
    host = asked.host or ""
    base = host if "://" in host else f"{asked.schema or 'https'}://{host}"
    if asked.port:
        base = f"{base}:{asked.port}"
    headers = {"Idempotency-Key": body["message_id"]}
    if asked.password:
        headers["Authorization"] = f"Bearer {asked.password}"
    answer = httpx.post(
        base + str(asked.extra_dejson.get("path", "/")), json=dict(body), headers=headers, timeout=SECONDS
    )
    if not answer.is_success:
        raise NotTaken(f"the webhook answered {answer.status_code}")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def tell_of_failure(loop_name: str) -> Callable[[Any], None]:
    """A task's failure callback: on-call is told through the loop's channels."""

    def failed(context: Any) -> None:
        from ratchet.airflow.loops import loop_named
        from ratchet.settings import load_settings
        from ratchet.stages.notices import NotTold, failed_task, send

        loop, task, run = loop_named(loop_name), context["ti"], context["dag_run"]
        error = context.get("exception")
        # The first line only: a message may be long, and what it quotes is not for everyone.
        told = (
            f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
            if error and str(error)
            else "no message"
        )
        began = run.run_after or run.logical_date
        as_of = datetime.fromisoformat(began.isoformat()).replace(tzinfo=None, microsecond=0)
        settings = load_settings()
        failed_task(
            settings, loop, dag=task.dag_id, run=run.run_id, task=task.task_id, error=told, as_of=as_of
        )
        try:
            send(settings, loop, deliver, _log.info)
        except NotTold as problem:
            _log.warning("%s", problem)

    return failed
