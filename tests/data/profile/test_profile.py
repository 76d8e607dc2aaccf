"""A profile against the exact figures of real tables, and of tables that are hard to look at."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perennial.data.profile import Profile, profile
from perennial.data.profile.association import associations, target_relations
from perennial.data.profile.notable import notes
from perennial.data.profile.page import page
from perennial.data.scan import Scan, scan
from perennial.errors import DataError, NotFound

REAL = ("adult_census/adult_train.csv.gz", "chicago_taxi/train.csv.gz", "bike_sharing/hour.csv.gz")


@pytest.fixture(scope="module", params=REAL)
def real(request: pytest.FixtureRequest, shared_data: Path) -> tuple[Profile, pl.DataFrame]:
    source = scan(shared_data / request.param)
    return profile(source), source.lazy().collect()


def says(found: Profile) -> list[str]:
    return [f"{note.column} {note.says}".strip() for note in notes(found, associations(found))]


def test_counts_ranges_and_moments_of_real_tables_are_exact(real: tuple[Profile, pl.DataFrame]) -> None:
    found, frame = real
    assert found.rows == frame.height
    for column in found.columns:
        values = frame[column.name]
        assert column.missing == values.null_count()
        assert column.n_distinct == pytest.approx(values.drop_nulls().n_unique(), rel=5 * 0.016)
        if column.n_distinct <= 1_000:
            assert column.n_distinct == values.drop_nulls().n_unique()
        if column.kind == "number" and column.present:
            assert (column.low, column.high) == (values.min(), values.max())
            assert column.zeros == (values == 0).sum()
            assert column.negatives == (values < 0).sum()
            assert column.moments.mean == pytest.approx(values.mean())
            assert column.moments.sd == pytest.approx(values.std())
            assert column.moments.skew == pytest.approx(values.skew(), abs=1e-6)


def test_frequent_values_and_quantiles_of_real_tables_are_within_their_bounds(
    real: tuple[Profile, pl.DataFrame],
) -> None:
    found, frame = real
    for column in found.columns:
        values = frame[column.name].drop_nulls()
        if column.kind in ("number", "text") and len(values):
            counted = dict(values.value_counts().iter_rows())
            for value, count in zip(column.frequent.values, column.frequent.counts, strict=True):
                assert count <= counted[value] <= count + column.frequent.slack
            assert column.frequent.slack <= found.rows / 100
        if column.kind == "number" and len(values):
            ordered = np.sort(values.to_numpy())
            for share in (0.01, 0.25, 0.5, 0.75, 0.99):
                value = column.quantiles.at([share])[0]
                assert np.searchsorted(ordered, value, "left") / ordered.size <= share + 0.005
                assert np.searchsorted(ordered, value, "right") / ordered.size >= share - 0.005


def test_repeated_rows_of_a_real_table_are_counted(shared_data: Path) -> None:
    found = profile(shared_data / REAL[0])
    assert found.repeats.is_exact
    assert round(found.repeats.share * found.rows) == 24  # as the data set's own description says


def test_what_the_description_of_the_census_says_is_worth_a_look(shared_data: Path) -> None:
    told = says(profile(shared_data / REAL[0]))
    assert told[0] == "occupation holds '?' in 5.66 % of the rows, which looks like a missing value"
    assert "education_num says nearly the same as education (correlation ratio 1.00)" in told
    assert "pickup_census_tract has no value at all" in says(profile(shared_data / REAL[1]))


def test_parts_merge_to_the_profile_of_the_whole(real: tuple[Profile, pl.DataFrame]) -> None:
    whole, frame = real
    cut = frame.height // 3
    merged = profile(frame[:cut]).merge(profile(frame[cut:]))
    assert merged.rows == whole.rows
    assert merged.repeats.counts.tolist() == whole.repeats.counts.tolist()
    for one, other in zip(merged.columns, whole.columns, strict=True):
        for name in ("missing", "infinite", "zeros", "negatives", "low", "high"):
            assert getattr(one, name) == getattr(other, name)
        assert np.array_equal(one.distinct.registers, other.distinct.registers)
        assert np.allclose(one.moments.sums, other.moments.sums, rtol=1e-6, atol=1e-3)
        if other.frequent.is_complete:
            assert one.frequent == other.frequent or one.frequent.values == other.frequent.values
            assert one.frequent.counts == other.frequent.counts
    rows = merged.sample.frame()
    assert rows.height == min(merged.sample.size, merged.rows)
    same = [name for name, kind in rows.schema.items() if frame.schema[name] == kind]
    assert len(rows.join(frame, on=same, how="anti", nulls_equal=True)) == 0


def test_a_profile_is_kept_and_read_back(real: tuple[Profile, pl.DataFrame]) -> None:
    kept = real[0].to_bytes()
    again = Profile.from_bytes(kept)
    assert again.to_bytes() == kept
    assert page(again) == page(real[0])


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"name": 3}'])
def test_bytes_that_are_no_profile_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="no stored profile"):
        Profile.from_bytes(data)


def test_profiles_of_different_tables_do_not_merge() -> None:
    one = profile(pl.DataFrame({"a": [1]}))
    with pytest.raises(DataError, match="different columns"):
        one.merge(profile(pl.DataFrame({"b": [1]})))
    with pytest.raises(DataError, match="cannot be added"):
        one.merge(profile(pl.DataFrame({"a": ["x"]})))
    other = profile(pl.DataFrame({"a": [1]}))
    other.hashing = "polars 0.1"
    with pytest.raises(DataError, match="make both again"):
        one.merge(other)


def test_the_sample_is_uniform() -> None:
    found = profile(pl.DataFrame({"row": np.arange(400_000)}))
    drawn = found.sample.frame()["row"]
    assert drawn.n_unique() == 10_000
    parts = np.histogram(drawn.to_numpy(), 10, (0, 400_000))[0]
    assert np.abs(parts - 1_000).max() < 5 * 1_000**0.5


def test_the_share_of_repeated_rows_of_a_large_table_is_close() -> None:
    values = np.random.default_rng(0).integers(0, 300_000, 300_000)
    found = profile(pl.DataFrame({"a": values, "b": values % 7}))
    exact = 1 - np.unique(values).size / values.size
    assert not found.repeats.is_exact
    assert found.repeats.share == pytest.approx(exact, abs=0.01)


def test_every_kind_of_column_is_told() -> None:
    found = profile(
        pl.DataFrame(
            {
                "flag": [True, False, None, True],
                "day": [date(2024, 1, 1), None, date(2024, 3, 1), date(1960, 1, 1)],
                "at": [datetime(2024, 1, 1, tzinfo=UTC)] * 4,
                "kind": pl.Series(["a", "b", "a", None], dtype=pl.Categorical),
                "bytes": [b"x", b"y", b"x", None],
                "list": [[1], [2, 3], None, [1]],
                "big": pl.Series([2**64 - 1, 1, 2, 3], dtype=pl.UInt64),
                "nothing": [None] * 4,
            }
        )
    )
    kinds = {column.name: (column.kind, column.missing, column.n_distinct) for column in found.columns}
    assert kinds == {
        "flag": ("flag", 1, 2),
        "day": ("time", 1, 3),
        "at": ("time", 0, 1),
        "kind": ("text", 1, 2),
        "bytes": ("other", 1, 2),
        "list": ("other", 1, 2),
        "big": ("number", 0, 4),
        "nothing": ("number", 4, 0),
    }
    assert "1960-01-01" in page(found)


def test_infinite_values_and_nan_are_told_and_in_no_figure() -> None:
    column = profile(pl.DataFrame({"a": [1.0, float("inf"), float("-inf"), float("nan"), None, 3.0]})).columns[0]
    assert (column.missing, column.infinite, column.low, column.high) == (2, 2, 1.0, 3.0)
    assert column.moments.mean == 2.0
    assert "a holds 2 infinite values" in says(profile(pl.DataFrame({"a": [float("inf")] * 2 + [1.0, 2.0]})))
    assert "holds 3 infinite values" in page(profile(pl.DataFrame({"a": [float("inf")] * 3})))


HARD = {
    "no rows": pl.DataFrame(schema={"a": pl.Int64, "b": pl.String, "c": pl.Boolean, "d": pl.Date}),
    "no columns": pl.DataFrame(),
    "one row": pl.DataFrame({"a": [1], "b": ["x"], "c": [date(2024, 1, 1)], "d": [0.5]}),
    "nothing in it": pl.DataFrame({"a": [None] * 50, "b": pl.Series([None] * 50, dtype=pl.String)}),
    "one value": pl.DataFrame({"a": [7] * 50, "b": ["x"] * 50, "c": [1e-300] * 50}),
    "huge and tiny": pl.DataFrame({"a": [-1.7e308, 1.7e308, 5e-324] * 20, "b": [2**63 - 1, -(2**63), 0] * 20}),
    "far times": pl.DataFrame({"a": pl.Series([-(2**62), 0, 2**62] * 20).cast(pl.Datetime("us"))}),
    "long texts": pl.DataFrame({"a": ["x" * 3_000_000 + str(k) for k in range(4)]}),
    "odd names": pl.DataFrame({" ": [1], "\n": [2], "ä\u202e\U0001f600": [3], "x" * 3_000: [4], "\ud7ff": [5]}),
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.filterwarnings("error")
def test_a_table_that_is_hard_to_look_at_has_a_page(name: str) -> None:
    frame = HARD[name]
    source = Scan(format="frame", parts=(frame.to_arrow(),), says=name)
    found = profile(source, target=frame.columns[0] if frame.columns else None)
    made = page(found)
    assert found.rows == frame.height
    assert "nan" not in made.replace("nanosecond", "").lower() or "nan" in name
    assert len(made) < 200_000
    assert Profile.from_bytes(found.to_bytes()).rows == found.rows
    assert page(found, against=found) != made


def test_long_texts_that_differ_at_their_end_are_different_values() -> None:
    column = profile(HARD["long texts"]).columns[0]
    assert column.n_distinct == 4
    assert max(len(str(value)) for value in column.frequent.values) <= 200


def test_a_thousand_columns_make_a_page(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frame = pl.DataFrame({f"c{k}": random.normal(size=300) for k in range(1_000)})
    made = page(profile(frame, target="c0"))
    assert made.count("<article") >= 1_000
    assert len(made) < 10_000_000


def test_a_target_that_is_not_there_is_an_error_that_names_the_columns() -> None:
    with pytest.raises(NotFound, match=r"there is no column 'y'.*\n.*\n.*choose one of a, b"):
        profile(pl.DataFrame({"a": [1], "b": [2]}), target="y")


def test_what_goes_together_is_found_for_numbers_and_categories() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=5_000)
    group = random.integers(0, 4, 5_000)
    frame = pl.DataFrame(
        {
            "x": x,
            "cube": x**3,
            "noise": random.normal(size=5_000),
            "group": [f"g{k}" for k in group],
            "same": [f"s{k}" for k in (group + 1) % 4],
            "level": group * 10 + random.normal(size=5_000),
            "holes": np.where(random.random(5_000) < 0.5, np.nan, -x),
        }
    )
    found = associations(profile(frame))
    value = {frozenset((pair.first, pair.second)): pair for pair in found.pairs}
    assert value[frozenset(("x", "cube"))].value == pytest.approx(1.0)
    assert value[frozenset(("x", "cube"))].pearson == pytest.approx(np.corrcoef(x, x**3)[0, 1])
    assert value[frozenset(("x", "holes"))].value == pytest.approx(-1.0, abs=1e-3)
    assert value[frozenset(("group", "same"))].value == pytest.approx(1.0, abs=1e-3)
    assert value[frozenset(("group", "level"))].value > 0.99
    for other in ("x", "group", "level"):
        assert abs(value[frozenset(("noise", other))].value) < 0.05


def test_the_relation_to_the_target_is_the_one_that_the_census_is_known_for(shared_data: Path) -> None:
    found = target_relations(profile(shared_data / REAL[0], target="income"))
    sex = next(one for one in found if one.column == "sex")
    share = {group.label: group for group in sex.groups}
    assert share["Male"].low < 0.3058 < share["Male"].high  # of the whole train file; the sample is 10,000 of its rows
    assert share["Female"].low < 0.1095 < share["Female"].high
    assert found[0].column in ("relationship", "marital_status")
    assert found[-1].column == "fnlwgt"  # a weight of the survey, which says nothing about a person


def test_a_relation_that_turns_around_is_seen() -> None:
    x = np.linspace(-1, 1, 4_000)
    found = target_relations(profile(pl.DataFrame({"x": x, "y": x**2}), target="y"))
    assert found[0].strength > 0.9


def test_progress_is_told() -> None:
    told: list[str] = []
    profile(pl.DataFrame({"a": np.arange(300_000)}), tell=told.append)
    assert len(told) >= 2
    assert "300,000 rows" in told[-1]
