"""SliceLine against its published result, against every slice scored one by one, and at its edges."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.stats import FoundSlice, LengthMismatch, NothingToCount, OutOfRange, slice_line


def _salaries(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The table as the published test encodes it, and the squared errors of its linear model."""
    table = pl.read_csv(folder / "check_values" / "Salaries.csv")

    def by_appearance(name: str) -> np.ndarray:
        seen: dict[str, int] = {}
        return np.array([seen.setdefault(value, len(seen) + 1) for value in table[name]])

    def equal_width(name: str, bins: int) -> np.ndarray:
        values = table[name].to_numpy().astype(float)
        return np.clip(np.ceil((values - values.min()) / np.ptp(values) * bins), 1, bins).astype(np.int64)

    codes = np.column_stack(
        [
            by_appearance("rank"),
            by_appearance("discipline"),
            equal_width("yrs.since.phd", 14),
            equal_width("yrs.service", 12),
            by_appearance("sex"),
        ]
    )
    salary = table["salary"].to_numpy().astype(float)
    slopes = np.linalg.lstsq(codes.astype(float), salary, rcond=None)[0]
    return codes, (salary - codes @ slopes) ** 2


def _one_by_one(
    codes: np.ndarray, errors: np.ndarray, *, min_rows: int, max_predicates: int, alpha: float = 0.95
) -> list[tuple[float, int]]:
    found = []
    for size in range(1, max_predicates + 1):
        for columns in combinations(range(codes.shape[1]), size):
            for values in {tuple(row) for row in codes[:, columns].tolist() if 0 not in row}:
                inside = (codes[:, columns] == values).all(axis=1)
                rows = int(inside.sum())
                score = alpha * (errors[inside].mean() / errors.mean() - 1) - (1 - alpha) * (len(errors) / rows - 1)
                if rows >= min_rows and score > 1e-12:
                    found.append((score, rows))
    return sorted(found, reverse=True)


def test_published_scores_and_sizes_on_salaries(shared_data: Path) -> None:
    codes, errors = _salaries(shared_data)
    # The published run has no limit on the number of predicates; its fourth slice has four.
    found = slice_line(codes, errors, min_rows=4, max_predicates=5)
    assert [round(item.score, 3) for item in found] == [
        1.042, 0.478, 0.316, 0.262, 0.224, 0.218, 0.164, 0.122, 0.098, 0.092,
    ]  # fmt: skip
    assert [item.rows for item in found] == [18, 39, 10, 29, 125, 31, 135, 34, 266, 39]
    assert dict(found[0].predicates) == {1: 2, 4: 2}
    assert len(found[3].predicates) == 4


@pytest.mark.parametrize("max_predicates", [1, 2, 3, 4])
def test_no_slice_is_missed_on_salaries(shared_data: Path, max_predicates: int) -> None:
    codes, errors = _salaries(shared_data)
    found = slice_line(codes, errors, min_rows=4, max_predicates=max_predicates, top=50)
    expected = _one_by_one(codes, errors, min_rows=4, max_predicates=max_predicates)[:50]
    assert [item.score for item in found] == pytest.approx([score for score, _ in expected])


@given(seed=st.integers(0, 10_000), top=st.integers(1, 12), signed=st.booleans(), alpha=st.sampled_from([0.5, 0.95, 1]))
def test_no_slice_is_missed_on_random_tables(seed: int, top: int, signed: bool, alpha: float) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = int(rng.integers(20, 200)), int(rng.integers(1, 6))
    codes = rng.integers(0, int(rng.integers(2, 6)), size=(rows, columns))
    errors = rng.exponential(size=rows) * (1 + 2 * (codes[:, 0] == 1)) - (0.7 if signed else 0.0)
    if errors.mean() <= 0:
        return
    found = slice_line(codes, errors, min_rows=3, top=top, max_predicates=3, alpha=alpha)
    expected = _one_by_one(codes, errors, min_rows=3, max_predicates=3, alpha=alpha)[:top]
    assert [item.score for item in found] == pytest.approx([score for score, _ in expected])
    for item in found:
        inside = np.all([codes[:, column] == code for column, code in item.predicates.items()], axis=0)
        assert item.rows == inside.sum()
        assert item.mean_error == pytest.approx(errors[inside].mean())


def test_many_rows_with_few_combinations_and_with_many_give_the_same_slice() -> None:
    rng = np.random.default_rng(1)
    few = rng.integers(1, 4, size=(50_000, 5))
    bad = (few[:, 1] == 2) & (few[:, 3] == 3)
    errors = (rng.random(50_000) < np.where(bad, 0.5, 0.1)).astype(float)
    many = np.column_stack([few, rng.integers(1, 20_000, size=(50_000, 2))])  # too rare to be slices; hinder joining
    first, second = slice_line(few, errors)[0], slice_line(many, errors)[0]
    assert dict(first.predicates) == {1: 2, 3: 3}
    assert first.as_dict() == second.as_dict()
    assert first.rows == bad.sum()


def test_a_column_of_identifiers_is_no_slice_and_no_burden() -> None:
    rng = np.random.default_rng(2)
    codes = np.column_stack([np.arange(1, 100_001) * 20_000, rng.integers(1, 5, size=100_000)])
    errors = rng.random(100_000) + (codes[:, 1] == 3)
    found = slice_line(codes, errors)
    assert dict(found[0].predicates) == {1: 3}
    assert all(0 not in item.predicates for item in found)


def test_a_missing_value_is_no_predicate() -> None:
    codes = np.array([[0, 1]] * 200 + [[1, 1]] * 200 + [[1, 2]] * 200)
    errors = [1.0] * 200 + [0.0] * 400
    assert all(code != 0 for item in slice_line(codes, errors) for code in item.predicates.values())


def test_nothing_wrong_gives_no_slice() -> None:
    assert slice_line(np.ones((100, 2), dtype=int), np.zeros(100)) == []
    assert slice_line(np.ones((100, 0), dtype=int), np.ones(100)) == []


def test_equal_calls_give_equal_lists_and_plain_values(shared_data: Path) -> None:
    codes, errors = _salaries(shared_data)
    first, again = slice_line(codes, errors, min_rows=4), slice_line(codes, errors, min_rows=4)
    assert first == again
    told = json.loads(json.dumps(first[0].as_dict()))
    assert told["predicates"] == {"1": 2, "4": 2}
    assert isinstance(first[0], FoundSlice)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(LengthMismatch):
        slice_line([[1]], [1.0, 2.0])
    with pytest.raises(NothingToCount):
        slice_line(np.zeros((0, 2), dtype=int), [])
    for codes, errors in (([[-1]], [1.0]), ([[1.5]], [1.0]), ([1], [1.0]), ([[1], [1]], [1.0, -2.0])):
        with pytest.raises(OutOfRange):
            slice_line(codes, errors)
    for wrong in ({"alpha": 0.0}, {"top": 0}, {"max_predicates": 0}, {"min_rows": 0}):
        with pytest.raises(OutOfRange):
            slice_line([[1]], [1.0], **wrong)
