"""Looks at a test set are counted, also across sets that share rows, and beyond the budget nothing is promoted."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from perennial.data.row_sample import row_sample
from perennial.errors import Invalid, NotFound, Refused
from perennial.models.facts.verdict import Verdict
from perennial.registry.test_sets import JudgedOn, Ledger
from perennial.registry.versions import Models, ModelVersion
from perennial.store.records import Records

ROWS = 2000


def rows(first: int, count: int = ROWS) -> str:
    return row_sample(pl.DataFrame({"x": range(first, first + count)}))


def judged(test_set: str = "a", **changes: Any) -> JudgedOn:
    told = {
        "test_set": test_set * 64,
        "rows": ROWS,
        "sample": rows(0),
        "loss": 0.3,
        "loss_name": "share of wrong labels",
        "lead": 0.2,
        "lead_error": 0.01,
    }
    return JudgedOn(**{**told, **changes})


def register(models: Models, on: JudgedOn | None = None, **changes: Any) -> ModelVersion:
    told = {"name": "wages", "package": "f" * 64, "origin": "loop", "judged_on": on or judged()}
    return models.register(**{**told, **changes})


@pytest.fixture
def ledger(records: Records) -> Ledger:
    return Ledger(records)


both = pytest.mark.parametrize("records", ["sqlite", "postgresql"], indirect=True)


@both
def test_every_judged_version_is_a_look_also_a_refused_one_and_each_run_only_one(
    models: Models, ledger: Ledger
) -> None:
    register(models, run_id="r1")
    register(models, run_id="r1")
    failed = Verdict(kind="metric", sentence="", passed=False, says="worse")
    register(models, run_id="r2", verdicts=[failed])
    line = ledger.get(digest="a" * 64)
    assert (line.used, line.planned, line.left, line.models) == (2, 100, 98, ["wages"])
    assert line.says.startswith("98 of 100 looks at these 2000 rows are left; an accuracy read from them is right to ")
    assert ledger.list() == [line]
    assert ledger.list(name="other") == []


def test_a_version_without_a_look_is_in_no_ledger_and_may_pass(models: Models, ledger: Ledger) -> None:
    models.register(name="wages", package="f" * 64, origin="imported")
    assert ledger.list() == []
    assert models.approve(name="wages", version=1).state == "approved"
    with pytest.raises(NotFound, match="no model was judged by"):
        ledger.get(digest="a" * 64)


@both
def test_beyond_the_budget_nothing_is_approved_and_what_was_within_it_still_is(models: Models) -> None:
    for _ in range(4):
        register(models, judged(planned=3))
    for approve in (
        lambda: models.approve(name="wages", version=4),
        lambda: models.approve_by_rule(name="wages", version=4, rule="automatic"),
    ):
        with pytest.raises(Refused, match="it was look 4 at 2000 rows whose budget is 3") as caught:
            approve()
        assert caught.value.remedy.startswith("collect 2000 fresh rows to judge by, which restores 3 looks, and train")
    assert models.get(name="wages", version=4).state == "candidate"
    assert models.approve(name="wages", version=3).state == "approved"
    assert models.reject(name="wages", version=4, comment="used up").state == "rejected"


@both
def test_one_new_row_is_no_new_test_set(models: Models, ledger: Ledger) -> None:
    for number in range(5):
        register(models, judged("abcde"[number], sample=rows(number), planned=5))
    # Nearly all rows of the fifth set judged four models before.
    assert ledger.get(digest="e" * 64).used == 5
    assert models.approve(name="wages", version=5).state == "approved"
    register(models, judged("f", sample=rows(5), planned=5))
    with pytest.raises(Refused, match=r"look 6 \(5 of them carried over from test sets that share rows\)"):
        models.approve(name="wages", version=6)


def test_half_of_the_rows_carry_half_of_the_looks_and_fresh_rows_none(models: Models, ledger: Ledger) -> None:
    for _ in range(20):
        register(models)
    register(models, judged("b", sample=rows(ROWS // 2)))
    assert ledger.get(digest="b" * 64).used == pytest.approx(11, abs=2)
    register(models, judged("c", sample=rows(10 * ROWS)))
    assert ledger.get(digest="c" * 64).used == 1
    # Another model's looks at other rows are its own.
    register(models, judged("d", sample=rows(1)), name="other")
    assert ledger.get(digest="d" * 64).used == 1


def test_the_budget_follows_from_the_rows_where_a_tolerance_is_named(models: Models, ledger: Ledger) -> None:
    """67,706 rows bear 32 looks at failure 1e-4 in the paper (tolerance 0.01, disagreement 0.1); here it is 0.05."""
    register(models, judged(rows=67_706, tolerance=0.01, disagreement=0.1))
    line = ledger.get(digest="a" * 64)
    assert line.planned == 40  # (67706 * 0.1 * h(0.1) - ln 80) / ln 2, h(u) = (1 + u) ln(1 + u) - u, by hand
    assert line.right_to == pytest.approx(0.01, rel=0.02)
    assert line.fresh_rows <= 67_706
    register(models, judged("b", rows=100, tolerance=0.01, sample=rows(10**6, 100)))
    few = ledger.get(digest="b" * 64)
    assert (few.planned, few.right_to) == (0, None)
    assert few.says == "0 of 0 looks at these 100 rows are left"
    with pytest.raises(Refused) as caught:
        models.approve(name="wages", version=2)
    assert f"collect {few.fresh_rows} fresh rows" in caught.value.remedy
    assert few.fresh_rows > 10_000


@both
def test_without_a_word_of_the_loop_a_candidate_has_as_many_looks_as_its_lead_bears(models: Models) -> None:
    """A lead of 4 errors has a p-value of 3.2e-5: 0.05 is 2^10.6 times as much, so that it bears 11 looks."""
    slight, large = {"lead": 0.04, "lead_error": 0.01}, {"lead": 0.2, "lead_error": 0.01}
    for version in range(1, 13):
        register(models, judged(**slight))
        if version == 11:
            assert models.approve(name="wages", version=version).state == "approved"
    with pytest.raises(Refused, match="it was look 12 at 2000 rows whose budget is 11") as caught:
        models.approve(name="wages", version=12)
    assert caught.value.remedy.startswith("collect 2000 fresh rows to judge by, which restores 11 looks")
    register(models, judged(**large))
    assert models.approve(name="wages", version=13).state == "approved"
    register(models, judged(**slight, planned=20))  # a person who plans more looks answers for it
    assert models.approve(name="wages", version=14).state == "approved"


def test_ten_looks_are_always_allowed_and_no_more_where_the_lead_is_unknown_or_none(models: Models) -> None:
    for lead in (None, -0.1):
        told = {"lead": lead, "lead_error": None if lead is None else 0.01, "test_set": ("a" if lead is None else "b")}
        name = f"lead-{told['test_set']}"
        for _ in range(11):
            register(models, judged(**{**told, "test_set": told["test_set"] * 64}), name=name)
        assert models.approve(name=name, version=10).state == "approved"
        with pytest.raises(Refused, match="it was look 11 at 2000 rows whose budget is 10"):
            models.approve(name=name, version=11)


def test_the_leaderboard_shows_clear_improvements_only(models: Models, ledger: Ledger) -> None:
    for loss in (0.3033, 0.299, 0.2951, 0.2889, 0.31):
        register(models, judged(loss=loss))
    board = ledger.leaderboard(digest="a" * 64)
    assert [line.shown for line in board] == [0.3, 0.3, 0.3, 0.29, 0.29]
    assert [line.version for line in board if line.is_step] == [1, 4]


def test_what_cannot_be_a_look_is_refused_and_nothing_is_registered(models: Models) -> None:
    for wrong in ({"rows": 0}, {"loss": float("nan")}, {"planned": 0}):
        with pytest.raises(Invalid, match="cannot be"):
            register(models, judged(**wrong))
    assert models.list() == []
