"""The demo's world: real people's rows, each once a year, in an order that the seed draws."""

from __future__ import annotations

import subprocess
import sys
from datetime import date

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from perennial.demo.world import TARGET, World
from perennial.errors import ConfigError

PEOPLE = 545
COLUMNS = {
    "person": pl.Int64,
    "date": pl.Date,
    "education": pl.Int64,
    "experience": pl.Int64,
    "hours": pl.Int64,
    "occupation": pl.String,
    "union": pl.Boolean,
    "married": pl.Boolean,
    "black": pl.Boolean,
    "hispanic": pl.Boolean,
    "log_wage": pl.Float64,
}


def all_rows(world: World) -> pl.DataFrame:
    return pl.concat([world.first_rows(), *(world.answers(month) for month in world.months())])


def test_everybody_is_asked_once_a_year_and_the_months_are_equally_full() -> None:
    world = World(seed=3)
    rows = all_rows(world)
    assert rows.schema == COLUMNS
    assert rows.height == 8 * PEOPLE
    assert rows.null_count().sum_horizontal().item() == 0
    assert rows.select("person", pl.col("date").dt.year()).is_unique().all()
    assert set(rows.group_by("date").len()["len"]) == {45, 46}
    assert world.first_rows()["date"].is_between(date(1980, 1, 1), date(1981, 12, 1)).all()
    assert world.months() == [date(year, month, 1) for year in range(1982, 1988) for month in range(1, 13)]


def test_the_rows_are_those_of_the_published_panel() -> None:
    rows = all_rows(World(seed=0)).with_columns(year=pl.col("date").dt.year())
    # person 13 as printed in the panel's file: 14 years of schooling, 2,672 hours in 1980, service then craft
    first = rows.filter(pl.col("person") == 13).sort("year")
    assert first["log_wage"].to_list()[:3] == [1.19754, 1.85306, 1.344462]
    assert first["occupation"].to_list()[:5] == ["service"] * 4 + ["craft"]
    assert first["hours"][0] == 2672
    assert first["education"].unique().to_list() == [14]
    assert rows["log_wage"].mean() == pytest.approx(1.649147, abs=1e-6)
    assert rows["union"].mean() == pytest.approx(0.244037, abs=1e-6)
    assert rows["black"].mean() == pytest.approx(0.115596, abs=1e-6)
    assert rows["occupation"].n_unique() == 9


def test_the_people_asked_are_those_who_answer_in_the_same_order_and_do_not_tell_their_wage() -> None:
    world = World(seed=5)
    for month in world.months()[:3]:
        assert TARGET not in world.asked(month).columns
        assert_frame_equal(world.asked(month), world.answers(month).drop(TARGET))


def test_the_same_seed_is_the_same_world_and_another_one_shuffles_the_people() -> None:
    assert_frame_equal(all_rows(World(seed=1)), all_rows(World(seed=1)))
    one, two = all_rows(World(seed=1)), all_rows(World(seed=2))
    assert one["person"].to_list() != two["person"].to_list()
    by = ["person", "log_wage"]
    assert_frame_equal(one.drop("date").sort(by), two.drop("date").sort(by))


def test_fewer_years_are_the_beginning_of_the_same_world() -> None:
    short, whole = World(seed=4, years=range(1980, 1984)), World(seed=4)
    assert len(short.months()) == 24
    assert_frame_equal(all_rows(short), all_rows(whole).head(4 * PEOPLE))


def test_in_the_stationary_world_every_year_has_people_of_1980() -> None:
    world = World(seed=6, stationary=True)
    rows = all_rows(world)
    of_1980 = World(seed=0).first_rows().filter(pl.col("date").dt.year() == 1980)
    assert rows.height == 8 * PEOPLE
    assert rows.join(of_1980, on=[name for name in COLUMNS if name != "date"], how="anti").is_empty()
    means = rows.group_by(pl.col("date").dt.year()).agg(pl.mean("log_wage"))["log_wage"]
    standard_error = of_1980["log_wage"].std() / PEOPLE**0.5
    assert (means - of_1980["log_wage"].mean()).abs().max() < 4 * standard_error
    assert rows.filter(pl.col("date").dt.year() == 1980)["person"].n_unique() < PEOPLE  # with replacement


@pytest.mark.parametrize(
    "years, says",
    [
        ((1980, 1981), "three or more consecutive"),
        ((), "three or more consecutive"),
        ((1980, 1982, 1983), "three or more consecutive"),
        (range(1985, 1989), "no 1988"),
        (range(1979, 1983), "no 1979"),
    ],
)
def test_years_that_cannot_be_lived_through_are_refused(years: range | tuple[int, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        World(seed=0, years=years)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match="not negative"):
        World(seed=-1)


def test_without_linearmodels_the_error_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])  # as on a machine that has not got it
    with pytest.raises(ConfigError, match="pip install linearmodels"):
        World(seed=0)


def test_the_panel_is_read_without_importing_linearmodels_or_pandas() -> None:
    code = (
        "import sys; from perennial.demo.world import World; World(0)\n"
        "print({'linearmodels', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
