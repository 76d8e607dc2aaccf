"""The outbox: at least once under one key, with growing pauses, given up in sight; killed anywhere it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from perennial.config import Settings
from perennial.errors import Conflict, NotFound, Unavailable
from perennial.monitor.incidents.delivery import Courier, pause_s
from perennial.monitor.incidents.notices import Target
from perennial.monitor.incidents.outbox import MAX_ATTEMPTS, Notice
from perennial.monitor.incidents.senders import senders_of
from perennial.store import failpoints
from perennial.testing.crash import Acknowledge, run_in_child
from perennial.types import Micros
from tests.monitor.alarms import DAY, NOON, House, house, shift
from tests.monitor.receivers import web_server

MAIL = Settings(notify_email="a@example.org", smtp_host="mail.example.org", smtp_from="b@example.org")


class Receiver:
    """Takes notices, or not."""

    def __init__(self, is_up: bool = True) -> None:
        self.is_up = is_up
        self.tried: list[str] = []
        self.taken: list[Notice] = []

    def __call__(self, notice: Notice) -> None:
        self.tried.append(notice.key)
        if not self.is_up:
            raise Unavailable("the receiver answered 503")
        self.taken.append(notice)


class Watch:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def at(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path) as one:
        yield one


def courier(at: House, receiver: Receiver, watch: Watch, *targets: Target) -> Courier:
    senders = dict.fromkeys(targets or ("log",), receiver)
    return Courier(at.notices, senders, monotonic=watch, draw=lambda: 0.5)


def test_what_waits_is_sent_once_in_the_order_in_which_it_was_written(at: House) -> None:
    at.find(shift(0), shift(1, severity="critical"))
    receiver, watch = Receiver(), Watch()
    one = courier(at, receiver, watch)
    assert (one.go(), one.go()) == (2, 0)
    assert [notice.severity for notice in receiver.taken] == ["warn", "critical"]
    assert len({notice.key for notice in receiver.taken}) == 2
    assert [(notice.state, notice.attempts) for notice in at.notices.list()] == [("sent", 1), ("sent", 1)]
    assert receiver.taken[0].message.subject == "[warn] wages: incident 1, inputs"
    assert receiver.taken[1].message.subject == "[critical] wages: incident 1 is now, inputs"


def test_each_target_has_a_notice_of_its_own_and_one_that_is_down_keeps_no_other_waiting(tmp_path: Path) -> None:
    with house(tmp_path, settings=MAIL) as at:
        at.find(shift(0))
        log, mail = Receiver(), Receiver(is_up=False)
        one = Courier(at.notices, {"email": mail, "log": log}, monotonic=Watch())
        assert one.go() == 1
        assert {notice.target: notice.state for notice in at.notices.list()} == {"log": "sent", "email": "waiting"}


def test_F38_a_receiver_that_is_down_is_asked_again_after_growing_pauses_and_then_given_up(at: House) -> None:
    at.find(shift(0))
    receiver, watch = Receiver(is_up=False), Watch()
    one = courier(at, receiver, watch)
    began, moments = watch.now, list[float]()
    while at.notices.list()[0].state == "waiting":
        before = len(receiver.tried)
        one.go()
        if len(receiver.tried) > before:
            moments.append(watch.now)
        watch.now += 5.0
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert len(receiver.tried) == MAX_ATTEMPTS
    assert set(receiver.tried) == {at.notices.list()[0].key}
    for attempt, pause in enumerate(pauses, 1):
        assert pause_s(attempt) <= pause <= pause_s(attempt) + 10.0
    assert 7 * 3600 < watch.now - began < 9 * 3600
    (notice,) = at.notices.list(state="given up")
    assert (notice.attempts, notice.error) == (MAX_ATTEMPTS, "the receiver answered 503")
    assert at.notices.list(unsettled=True) == [notice]
    (event,) = at.events("notice.given_up")
    assert (event.subject, event.payload["target"], event.payload["attempts"]) == ("incident/1", "log", MAX_ATTEMPTS)
    receiver.is_up = True
    assert one.go() == 0
    at.notices.retry(key=notice.key)
    assert one.go() == 1
    at.incidents.close(number=1, comment="mended")
    assert at.notices.list(unsettled=True) == []
    with pytest.raises(Conflict, match="it is sent"):
        at.notices.retry(key=notice.key)
    with pytest.raises(NotFound, match="no notice 'none'"):
        at.notices.retry(key="none")


def test_F13_pauses_are_counted_by_a_clock_that_nobody_sets(at: House) -> None:
    at.find(shift(0))
    receiver, watch = Receiver(is_up=False), Watch()
    one = courier(at, receiver, watch)
    one.go()
    at.clock.set(Micros(NOON + 30 * DAY))
    one.go()  # begins the pause
    at.clock.set(Micros(NOON - 30 * DAY))
    one.go()
    assert len(receiver.tried) == 1
    watch.now += pause_s(1)
    one.go()
    assert len(receiver.tried) == 2


def test_a_sender_that_starts_again_waits_before_it_tries_what_had_failed(at: House) -> None:
    at.find(shift(0))
    receiver, watch = Receiver(is_up=False), Watch()
    courier(at, receiver, watch).go()
    for _ in range(5):
        courier(at, receiver, watch).go()
    assert len(receiver.tried) == 1


def test_F14_a_failure_that_is_told_twice_counts_once(at: House) -> None:
    at.find(shift(0))
    key = at.notices.list()[0].key
    for _ in range(3):
        assert at.notices.failed(key=key, attempt=1, error="x" * 1000).attempts == 1
    assert len(at.notices.list()[0].error) == 500
    assert at.notices.delivered(key=key).attempts == 2
    assert at.notices.delivered(key=key).attempts == 2
    assert at.notices.failed(key=key, attempt=3, error="late").state == "sent"


def test_a_target_that_was_turned_off_is_told_and_not_lost(tmp_path: Path) -> None:
    with house(tmp_path, settings=MAIL) as at:
        at.find(shift(0))
        Courier(at.notices, {"log": Receiver()}, monotonic=Watch()).go()
        (waits,) = at.notices.list(state="waiting")
        assert (waits.target, waits.attempts) == ("email", 1)
        assert "nothing says where to send email notices" in waits.error


def test_what_happens_in_simulated_time_is_told_to_the_log_alone(tmp_path: Path) -> None:
    with house(tmp_path, settings=MAIL, simulated=True) as at:
        at.find(shift(0))
        assert [notice.target for notice in at.notices.list()] == ["log"]


@pytest.mark.parametrize("least, told", [("warn", ["warn", "critical"]), ("critical", ["critical"])])
def test_what_is_below_the_severity_of_the_settings_is_told_to_nobody(
    tmp_path: Path, least: str, told: list[str]
) -> None:
    with house(tmp_path, settings=Settings(notify_severity=least)) as at:
        at.find(shift(0))
        at.find(shift(1, severity="critical"))
        assert [severity for _, severity in at.told()] == told


@pytest.mark.parametrize(
    "armed, sent_before, commits",
    [
        ("notices.sent=kill@1", 1, 0),
        ("notices.sent=kill@2", 2, 1),
        ("records.committing=kill@1", 1, 0),
        ("records.committed=kill@1", 1, 1),
    ],
)
def test_F01_F38_a_sender_that_is_killed_leaves_nothing_out_and_repeats_under_the_same_key(
    tmp_path: Path, armed: str, sent_before: int, commits: int
) -> None:
    """At least once: what was sent and not written down comes again, and the receiver knows its key."""
    with web_server() as hook:
        settings = Settings(
            webhook_url=f"http://127.0.0.1:{hook.port}/", webhook_secret="s", outbound_allow="127.0.0.1"
        )
        with house(tmp_path, settings=settings) as at:
            at.find(shift(0), shift(1, severity="critical"))
            keys = [notice.key for notice in at.notices.list() if notice.target == "webhook"]

        def send(_: Acknowledge) -> None:
            with house(tmp_path, settings=settings) as at:
                senders = {"webhook": senders_of(settings, at.clock)["webhook"]}
                for notice in at.notices.list():
                    if notice.target == "log" and notice.state == "waiting":
                        at.notices.delivered(key=notice.key)  # not what this is about
                failpoints.arm(armed)  # only now: what came before is not to be killed
                Courier(at.notices, senders).go()

        assert run_in_child(send, "").was_killed
        assert [post[1]["webhook-id"] for post in hook.posts] == keys[:sent_before]
        with house(tmp_path, settings=settings) as at:
            assert sum(notice.state == "sent" for notice in at.notices.list() if notice.target == "webhook") == commits
            Courier(at.notices, senders_of(settings, at.clock)).go()
            assert {notice.state for notice in at.notices.list()} == {"sent"}
        received = [post[1]["webhook-id"] for post in hook.posts]
        assert list(dict.fromkeys(received)) == keys
        assert received == keys[:sent_before] + keys[commits:]
        assert len({(headers["webhook-id"], body) for _, headers, body in hook.posts}) == 2  # with the same words
