"""How a notice reaches each kind of target: a line of the log, e-mail, a signed webhook, a chat.

Each carries the key of the notice, by which a receiver knows what it has already: `Message-ID` of an e-mail,
`webhook-id` (and `Idempotency-Key`) of a webhook. Webhooks are signed as the Standard Webhooks specification says:
HMAC-SHA256 over `id.timestamp.body`. What a receiver answers is never shown, only its status.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import smtplib
import socket
from collections.abc import Mapping
from email.message import EmailMessage

import msgspec

from perennial.clock import Clock
from perennial.config import Settings
from perennial.errors import ConfigError, Invalid, Unavailable
from perennial.monitor.incidents.delivery import Send
from perennial.monitor.incidents.notices import Target
from perennial.monitor.incidents.outbox import Notice
from perennial.monitor.incidents.outgoing import CONNECT_S, Allowed, connect, context_of, deadline, post

__all__ = ["by_email", "by_slack", "by_webhook", "senders_of", "signature", "to_log"]

_log = logging.getLogger("perennial.notices")
SLACK_TEXT = 3000  # characters


def senders_of(settings: Settings, clock: Clock) -> Mapping[Target, Send]:
    """The targets that are turned on.

    Raises:
        ConfigError: A setting makes no sense.
    """
    allowed = Allowed.of(settings.outbound_allow)
    found: dict[Target, Send] = {"log": to_log}
    if settings.notify_email:
        found["email"] = lambda notice: by_email(notice, settings, allowed)
    if settings.webhook_url:
        found["webhook"] = lambda notice: by_webhook(notice, settings, allowed, now_s=clock.now() // 1_000_000)
    if settings.slack_webhook_url:
        found["slack"] = lambda notice: by_slack(notice, settings, allowed)
    return found


def to_log(notice: Notice) -> None:
    """One line; control characters and line breaks are escaped."""
    says = f"{notice.message.subject}: {notice.message.data['incident']['says']}"
    _log.warning("%s (notice %s)", says.encode("unicode_escape").decode(), notice.key)


def by_webhook(notice: Notice, settings: Settings, allowed: Allowed, *, now_s: int) -> None:
    """POST the notice as JSON.

    Raises:
        Unavailable: The answer is not 2xx, or there is none.
        Forbidden, Invalid, ConfigError: See `outgoing.post`, `signature`.
    """
    body = msgspec.json.encode({"id": notice.key} | notice.message.data)  # the same at every attempt
    headers = {
        "content-type": "application/json",
        "user-agent": "perennial",
        "idempotency-key": notice.key,
        "webhook-id": notice.key,
        "webhook-timestamp": str(now_s),
        "webhook-signature": signature(settings.webhook_secret, notice.key, now_s, body),
    }
    _post(settings.webhook_url, body, headers, settings, allowed)


def by_slack(notice: Notice, settings: Settings, allowed: Allowed) -> None:
    """POST the text to an incoming webhook of Slack, or of a chat that takes the same.

    Raises:
        Unavailable, Forbidden, Invalid: See `by_webhook`.
    """
    told = f"*{_plain(notice.message.subject)}*\n{_plain(notice.message.text)}"
    body = msgspec.json.encode({"text": told[:SLACK_TEXT]})
    headers = {"content-type": "application/json", "user-agent": "perennial", "idempotency-key": notice.key}
    _post(settings.slack_webhook_url, body, headers, settings, allowed)


def by_email(notice: Notice, settings: Settings, allowed: Allowed) -> None:
    """Hand the notice to the mail server of the settings.

    Raises:
        Unavailable: The server did not take it for anybody.
        Invalid: It would go over the network in the clear.
        Forbidden, ConfigError: See `outgoing`.
    """
    host, port, security = settings.smtp_host, settings.smtp_port, settings.smtp_security
    if security == "none" and not allowed.names_host(host):
        raise Invalid(
            "mail would go over the network in the clear",
            where="setting smtp_security",
            remedy=f"starttls or tls, or name {host} in the setting outbound_allow",
        )
    context = context_of(settings.outbound_ca)
    try:
        with connect(host, port, allowed) as plain, deadline(plain):
            ready = context.wrap_socket(plain, server_hostname=host) if security == "tls" else plain
            with ready, _Mail(ready, host, port) as mail:
                if security == "starttls":
                    mail.starttls(context=context)
                if settings.smtp_user:
                    mail.login(settings.smtp_user, settings.smtp_password)
                refused = mail.send_message(_mail(notice, settings))
    except smtplib.SMTPResponseException as error:  # with what the server said, which is not ours to show
        raise Unavailable(f"the mail server answered {error.smtp_code}") from error
    except (smtplib.SMTPException, OSError) as error:
        raise Unavailable(f"the mail server did not take it: {type(error).__name__}") from error
    if refused:
        _log.warning("notice %s: the mail server refused %d of its receivers", notice.key, len(refused))


def signature(secret: str, key: str, timestamp: int, body: bytes) -> str:
    """The value of the header `webhook-signature`: "v1," and the base64 of HMAC-SHA256 over `id.timestamp.body`.

    A secret that begins with whsec_ is base64 of the bytes, as the specification writes it; any other is its text.

    Raises:
        ConfigError: It begins with whsec_ and is no base64.
    """
    try:
        plain = base64.b64decode(secret[6:], validate=True) if secret.startswith("whsec_") else secret.encode()
    except binascii.Error as error:
        raise ConfigError("what follows whsec_ is no base64", where="PERENNIAL_WEBHOOK_SECRET") from error
    signed = hmac.digest(plain, f"{key}.{timestamp}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(signed).decode()}"


class _Mail(smtplib.SMTP):
    """Speaks over a connection that was opened, and looked at, before."""

    def __init__(self, ready: socket.socket, host: str, port: int) -> None:
        self._ready = ready
        super().__init__(host, port, local_hostname="localhost", timeout=CONNECT_S)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._ready


def _mail(notice: Notice, settings: Settings) -> EmailMessage:
    domain = settings.smtp_from.rpartition("@")[2].rstrip("> ") or "localhost"
    mail = EmailMessage()
    mail["Message-ID"] = f"<{notice.key}@{domain}>"
    mail["Subject"] = " ".join(notice.message.subject.split())  # a header is one line
    mail["From"] = settings.smtp_from
    mail["To"] = settings.notify_email
    mail["Auto-Submitted"] = "auto-generated"  # so that nobody's holiday answers
    mail["X-Perennial-Notice"] = notice.key
    mail.set_content(notice.message.text)
    return mail


def _post(url: str, body: bytes, headers: Mapping[str, str], settings: Settings, allowed: Allowed) -> None:
    status = post(url, body, headers, allowed=allowed, context=context_of(settings.outbound_ca))
    if not 200 <= status < 300:
        more = ", and redirects are not followed" if 300 <= status < 400 else ""
        raise Unavailable(f"the receiver answered {status}{more}")


def _plain(text: str) -> str:
    """Characters that have a meaning there stand for themselves."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
