"""All columns together: the domain classifier, what it names, its ratios; reconstruction; embeddings; real data."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perennial.errors import Invalid
from perennial.monitor.multivariate.domain import DomainScores, compare_all, domain_scores, embedding_test, points


def orders(rows: int, seed: int, *, day: int = 0) -> pl.DataFrame:
    """Numbers, texts, truth values and moments, some missing; `amount` and `members` belong together."""
    rng = np.random.default_rng(seed)
    is_member = rng.random(rows) < 0.4
    start = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(days=day)
    amount = pl.Series(rng.gamma(2, 20, rows) + 25 * is_member)
    return pl.DataFrame(
        {
            "amount": amount.set(pl.Series(rng.random(rows) < 0.05), None),
            "city": rng.choice(["Ulm", "Bonn", "Kiel", "Trier"], rows, p=[0.4, 0.3, 0.2, 0.1]),
            "member": is_member,
            "at": [start + timedelta(seconds=int(s)) for s in rng.integers(0, 7 * 86_400, rows)],
            "items": rng.poisson(3, rows),
        }
    )


def test_two_clean_windows_are_not_told_apart_though_time_moved_on() -> None:
    for seed in range(2):
        scores = domain_scores(orders(1500, seed), orders(1000, 100 + seed, day=70), importance=False)
        found = scores.finding()
        assert found.decision == "within tolerance"
        assert abs((found.statistic or 0) - 0.5) < 0.05


def test_the_column_that_shifted_is_named_and_the_other_is_not() -> None:
    current = orders(1200, 1, day=70).with_columns(
        city=pl.when(pl.col("city") == "Ulm").then(pl.lit("Jena")).otherwise("city")
    )
    scores = domain_scores(orders(1500, 0), current)
    assert scores.finding().decision == "shifted"
    assert scores.responsible() == ("city",)
    assert next(iter(scores.importance)) == "city"
    assert set(scores.importance) == {"amount", "city", "member", "at", "items"}


def test_what_no_single_column_shows_is_seen_and_both_columns_are_named() -> None:
    rng = np.random.default_rng(2)
    current = orders(2000, 3).with_columns(member=pl.Series(rng.random(2000) < 0.4))
    scores = domain_scores(orders(3000, 2), current)
    found = scores.finding()
    assert found.decision == "shifted"
    assert set(scores.responsible()) == {"amount", "member"}


def test_rows_are_scored_by_their_place_and_the_same_seed_scores_the_same() -> None:
    reference, current = orders(400, 4), orders(300, 5).with_columns(items=pl.col("items") + 4)
    first, again, other = (domain_scores(reference, current, seed=seed, max_rows=250) for seed in (1, 1, 2))
    assert first.reference.tolist() == again.reference.tolist()
    assert first.importance == again.importance
    assert first.rows_reference.tolist() != other.rows_reference.tolist()
    assert (len(first.rows_reference), len(first.rows_current)) == (250, 250)
    assert (np.diff(first.rows_reference) > 0).all()
    many = reference["items"].to_numpy()[first.rows_reference] >= 6
    assert first.reference[many].mean() > first.reference[~many].mean() + 0.2


def test_density_ratios_are_those_of_the_two_laws() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=6000), rng.normal(0.7, 1.0, size=2000)
    scores = domain_scores(pl.DataFrame({"x": x}), pl.DataFrame({"x": y}), importance=False)
    found, true = scores.density_ratios(), np.exp(0.7 * x - 0.7**2 / 2)
    assert found.mean() == pytest.approx(1.0, abs=0.08)
    middle = np.abs(x) < 1.5
    assert np.corrcoef(np.log(found[middle]), np.log(true[middle]))[0, 1] > 0.75
    assert (found * x).mean() / found.mean() == pytest.approx(0.7, abs=0.12)


def test_a_missing_burst_and_a_wrong_unit_are_seen() -> None:
    rng = np.random.default_rng(7)
    reference = orders(1200, 8)
    burst = orders(900, 9).with_columns(
        items=pl.Series(rng.poisson(3, 900)).set(pl.Series(rng.random(900) < 0.4), None)
    )
    cents = orders(900, 10).with_columns(pl.col("amount") * 100)
    for current, column in ((burst, "items"), (cents, "amount")):
        scores = domain_scores(reference, current)
        assert scores.finding().decision == "shifted"
        assert scores.responsible()[0] == column


def test_too_few_rows_or_no_column_are_undecided_and_say_why() -> None:
    few = domain_scores(orders(30, 0), orders(1000, 1))
    assert few.finding().decision == "undecided"
    assert few.untrained == few.finding().reasons[0]
    assert "too few rows: 30 and 1000" in few.untrained
    assert np.unique(few.reference).tolist() == [1000 / 1030]
    assert few.density_ratios().tolist() == pytest.approx([1.0] * 30)
    apart = domain_scores(pl.DataFrame({"a": range(100)}), pl.DataFrame({"b": range(100)}))
    assert apart.untrained == "no column could be compared"
    assert set(apart.left_out) == {"a", "b"}
    empty = domain_scores(pl.DataFrame({"a": []}), pl.DataFrame({"a": []}))
    assert empty.finding().decision == "undecided"
    with pytest.raises(Invalid):
        domain_scores(orders(100, 0), orders(100, 1), folds=1)


def clouds(rows: int, seed: int, move: float = 0.0) -> pl.Series:
    values = np.random.default_rng(seed).normal(move, 1.0, size=(rows, 12))
    return pl.Series("vector", values, dtype=pl.Array(pl.Float32, 12))


@pytest.mark.parametrize("kernel", [True, False])
def test_embeddings_are_compared_as_clouds(kernel: bool) -> None:
    assert embedding_test(clouds(600, 0), clouds(500, 1), kernel=kernel).decision == "within tolerance"
    assert embedding_test(clouds(600, 0), clouds(500, 1, 0.4), kernel=kernel).decision == "shifted"
    as_lists = clouds(500, 1, 0.4).cast(pl.List(pl.Float32))
    assert embedding_test(clouds(600, 0), as_lists, kernel=kernel) == embedding_test(
        clouds(600, 0), clouds(500, 1, 0.4), kernel=kernel
    )


def test_embeddings_without_a_value_are_left_out_and_of_other_lengths_refused() -> None:
    some = pl.Series("v", [[1.0, 2.0], None, [3.0, float("nan")], [5.0, 6.0]])
    assert points(some).tolist() == [[1.0, 2.0], [5.0, 6.0]]
    assert embedding_test(clouds(600, 0), clouds(5, 0)[:0]).decision == "undecided"
    for wrong in (pl.Series("v", [[1.0], [1.0, 2.0]]), pl.Series("v", ["a"]), pl.Series("v", [["a"]])):
        with pytest.raises(Invalid):
            points(wrong)
    with pytest.raises(Invalid, match="of 12 numbers in the reference, of 2 now"):
        embedding_test(clouds(50, 0), pl.Series("v", [[1.0, 2.0]] * 50))


def test_everything_at_once_says_what_it_found_in_json() -> None:
    reference = orders(1200, 11).with_columns(clouds(1200, 12))
    calm = compare_all(reference, orders(800, 13, day=70).with_columns(clouds(800, 14)))
    assert not calm.is_shifted
    moved = orders(800, 13, day=70).with_columns(clouds(800, 14, 0.5))
    found = compare_all(reference, moved)
    assert found.is_shifted
    assert found.domain.decision == "within tolerance"
    assert found.embeddings["vector"].decision == "shifted"
    told = json.loads(json.dumps(found.as_dict()))
    assert told["embeddings"]["vector"]["decision"] == "shifted"
    assert "Array" in told["left_out"]["vector"]
    assert len(found.says) == 3


@pytest.fixture(scope="module")
def census(shared_data: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    folder = shared_data / "nannyml_employment_ma"
    no_inputs = ("id", "year", "prediction", "predicted_probability")
    reference = pl.read_parquet(folder / "reference.parquet").drop(*no_inputs, "employed")
    return reference, pl.read_parquet(folder / "analysis.parquet").drop(*no_inputs)


def chunk(census: tuple[pl.DataFrame, pl.DataFrame], number: int) -> DomainScores:
    return domain_scores(census[0], census[1][5000 * number : 5000 * (number + 1)], max_rows=5000)


def test_the_census_is_told_apart_where_group_quarters_stand_together_and_only_there(
    census: tuple[pl.DataFrame, pl.DataFrame],
) -> None:
    before, within = chunk(census, 3), chunk(census, 27)
    assert before.finding().decision == "within tolerance"
    assert within.finding().decision == "shifted"
    assert (within.finding().statistic or 0) > 0.95
    assert within.responsible()[0] == "RELP"
