"""Receipts through Airflow's connections: a mailbox that knows the person by pseudonym, or a webhook of theirs."""

from __future__ import annotations

import html
from typing import Any

from ratchet.airflow.notify import post
from ratchet.loop_privacy import ReceiptChannel


def deliver(channel: ReceiptChannel, receipt: dict[str, Any]) -> None:
    """Send one receipt (person, subject, body, message_id).

    Raises:
        NotTaken: the webhook answered with an error; the message has its status only.
        Exception: whatever the mail provider raises when the server did not take it.
    """
    if channel.kind == "smtp":
        _mail(channel, receipt)
    else:
        _webhook(channel, receipt)


def _mail(channel: ReceiptChannel, receipt: dict[str, Any]) -> None:
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    # Not rendered again: the words are finished.
    SmtpNotifier(
        to=[channel.to.replace("{person}", receipt["person"])],
        subject=" ".join(str(receipt["subject"]).split()),
        html_content=f"<pre>{html.escape(html.unescape(receipt['body']))}</pre>",
        custom_headers={"Message-ID": receipt["message_id"]},
        smtp_conn_id=channel.connection,
    ).notify({})


def _webhook(channel: ReceiptChannel, receipt: dict[str, Any]) -> None:
    post(channel.connection, {name: receipt[name] for name in ("person", "subject", "body", "message_id")})
