"""Notices as they arrive: at a mail server, a web server and a chat, each with the key by which it is known."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from dataclasses import replace

import msgspec
import pytest

from perennial.clock import FixedClock
from perennial.config import Settings
from perennial.errors import ConfigError, Forbidden, Invalid, Unavailable
from perennial.monitor.incidents.notices import Message, Target
from perennial.monitor.incidents.outbox import Notice
from perennial.monitor.incidents.senders import senders_of, signature
from perennial.types import Micros
from tests.monitor.receivers import Papers, mail_server, papers, web_server

NOW_S = 1_700_000_000
DATA = {
    "type": "incident.opened",
    "incident": {"number": 7, "endpoint": "wages", "severity": "critical", "says": "too low\nby <3>"},
}
SUBJECT = "[critical] wages: incident 7, performance\r\nBcc: x@y.z"
NOTICE = Notice(
    number=1, key="k1", incident=7, severity="critical", target="log", state="waiting", attempts=0, created=0,
    settled=None, error="",
    message=Message(subject=SUBJECT, text="too low ü\n.\nend\n", data=DATA),
)  # fmt: skip


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return papers(tmp_path_factory.mktemp("papers"))


def send(target: Target, settings: Settings, notice: Notice = NOTICE) -> None:
    senders_of(settings, FixedClock(Micros(NOW_S * 1_000_000)))[target](notice)


def mail_settings(own: Papers, port: int) -> Settings:
    return Settings(
        notify_email="Ada <ada@example.org>, bob@example.org",
        smtp_host="localhost",
        smtp_port=port,
        smtp_user="perennial",
        smtp_password="very secret",
        smtp_from="Perennial <alarms@example.org>",
        outbound_allow="localhost",
        outbound_ca=str(own.authority),
    )


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_an_email_arrives_protected_whole_and_with_its_key(own: Papers, security: str) -> None:
    with mail_server(own.context(), at_once=security == "tls") as box:
        send("email", replace(mail_settings(own, box.port), smtp_security=security))
    (mail,) = box.mails
    assert mail["Message-ID"] == "<k1@example.org>"
    assert mail["X-Perennial-Notice"] == "k1"
    assert mail["Subject"] == "[critical] wages: incident 7, performance Bcc: x@y.z"
    assert mail["Bcc"] is None
    assert mail.get_content().splitlines() == ["too low ü", ".", "end"]
    ((sender, receivers, is_safe),) = box.envelopes
    assert "<alarms@example.org>" in sender
    assert [receiver.removeprefix("TO:") for receiver in receivers] == ["<ada@example.org>", "<bob@example.org>"]
    assert is_safe
    assert box.logins == [("perennial", "very secret")]


def test_the_same_notice_has_the_same_key_at_every_attempt(own: Papers) -> None:
    with mail_server(own.context()) as box:
        for attempts in (0, 1):
            send("email", mail_settings(own, box.port), msgspec.structs.replace(NOTICE, attempts=attempts))
    assert {mail["Message-ID"] for mail in box.mails} == {"<k1@example.org>"}


@pytest.mark.parametrize("command", ["EHLO", "MAIL", "RCPT", "DATA"])
def test_C12_what_a_mail_server_says_is_not_shown(own: Papers, command: str) -> None:
    with mail_server(own.context()) as box:
        box.refuse[command] = 550
        with pytest.raises(Unavailable) as refused:
            send("email", mail_settings(own, box.port))
    assert "inside" not in str(refused.value)
    assert "very secret" not in str(refused.value)
    assert box.mails == []


def test_C12_mail_does_not_leave_in_the_clear(own: Papers) -> None:
    with mail_server() as box:
        with pytest.raises(Unavailable):  # the server offers no TLS
            send("email", mail_settings(own, box.port))
        plain = replace(mail_settings(own, box.port), smtp_security="none", smtp_user="", smtp_password="")
        with pytest.raises(Invalid, match="in the clear"):
            send("email", replace(plain, outbound_allow="127.0.0.1"))
        assert box.mails == []
        send("email", plain)
        assert len(box.mails) == 1


def test_C12_a_mail_server_inside_needs_an_entry(own: Papers) -> None:
    with mail_server(own.context()) as box, pytest.raises(Forbidden, match="not an address of the public Internet"):
        send("email", replace(mail_settings(own, box.port), outbound_allow=""))


def hook_settings(own: Papers, port: int) -> Settings:
    url = f"https://localhost:{port}/hook?of=wages"
    return Settings(
        webhook_url=url,
        webhook_secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        slack_webhook_url=url,
        outbound_allow="localhost",
        outbound_ca=str(own.authority),
    )


def test_a_webhook_arrives_signed_over_https(own: Papers) -> None:
    with web_server(own.context()) as hook:
        send("webhook", hook_settings(own, hook.port))
    ((path, headers, body),) = hook.posts
    assert path == "/hook?of=wages"
    assert json.loads(body) == {"id": "k1", **DATA}
    assert (headers["webhook-id"], headers["idempotency-key"]) == ("k1", "k1")
    assert (headers["webhook-timestamp"], headers["content-type"]) == (str(NOW_S), "application/json")
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = hmac.new(secret, f"k1.{NOW_S}.".encode() + body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(signed).decode()}"


def test_a_signature_is_that_of_the_standard_webhooks_specification() -> None:
    """The example of the specification's reference libraries."""
    key, payload = "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}'
    made = signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", key, 1614265330, payload)
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    with pytest.raises(ConfigError, match="no base64"):
        signature("whsec_*", key, 1, payload)


def test_a_chat_gets_text_in_which_nothing_is_markup(own: Papers) -> None:
    with web_server(own.context()) as hook:
        angled = Message(subject="<!channel> & more", text="a < b", data=DATA)
        send("slack", hook_settings(own, hook.port), msgspec.structs.replace(NOTICE, message=angled))
    ((_, headers, body),) = hook.posts
    assert json.loads(body) == {"text": "*&lt;!channel&gt; &amp; more*\na &lt; b"}
    assert headers["idempotency-key"] == "k1"


@pytest.mark.parametrize("target", ["webhook", "slack"])
@pytest.mark.parametrize("status", [301, 400, 404, 429, 500, 503])
def test_C12_an_answer_that_is_no_success_is_told_by_its_number_alone(own: Papers, target: Target, status: int) -> None:
    with web_server(own.context()) as hook:
        hook.answers = [status]
        with pytest.raises(Unavailable, match=f"the receiver answered {status}") as refused:
            send(target, hook_settings(own, hook.port))
    assert "inside" not in str(refused.value)
    assert "hook" not in str(refused.value)  # the address may be a secret


def test_the_log_gets_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "perennial.notices"):
        send("log", Settings())
    (line,) = [record.getMessage() for record in caplog.records]
    assert "\n" not in line
    assert line.endswith("too low\\nby <3> (notice k1)")


def test_C12_P11_nothing_is_sent_anywhere_that_was_not_configured() -> None:
    assert set(senders_of(Settings(), FixedClock(Micros(0)))) == {"log"}


def test_nobody_there_is_told_as_such(own: Papers) -> None:
    with web_server(own.context()) as hook, mail_server(own.context()) as box:
        ports = hook.port, box.port
    for target, settings in (("webhook", hook_settings(own, ports[0])), ("email", mail_settings(own, ports[1]))):
        with pytest.raises(Unavailable, match="nobody answers at localhost"):
            send(target, settings)
