"""A profile is what the rows add up to: however they are cut, in one pass, and nothing of any row."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.errors import Invalid
from perennial.monitor.profiling.counting import RANGE, ROWS_AT_ONCE, count_rows
from perennial.monitor.profiling.profiles import Profiler, WindowProfile, compare
from perennial.monitor.sample import Sample, sample_of
from perennial.monitor.windows import Window
from perennial.stats.bins import Bins, NumericBins
from tests.monitor.profiling import adult, record, samples, sums, with_inputs


def parts_of(sample: Sample, cuts: list[int], order: np.random.Generator) -> list[Sample]:
    rows = order.permutation(sample.rows)
    return [sample.take(part) for part in np.split(rows, sorted(min(cut, sample.rows) for cut in cuts))]


@settings(max_examples=50)
@given(
    reference=samples(least=1),
    sample=samples(),
    cuts=st.lists(st.integers(0, 40), max_size=3),
    seed=st.integers(0, 99),
)
def test_P3_profiles_of_parts_add_up_to_the_profile_of_all(
    reference: Sample, sample: Sample, cuts: list[int], seed: int
) -> None:
    profiler = Profiler.of_reference(reference, by=["n", "t", "flag"])
    whole = profiler.profile(sample)
    first, *others = [profiler.profile(part) for part in parts_of(sample, cuts, np.random.default_rng(seed))]
    for other in others:
        first += other
    assert record(first) == record(whole)
    np.testing.assert_allclose(sums(first), sums(whole), rtol=1e-9, atol=1e-6)


@settings(max_examples=30)
@given(reference=samples(least=1), sample=samples())
def test_a_profile_and_its_profiler_survive_being_stored(reference: Sample, sample: Sample) -> None:
    profiler = Profiler.of_reference(reference, by=["t"])
    again = Profiler.from_dict(json.loads(json.dumps(profiler.to_dict())))
    profile = again.profile(sample, window=Window(0, 10))
    stored = WindowProfile.from_bytes(profile.to_bytes())
    assert record(stored) == record(profile) == record(profiler.profile(sample))
    assert sums(stored) == sums(profile)
    assert stored.window == Window(0, 10)
    assert stored.to_bytes() == profile.to_bytes()


def test_counts_are_those_of_a_database(shared_data: Path) -> None:
    """Every count, sum and extreme of a real table, by the words of SQL."""
    sample = adult(shared_data)
    profiler = Profiler.of_reference(sample, by=["sex"])
    profile = profiler.profile(sample)
    table = sample.inputs
    table_ = table.to_arrow()  # found by its name
    assert len(table_) == profile.rows
    for name, tally in profile.columns.items():
        plan = profiler.columns[name]
        row = duckdb.sql(f'SELECT count(*) - count("{name}"), count(DISTINCT "{name}") FROM table_').fetchall()
        ((missing, values),) = row
        assert tally.missing == missing
        assert tally.rows == table.height == 32_561
        assert tally.values.distinct == pytest.approx(values, rel=0 if values <= 128 else 0.5)
        if plan.kind == "number":
            column = table[name].cast(pl.Float64)
            assert (tally.low, tally.high) == (column.min(), column.max())
            assert tally.mean(plan.centre) == pytest.approx(column.mean())
            assert tally.sd == pytest.approx(column.std())
            assert tally.counts[0] == tally.counts[-2] == 0
        else:
            named = dict(table[name].value_counts().iter_rows())
            assert tally.counts[:-2].tolist() == [named[category] for category in plan.bins.categories]
    assert profile.label is not None
    assert profile.label.counts.tolist() == [24_720, 7_841, 0, 0]


def test_threads_and_ranges_make_no_difference() -> None:
    draw = np.random.default_rng(0)
    rows = ROWS_AT_ONCE + 3 * RANGE + 17
    values = draw.normal(size=rows)
    values[::1000] = np.nan
    texts = draw.choice(["a", "b", "c", "d"], rows).tolist()
    texts[5] = "rare"
    frame = pl.DataFrame({"x": values, "k": draw.integers(0, 5_000, rows), "t": texts}).with_columns(
        pl.col("x").fill_nan(None)
    )
    profiler = Profiler.of_reference(sample_of(frame))
    one, two = (count_rows(frame, profiler.columns, profiler._tables, threads=number) for number in (1, 2))
    for name, tally in one.columns.items():
        assert two.columns[name].as_dict() == tally.as_dict()
    is_there = np.isfinite(values)
    assert one.columns["x"].counts[:-1].tolist() == _by_search(profiler.columns["x"].bins, values[is_there])
    assert one.columns["x"].kinds == {"number": int(is_there.sum())}
    assert one.rows.as_dict() == two.rows.as_dict()
    parts = [count_rows(part, profiler.columns, profiler._tables).rows for part in (frame[:777], frame[777:])]
    assert (parts[0] + parts[1]).as_dict() == one.rows.as_dict()
    assert one.columns["t"].counts[-2] == int("rare" not in profiler.columns["t"].bins.categories)


def _by_search(bins: Bins, values: np.ndarray) -> list[int]:
    assert isinstance(bins, NumericBins)
    assert bins.low is not None
    edges = [np.nextafter(bins.low, -np.inf), *bins.uppers]
    return np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1).tolist()


@given(
    values=st.lists(
        st.one_of(
            st.sampled_from([-0.0, 0.0, 5e-324, -5e-324, math.inf, -math.inf, math.nan]),
            st.floats(-1e150, 1e150),  # of larger ones the squares are infinite
        )
    ),
    reference=st.lists(st.one_of(st.floats(-5, 5), st.sampled_from([math.inf, math.nan])), min_size=1),
)
@settings(deadline=None)
def test_numbers_are_counted_as_by_searching_for_each(values: list[float], reference: list[float]) -> None:
    """Missing, infinite and denormal ones, zeros of both signs, bounds themselves."""
    array = np.array([*values, *reference])
    finite = array[np.isfinite(array)]
    profiler = Profiler.of_reference(Sample(inputs=pl.DataFrame({"x": reference}), task="regression"))
    plan = profiler.columns["x"]
    tally = profiler.profile(Sample(inputs=pl.DataFrame({"x": array}), task="regression")).columns["x"]
    known = [value for value in reference if math.isfinite(value)]
    if not known:
        assert tally.counts.tolist() == [np.sum(~np.isnan(array)), np.sum(np.isnan(array))]
        return
    assert isinstance(plan.bins, NumericBins)
    assert (plan.bins.low, plan.bins.uppers[-1]) == (min(known), max(known))
    assert tally.counts[:-1].tolist() == _by_search(plan.bins, array[~np.isnan(array)])
    assert tally.missing == np.isnan(array).sum()
    assert (tally.finite, tally.low, tally.high) == (len(finite), finite.min(), finite.max())
    assert tally.magnitudes.counts.sum() == len(finite)
    assert tally.values.distinct == len(set(finite.tolist()))
    assert tally.total == pytest.approx(math.fsum(finite - plan.centre), rel=1e-9, abs=1e-9 * np.abs(finite).sum())
    assert tally.beyond[0] == pytest.approx(sum(plan.bins.low - x for x in finite if x < plan.bins.low))


def test_numbers_whose_squares_are_no_floats_are_counted_and_compared() -> None:
    before = sample_of(pl.DataFrame({"x": [1e300, -1e300, 2e300, 1e155] * 100}))
    now = sample_of(pl.DataFrame({"x": [3e300, 4e300] * 200}))
    profiler = Profiler.of_reference(before)
    one, other = profiler.profile(before), profiler.profile(now)
    assert math.isnan(one.columns["x"].sd)
    assert [column.column for column in compare(profiler, one, other).shifted] == ["x"]


def test_losses_are_summed_by_slice() -> None:
    frame = pl.DataFrame(
        {"g": ["a", "a", "b", "b", None], "y": [1.0, 2.0, 3.0, None, 5.0], "p": [1.0, 0.0, 0.0, 9.0, 4.0]}
    )
    sample = sample_of(frame, task="regression", target="y", prediction="p", inputs=["g"])
    profile = Profiler.of_reference(sample, by=["g"]).profile(sample)
    assert profile.losses is not None
    assert (profile.losses.n[0], profile.losses.total[0], profile.losses.squares[0]) == (4, 14.0, 98.0)
    assert profile.slices["g"].n.tolist() == [2, 1, 0, 1]
    assert profile.slices["g"].total.tolist() == [4.0, 9.0, 0.0, 1.0]
    assert profile.slices["g"].mean.tolist()[:2] == [2.0, 9.0]


def test_scores_are_counted_by_answer_and_hundredth() -> None:
    frame = pl.DataFrame({"x": [1.0, 2.0, 3.0], "p": [0.0, 0.994, 1.0], "a": ["no", "yes", "yes"]})
    sample = sample_of(frame, task="classification", prediction="a", probs="p", inputs=["x"])
    scores = Profiler.of_reference(sample).profile(sample).scores
    assert scores is not None
    assert scores.shape == (2, 100)
    assert (scores[0, 0], scores[1, 99], scores.sum()) == (1, 2, 3)


def test_what_does_not_come_as_it_was_is_counted_as_that() -> None:
    reference = sample_of(pl.DataFrame({"n": [1.0, 2.0, 3.0], "t": ["a", "b", "b"]}))
    profiler = Profiler.of_reference(reference)
    odd = sample_of(pl.DataFrame({"n": ["2", "x", None], "new": [1, 2, 3]}))
    profile = profiler.profile(odd)
    assert profile.columns["n"].kinds == {"text": 2}
    assert profile.columns["n"].unreadable == 1
    assert profile.columns["n"].missing == 2
    assert profile.columns["t"].kinds == {"absent": 3}
    assert profile.columns["t"].missing == 3
    assert profile.new_columns == {"new": 3}


def test_S10_a_profile_holds_no_value_of_a_row_but_extremes_and_declared_categories() -> None:
    secret = "0301-secret-0301"
    reference = sample_of(pl.DataFrame({"t": ["a", "b"] * 50, "n": [1.5, 2.5] * 50}))
    profile = Profiler.of_reference(reference).profile(sample_of(pl.DataFrame({"t": [secret], "n": [2.0]})))
    assert secret.encode() not in profile.to_bytes()


def test_a_profile_is_small(shared_data: Path) -> None:
    sample = adult(shared_data)
    profile = Profiler.of_reference(sample).profile(sample)
    assert len(profile.to_bytes()) < 2_500 * len(profile.columns)


def test_late_labels_make_the_next_revision_of_the_same_window() -> None:
    frame = pl.DataFrame({"x": [1.0, 2.0], "y": [1.0, None], "p": [1.0, 1.0]})
    early = sample_of(frame, task="regression", target="y", prediction="p", inputs=["x"])
    late = replace(early, labels=pl.Series([1.0, 3.0]))
    profiler = Profiler.of_reference(early)
    before = profiler.profile(early, window=Window(5, 9))
    after = profiler.profile(late).revised(before)
    assert (before.is_revised, after.is_revised, after.revised(after).revision) == (False, True, 2)
    assert after.window == Window(5, 9)
    assert after.losses is not None
    assert after.losses.total[0] == 4.0
    assert WindowProfile.from_bytes(after.to_bytes()).revision == 1


def test_profiles_of_different_columns_do_not_add_up() -> None:
    one, other = (sample_of(pl.DataFrame({name: [1.0, 2.0]})) for name in ("a", "b"))
    with pytest.raises(Invalid, match="different columns"):
        Profiler.of_reference(one).profile(one) + Profiler.of_reference(other).profile(other)
    with pytest.raises(Invalid, match="no column 'z'"):
        Profiler.of_reference(one, by=["z"])
    with pytest.raises(Invalid, match="no window profile"):
        WindowProfile.from_bytes(b"junk")
    with pytest.raises(Invalid, match="without rows"):
        Profiler.of_reference(one.take(slice(0, 0)))


def test_a_comparison_says_what_moved_and_ranks_by_harm(shared_data: Path) -> None:
    sample = adult(shared_data)
    order = np.random.default_rng(0).permutation(sample.rows)
    before, after = sample.take(order[:16_000]), sample.take(order[16_000:])
    older = with_inputs(
        after,
        after.inputs.with_columns(
            pl.col("age") + 12, sex=pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("Male")).otherwise("sex")
        ),
    )
    profiler = Profiler.of_reference(before)
    reference, same, moved = (profiler.profile(side) for side in (before, after, older))
    quiet = compare(profiler, reference, same)
    assert quiet.shifted == []
    assert quiet.severity == "info"
    assert quiet.says.startswith("no input shifted")
    assert quiet.label is not None
    assert quiet.label.decision == "within tolerance"
    found = compare(profiler, reference, moved)
    assert [one.column for one in found.shifted] == ["age", "sex"]
    assert found.columns["age"].wasserstein == pytest.approx(12 / reference.columns["age"].sd, rel=0.1)
    assert "mean 38." in found.columns["age"].words
    assert "50." in found.columns["age"].words
    by_use = compare(profiler, reference, moved, importances={"sex": 1.0, "age": 0.01})
    assert [one.column for one in by_use.shifted] == ["sex", "age"]
    few = compare(profiler, reference, profiler.profile(older.take(slice(0, 50))))
    assert set(few.undecided) == set(profiler.columns)
    assert json.loads(json.dumps(found.as_dict()))["shifted"] == ["age", "sex"]


@pytest.mark.parametrize("any_dependence", [False, True])
def test_distances_are_those_of_the_counts(any_dependence: bool) -> None:
    """By hand: shares (.5, .5) and (.6, .4); METHODS 1 to its printed digits, but for smoothing."""
    frames = (pl.DataFrame({"t": ["a"] * n + ["b"] * m}) for n, m in ((50_000, 50_000), (60_000, 40_000)))
    before, after = (sample_of(frame) for frame in frames)
    profiler = Profiler.of_reference(before)
    found = compare(
        profiler,
        profiler.profile(before),
        profiler.profile(after),
        tolerance=0.02,
        any_dependence=any_dependence,
    )
    one = found.columns["t"]
    assert one.psi == pytest.approx(0.0405465, abs=2e-6)
    assert one.js == pytest.approx(0.0854351, abs=2e-6)
    assert one.hellinger == pytest.approx(0.0711607, abs=2e-6)
    assert one.l_infinity == pytest.approx(0.1, abs=2e-6)
    assert one.ks is None
    assert one.decision == "shifted"
    assert found.method == ("benjamini-yekutieli" if any_dependence else "benjamini-hochberg")
