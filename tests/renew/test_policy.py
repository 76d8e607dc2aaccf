"""Every reason to look gets an answer with its reason, and at most one of them is to train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.loop import retrain
from perennial.loop.declaration import RetrainPolicy, Trigger
from perennial.monitor.findings import Finding
from perennial.renew.policy import Harm, Proposal, Situation, propose
from perennial.renew.retraining import Decision

DAY = 86_400_000_000
NOW = 1000 * DAY
HARMED = Harm(is_harmed=True, says="it hurts: mean loss 0.4, 0.25 when tested", evidence={"mean_loss": 0.4})
UNHARMED = Harm(is_harmed=False, says="no harm seen: mean loss 0.24", evidence={"mean_loss": 0.24})


def policy(*triggers: Trigger, cool_down_days: float = 30) -> RetrainPolicy:
    return RetrainPolicy(triggers, "automatic", cool_down_days * 86_400.0)


ON_DROP = retrain.on_performance_drop()
ON_SHIFT = retrain.on_shift()


def finding(kind: str, key: str, version: int = 3, severity: str = "warn") -> Finding:
    return Finding(
        key=key,
        version=version,
        kind=kind,  # type: ignore[arg-type]
        severity=severity,  # type: ignore[arg-type]
        window_from=NOW - 9 * DAY,
        window_to=NOW - DAY,
        says=f"found {key}",
        evidence={"e_value": 2e5},
        endpoint="wages",
        at=NOW - DAY,
    )


def drop(number: int, version: int = 3) -> Finding:
    return finding("performance_drop", f"drop/{version}/bias/{number}", version, "critical")


def shift(window: int = 0, version: int = 3, kind: str = "covariate_shift", severity: str = "warn") -> Finding:
    return finding(kind, f"{kind.removeprefix('covariate_')}/{version}/{window}", version, severity)


def recorded(proposal: Proposal, at: int = NOW) -> Decision:
    values = {name: getattr(proposal, name) for name in ("key", "trigger", "verdict", "reason", "evidence")}
    return Decision(endpoint="wages", at=at, live=3, job="j" if proposal.verdict == "retrain" else None, **values)


def ask(rules: RetrainPolicy, findings: Sequence[Finding] = (), harm: Harm = HARMED, **changes: Any) -> list[Proposal]:
    known: dict[str, Any] = {
        "now": NOW,
        "live": 3,
        "live_since": NOW - 100 * DAY,
        "last_end": None,
        "busy": "",
        "decisions": [],
        "labels": 0,
    }
    return propose(rules, Situation(**{**known, **changes}, findings=findings, harm=lambda _: harm))


def test_a_drop_retrains_with_its_numbers() -> None:
    (answer,) = ask(policy(ON_DROP), [drop(1)])
    assert (answer.verdict, answer.trigger, answer.key) == ("retrain", "performance_drop", "drop/3/bias/1")
    assert (answer.reason, answer.evidence) == ("found drop/3/bias/1", {"e_value": 2e5})


@pytest.mark.parametrize("kind", ["covariate_shift", "prediction_shift"])
def test_a_shift_is_a_reason_to_look_and_trains_only_where_it_hurts(kind: str) -> None:
    (harmful,) = ask(policy(ON_SHIFT), [shift(kind=kind)], HARMED)
    assert (harmful.verdict, harmful.trigger) == ("retrain", "shift")
    assert harmful.reason.endswith("; it hurts: mean loss 0.4, 0.25 when tested")
    (harmless,) = ask(policy(ON_SHIFT), [shift(kind=kind)], UNHARMED)
    assert harmless.verdict == "no"
    assert harmless.reason.endswith("; no harm seen: mean loss 0.24")
    assert harmless.evidence == {"e_value": 2e5, "harm": {"mean_loss": 0.24}}


def test_a_window_without_a_shift_is_no_reason_to_look() -> None:
    def never(_: Finding) -> Harm:
        raise AssertionError("nothing shifted: there is nothing to look at")

    situation = Situation(
        now=NOW,
        live=3,
        live_since=0,
        last_end=None,
        busy="",
        findings=[shift(severity="info")],
        decisions=[],
        labels=0,
        harm=never,
    )
    assert propose(policy(ON_SHIFT), situation) == []


def test_only_declared_triggers_count() -> None:
    findings = [drop(1), shift()]
    assert ask(policy(), findings) == []
    assert ask(policy(retrain.never()), findings, labels=10**6) == []
    assert ask(policy(retrain.by_hand()), findings) == []
    assert [answer.trigger for answer in ask(policy(ON_SHIFT), findings)] == ["shift"]
    assert [answer.trigger for answer in ask(policy(ON_DROP), findings)] == ["performance_drop"]


def test_of_several_at_once_one_trains_and_the_others_say_so() -> None:
    answers = ask(policy(ON_DROP, ON_SHIFT, retrain.every("30d")), [drop(1), shift(), drop(2)])
    assert [(answer.verdict, answer.key) for answer in answers if answer.verdict == "retrain"] == [
        ("retrain", "drop/3/bias/1")
    ]
    others = [answer.reason for answer in answers if answer.verdict == "no"]
    assert all(reason.startswith("answered by the training decided at the same time: ") for reason in others)
    assert len({answer.key for answer in answers}) == 4


def test_a_finding_about_a_version_that_is_no_longer_live_is_answered_no() -> None:
    def never(_: Finding) -> Harm:
        raise AssertionError("the rows of an old version say nothing of the live one")

    answers = ask(policy(ON_DROP), [drop(1, version=2)])
    assert [(answer.verdict, answer.key) for answer in answers] == [("no", "drop/2/bias/1")]
    assert answers[0].reason == "version 2 is no longer live: found drop/2/bias/1"
    (old,) = propose(
        policy(ON_SHIFT),
        Situation(
            now=NOW,
            live=3,
            live_since=0,
            last_end=None,
            busy="the cool-down would not matter",
            findings=[shift(version=2)],
            decisions=[],
            labels=0,
            harm=never,
        ),
    )
    assert (old.verdict, old.key) == ("no", "shift/2/0")


def test_a_cool_down_postpones_once_and_then_trains() -> None:
    rules = policy(ON_DROP, cool_down_days=30)
    earlier = recorded(
        Proposal(key="drop/2/bias/1", trigger="performance_drop", verdict="retrain", reason="", evidence={})
    )
    (waits,) = ask(rules, [drop(1)], now=NOW + 10 * DAY, decisions=[earlier])
    assert (waits.verdict, waits.key) == ("no", "drop/3/bias/1/waits")
    assert waits.reason == "not now, the cool-down lasts until 1972-10-27T00:00:00Z: found drop/3/bias/1"
    told = [earlier, recorded(waits, NOW + 10 * DAY)]
    assert ask(rules, [drop(1)], now=NOW + 11 * DAY, decisions=told) == []
    assert ask(rules, [drop(1)], now=NOW + 30 * DAY - 1, decisions=told) == []
    (trains,) = ask(rules, [drop(1)], now=NOW + 30 * DAY, decisions=told)
    assert (trains.verdict, trains.key) == ("retrain", "drop/3/bias/1")


def test_the_end_of_a_rollout_starts_the_cool_down_too() -> None:
    (waits,) = ask(policy(ON_DROP), [drop(1)], last_end=NOW - 29 * DAY)
    assert "cool-down" in waits.reason
    (trains,) = ask(policy(ON_DROP), [drop(1)], last_end=NOW - 30 * DAY)
    assert trains.verdict == "retrain"


def test_while_busy_nothing_trains_but_harmless_shifts_are_answered() -> None:
    busy = "version 4 is on its way"
    (waits,) = ask(policy(ON_DROP), [drop(1)], busy=busy)
    assert (waits.verdict, waits.reason) == ("no", f"not now, {busy}: found drop/3/bias/1")
    (harmless,) = ask(policy(ON_SHIFT), [shift()], UNHARMED, busy=busy)
    assert harmless.key == "shift/3/0"


def test_a_schedule_counts_from_live_and_from_the_last_training() -> None:
    rules = policy(retrain.every("90d"), cool_down_days=1)
    assert ask(rules, live_since=NOW - 90 * DAY + 1) == []
    (due,) = ask(rules, live_since=NOW - 90 * DAY)
    assert (due.verdict, due.trigger, due.reason) == ("retrain", "schedule", "90 days since the last training")
    # That candidate was refused and version 3 stays live: the next one is due ninety days after it.
    told = [recorded(due)]
    assert ask(rules, live_since=NOW - 90 * DAY, decisions=told, now=NOW + 89 * DAY) == []
    (again,) = ask(rules, live_since=NOW - 90 * DAY, decisions=told, now=NOW + 90 * DAY)
    assert again.verdict == "retrain"
    assert again.key != due.key


def test_F13_a_schedule_that_was_missed_fires_once() -> None:
    rules = policy(retrain.every("10d"), cool_down_days=1)
    (due,) = ask(rules, live_since=NOW - 75 * DAY)
    assert ask(rules, live_since=NOW - 75 * DAY, decisions=[recorded(due)]) == []


def test_new_rows_train_again_after_as_many_rows_more() -> None:
    rules = policy(retrain.on_new_rows(500), cool_down_days=0)
    assert ask(rules, labels=499) == []
    (first,) = ask(rules, labels=510)
    assert (first.verdict, first.reason, first.evidence) == ("retrain", "510 new labelled rows", {"rows": 510})
    told = [recorded(first)]
    assert ask(rules, labels=999, decisions=told) == []  # its candidate was refused, version 3 stays live
    (second,) = ask(rules, labels=1000, decisions=told)
    assert second.verdict == "retrain"
    (other,) = ask(rules, labels=500, decisions=told, live=4)
    assert other.verdict == "retrain"


def test_F30_a_storm_of_reasons_trains_once() -> None:
    storm = [drop(number) for number in range(2000)]
    answers = ask(policy(ON_DROP), storm)
    assert [answer.verdict for answer in answers].count("retrain") == 1
    assert len(answers) == 2000
    told = [recorded(answer) for answer in answers]
    assert ask(policy(ON_DROP), storm, decisions=told) == []
    later = ask(policy(ON_DROP), [*storm, drop(5000)], decisions=told, now=NOW + DAY)
    assert [answer.key for answer in later] == ["drop/3/bias/5000/waits"]


@given(
    findings=st.lists(
        st.builds(
            lambda make, number, version: make(number, version),
            st.sampled_from([drop, shift]),
            st.integers(0, 5),
            st.integers(1, 4),
        ),
        max_size=8,
    ),
    busy=st.sampled_from(["", "a training is under way"]),
    is_harmed=st.booleans(),
    labels=st.integers(0, 2000),
    cuts=st.lists(st.integers(0, 3), max_size=6),
)
def test_P13_F27_killed_between_two_answers_the_next_pass_gives_the_rest_as_they_would_have_been(
    findings: list[Finding], busy: str, is_harmed: bool, labels: int, cuts: list[int]
) -> None:
    rules = policy(ON_DROP, ON_SHIFT, retrain.every("30d"), retrain.on_new_rows(500))
    unique = list({finding.key: finding for finding in findings}.values())
    harm = HARMED if is_harmed else UNHARMED

    def propose_now(told: list[Decision]) -> list[Proposal]:
        return ask(rules, unique, harm, busy=busy, labels=labels, decisions=told)

    undisturbed = [recorded(answer) for answer in propose_now([])]
    told: list[Decision] = []
    for cut in cuts:  # each pass is killed after so many answers were recorded
        told += [recorded(answer) for answer in propose_now(told)[:cut]]
    told += [recorded(answer) for answer in propose_now(told)]
    assert {decision.key: decision for decision in told} == {decision.key: decision for decision in undisturbed}
    assert len(told) == len(undisturbed)
    trained = [decision.key for decision in told if decision.verdict == "retrain"]
    assert len(trained) <= (0 if busy else 1)
    assert propose_now(told) == []
