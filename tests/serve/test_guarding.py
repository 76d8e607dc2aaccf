"""Guards at work on real rows: what a request and its answers are, and what each row therefore needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LinearRegression, LogisticRegression

from perennial.errors import Corrupt, DataError, Invalid
from perennial.loop import fallback, guard
from perennial.loop.failsafe import FailSafePolicy, Fallback, Guard, IntervalPolicy
from perennial.models.guards.calibrating import Answered, Calibration
from perennial.models.guards.fitted import Fitted, read_fitted
from perennial.models.guards.fitting import fit_guards
from perennial.models.guards.spec import FailSafe
from perennial.models.preparation import Preparation, learn
from perennial.serve.asked import Asked
from perennial.serve.guarding import Guarding, accepting
from perennial.serve.intake import Intake

NUMBERS = ["education", "experience"]


@pytest.fixture(scope="module")
def wages(shared_data: Path) -> pl.DataFrame:
    """28,155 men in 1988, in random order."""
    path = shared_data / "cps_wages" / "cps1988.csv.gz"
    return pl.read_csv(path).drop("rownames").sample(fraction=1.0, shuffle=True, seed=0)


@pytest.fixture(scope="module")
def known(wages: pl.DataFrame) -> pl.DataFrame:
    """5,000 of them of which none lives in the south."""
    return wages.filter(pl.col("region") != "south").head(5000)


@pytest.fixture(scope="module")
def preparation(known: pl.DataFrame) -> Preparation:
    return learn(known.to_arrow(), target="wage")


def policy(*guards: Guard, interval: IntervalPolicy | None = None, links: tuple[Fallback, ...] = ()) -> FailSafe:
    return FailSafe.of(FailSafePolicy(guards=guards, interval=interval, fallbacks=links))


@pytest.fixture
def guarding(known: pl.DataFrame, preparation: Preparation) -> Callable[..., Guarding]:
    def make(*guards: Guard, **options: Any) -> Guarding:
        failsafe = policy(*guards, **options)
        fitted = fitted_on(failsafe, preparation, known, calibration=options.get("interval") is not None)
        return Guarding(preparation.signature, fitted, failsafe)

    return make


def fitted_on(failsafe: FailSafe, preparation: Preparation, known: pl.DataFrame, *, calibration: bool) -> Fitted:
    """As a package has it: written to its files and read again."""
    table = known.to_arrow()
    given = None
    if calibration:
        model = LinearRegression().fit(known.head(2000).select(NUMBERS).to_numpy(), known["wage"].head(2000).to_numpy())
        parts = [
            Answered(
                frame=preparation.raw(part.to_arrow()),
                truth=part["wage"].to_numpy(),
                values=model.predict(part.select(NUMBERS).to_numpy()),
            )
            for part in (known[2000:4000], known[4000:])
        ]
        given = Calibration(rows=parts[0], test=parts[1], says="two thousand rows that it had not seen")
    made = fit_guards(
        failsafe,
        preparation.signature,
        rows=preparation.raw(table),
        target=preparation.y(table),
        calibration=given,
    )
    read = read_fitted(made.to_files())
    assert read is not None
    return read


def asked(preparation: Preparation, *changes: dict[str, Any], by_column: bool = False) -> Asked:
    """Rows of a usual man, but for the changes."""
    usual = {
        "education": 12, "experience": 15, "ethnicity": "cauc", "smsa": "yes", "region": "midwest", "parttime": "no"
    }  # fmt: skip
    intake = Intake(accepting(preparation.signature, policy(guard.missing(action="flag"))))
    rows = [usual | change for change in changes or ({},)]
    if by_column:
        return intake.of_columns({name: [row[name] for row in rows] for name in usual})
    return intake.of_records(rows)


def flags(guarded: Any) -> list[list[tuple[str, str, str | None]]]:
    return [[(flag.guard, flag.action, flag.column) for flag in row] for row in guarded.flags]


EVERY = (
    guard.range(action="flag"),
    guard.missing(action="fill"),
    guard.unseen(action="fall_back"),
    guard.unforeseen(p=0.001, action="abstain"),
)


@pytest.mark.parametrize("by_column", [False, True])
def test_nothing_fires_on_a_usual_row(
    guarding: Callable[..., Guarding], preparation: Preparation, *, by_column: bool
) -> None:
    made = guarding(*EVERY)
    assert made.problems == []
    assert made.before(asked(preparation, by_column=by_column)) is None
    assert made.before(asked(preparation, {}, {"experience": 20}, by_column=by_column)) is None


def test_nothing_declared_is_nothing_computed(preparation: Preparation) -> None:
    made = Guarding(preparation.signature, None, FailSafe())
    assert made.before(asked(preparation, {"education": 900})) is None
    assert made.looks_at_answers is False
    assert made.after(asked(preparation), [float("nan")]) is None


@pytest.mark.parametrize("by_column", [False, True])
def test_S14_each_violation_is_told_with_its_column_and_routed(
    guarding: Callable[..., Guarding], preparation: Preparation, *, by_column: bool
) -> None:
    made = guarding(*EVERY)
    request = asked(
        preparation,
        {},
        {"experience": 900},
        {"education": None},
        {"region": "south"},
        {"region": "south", "experience": 900},
        by_column=by_column,
    )
    guarded = made.before(request)
    assert guarded is not None
    far = [("range", "flag", "experience"), ("unforeseen", "abstain", None)]
    south = [("unseen", "fall_back", "region")]
    assert flags(guarded) == [[], far, [("missing", "fill", "education")], south, [far[0], *south, far[1]]]
    assert guarded.needs == ["model", "abstain", "model", "fall_back", "abstain"]
    assert guarded.rows == [0, 2]
    assert guarded.for_model().records()[1]["education"] == 12  # the median
    assert request.rows()[2][0] is None  # the request itself stays as it came


def test_a_wage_from_a_region_that_training_did_not_have_is_unseen(
    guarding: Callable[..., Guarding], preparation: Preparation, wages: pl.DataFrame
) -> None:
    made = guarding(guard.unseen())
    rows = wages.drop("wage").tail(2000)
    guarded = made.before(Intake(preparation.signature).of_records(rows.to_dicts()))
    assert guarded is not None
    fired = [bool(row) for row in guarded.flags]
    assert fired == (rows["region"] == "south").to_list()
    assert guarded.flags[fired.index(True)][0].says == "training has no region 'south'"


def test_S14_reject_names_the_value(guarding: Callable[..., Guarding], preparation: Preparation) -> None:
    made = guarding(guard.range(action="reject"))
    with pytest.raises(Invalid, match="900 lies outside") as caught:
        made.before(asked(preparation, {}, {"experience": 900}))
    assert caught.value.where == "records[1].experience"
    with pytest.raises(Invalid) as caught:
        made.before(asked(preparation, {}, {"experience": 900}, by_column=True))
    assert caught.value.where == "columns.experience[1]"


def test_S14_fill_takes_the_nearest_bound_and_the_usual_category(
    guarding: Callable[..., Guarding], preparation: Preparation, known: pl.DataFrame
) -> None:
    made = guarding(guard.range(action="fill", widen=0.013), guard.unseen(action="fill"))
    guarded = made.before(asked(preparation, {"experience": 900, "region": "south"}))
    assert guarded is not None
    (row,) = guarded.for_model().records()
    low, high = int(known["experience"].min()), int(known["experience"].max())  # type: ignore[call-overload]
    assert row["experience"] == int(high + 0.013 * (high - low))
    assert isinstance(row["experience"], int)
    assert row["region"] == known["region"].mode().sort()[0]
    assert guarded.needs == ["model"]


def test_a_matrix_that_is_at_hand_is_taken_and_never_changed(
    guarding: Callable[..., Guarding], preparation: Preparation
) -> None:
    made = guarding(guard.range(action="fill"), guard.unforeseen())
    request = asked(preparation, {"experience": 900})
    assert [column.name for column in made.numbers] == NUMBERS
    matrix = made.matrix(request)
    assert matrix.tolist() == [[12.0, 900.0]]
    assert made.before(request, matrix) is not None
    assert matrix.tolist() == [[12.0, 900.0]]
    assert made.before(request, np.array([[12.0, 15.0]])) is None


def test_missing_is_no_broken_range_and_not_unforeseen(
    guarding: Callable[..., Guarding], preparation: Preparation
) -> None:
    made = guarding(guard.range(), guard.unseen(), guard.unforeseen())
    assert made.before(asked(preparation, {"education": None, "region": None})) is None
    assert made.before(asked(preparation, {"education": None, "region": None}, {})) is None


def test_requests_are_checked_by_what_guards_let_through(preparation: Preparation) -> None:
    row = {"education": None, "experience": 1, "ethnicity": "cauc", "smsa": "yes", "region": "west", "parttime": "no"}
    with pytest.raises(Invalid, match="education"):
        Intake(preparation.signature).of_records([row])
    assert Intake(accepting(preparation.signature, policy(guard.missing()))).of_records([row]).height == 1
    for refusing in (guard.missing(columns=["region"]), guard.missing(action="reject")):
        with pytest.raises(Invalid, match="education"):
            Intake(accepting(preparation.signature, policy(refusing))).of_records([row])


@pytest.mark.parametrize(
    "answer, value, error, need, told",
    [
        (None, None, "the model answered nan", "model", []),
        ("error", None, "the model answered nan", "model", []),
        ("null", None, None, "model", ["fill"]),
        (-1.0, -1.0, None, "model", ["fill"]),
        ("fall_back", None, None, "fall_back", ["fall_back"]),
        ("abstain", None, None, "abstain", ["abstain"]),
    ],
)
def test_F18_nan_is_answered_as_declared_and_its_neighbours_as_ever(
    preparation: Preparation, answer: Any, value: Any, error: Any, need: str, told: list[str]
) -> None:
    guards = [guard.output(high=1e9)] if answer is None else [guard.nan(answer)]
    made = Guarding(preparation.signature, None, policy(*guards))
    checked = made.after(asked(preparation, {}, {}, {}), [1.0, float("nan"), 3.0])
    assert checked is not None
    assert checked.values == [1.0, value, 3.0]
    assert (checked.errors or [None] * 3) == [None, error, None]
    assert checked.needs == ["model", need, "model"]
    assert [[flag.action for flag in row] for row in checked.flags] == [[], told, []]


def test_an_answer_that_cannot_be_is_cut_or_taken_back(preparation: Preparation) -> None:
    made = Guarding(
        preparation.signature,
        None,
        policy(
            guard.output(low=0, high=1000, action="fill"),
            guard.output(rule="prediction < 50 * experience", action="abstain"),
        ),
    )
    rows = asked(preparation, {}, {}, {"experience": 1}, {"experience": None})
    checked = made.after(rows, np.array([-5.0, 2000.0, 60.0, 60.0]))
    assert checked is not None
    assert checked.values == [0.0, None, None, None]
    assert checked.needs == ["model", "abstain", "abstain", "abstain"]
    assert [flag.says for flag in checked.flags[1]] == [
        "2000 is above 1000",
        "it is not so that prediction < 50 * experience",
    ]
    assert checked.flags[3][0].says == "whether prediction < 50 * experience cannot be told"


def test_intervals_hold_the_wage_and_a_wide_one_falls_back(
    guarding: Callable[..., Guarding], preparation: Preparation, wages: pl.DataFrame, known: pl.DataFrame
) -> None:
    made = guarding(guard.uncertain(wider_than=1500, action="fall_back"), interval=IntervalPolicy(level=0.9))
    model = LinearRegression().fit(known.head(2000).select(NUMBERS).to_numpy(), known["wage"].head(2000).to_numpy())
    fresh = wages.filter(pl.col("region") != "south")[5000:8000]
    answers = model.predict(fresh.select(NUMBERS).to_numpy())
    rows = Intake(preparation.signature).of_records(fresh.drop("wage").to_dicts())
    checked = made.after(rows, answers)
    assert checked is not None
    assert checked.intervals is not None
    widths: list[float] = []
    held = 0
    for truth, need, interval in zip(fresh["wage"], checked.needs, checked.intervals, strict=True):
        assert (interval is None) == (need == "fall_back")
        if interval is not None:
            widths.append(interval[1] - interval[0])
            held += interval[0] <= truth <= interval[1]
    assert max(widths) <= 1500
    assert np.ptp(widths) > 100  # they follow the row
    assert 0 < checked.needs.count("fall_back") < 1000
    plain = guarding(interval=IntervalPolicy(level=0.9))
    every = plain.after(rows, answers)
    assert every is not None
    assert every.intervals is not None
    inside = [low <= truth <= high for truth, (low, high) in zip(fresh["wage"], every.intervals, strict=True)]  # type: ignore[misc]
    assert 0.87 < np.mean(inside) < 0.93


def test_the_level_follows_what_it_is_told(guarding: Callable[..., Guarding], preparation: Preparation) -> None:
    made = guarding(interval=IntervalPolicy(level=0.9))
    assert made.alpha == pytest.approx(0.1)

    def width(alpha: float | None) -> float:
        made.adapt(alpha)
        checked = made.after(asked(preparation), [600.0])
        assert checked is not None
        assert checked.intervals is not None
        low, high = checked.intervals[0]  # type: ignore[misc]
        return high - low

    assert width(0.02) > width(None) == width(0.1) > width(0.4)
    assert width(0.0) == width(-0.3) == float("inf")
    assert width(1.2) == 0.0


def test_the_test_rows_measure_what_the_calibration_is_worth(known: pl.DataFrame, preparation: Preparation) -> None:
    fitted = fitted_on(policy(interval=IntervalPolicy()), preparation, known, calibration=True)
    assert fitted.conformal is not None
    assert fitted.conformal.covered is not None
    assert (fitted.conformal.score, fitted.conformal.rows, fitted.conformal.tested) == ("quantile", 1334, 1000)
    assert 0.86 < fitted.conformal.covered < 0.94
    assert "two thousand rows that it had not seen" in fitted.says[1]


def test_a_group_keeps_the_level_alone(
    guarding: Callable[..., Guarding], preparation: Preparation, wages: pl.DataFrame, known: pl.DataFrame
) -> None:
    model = LinearRegression().fit(known.head(2000).select(NUMBERS).to_numpy(), known["wage"].head(2000).to_numpy())
    fresh = wages.filter((pl.col("region") != "south") & (pl.col("parttime") == "yes"))[500:1500]
    rows = Intake(preparation.signature).of_records(fresh.drop("wage").to_dicts())
    shares: list[float] = []
    for by in (None, "parttime"):
        made = guarding(interval=IntervalPolicy(level=0.8, by=by))
        checked = made.after(rows, model.predict(fresh.select(NUMBERS).to_numpy()))
        assert checked is not None
        assert checked.intervals is not None
        shares.append(
            float(np.mean([low <= y <= high for y, (low, high) in zip(fresh["wage"], checked.intervals, strict=True)]))  # type: ignore[misc]
        )
    assert abs(shares[1] - 0.8) < 0.08 < abs(shares[0] - 0.8)


@pytest.fixture(scope="module")
def digits() -> tuple[Guarding, np.ndarray, np.ndarray, np.ndarray]:
    """Guards of a classifier of digits, and its test rows with probabilities."""
    X, y = load_digits(return_X_y=True)
    names = [f"p{at}" for at in range(64)]
    table = pl.DataFrame(X, schema=names).with_columns(digit=pl.Series(y.astype(str)))
    order = np.random.default_rng(0).permutation(len(y))
    parts = [order[:600], order[600:1200], order[1200:1400], order[1400:]]
    model = LogisticRegression(C=1e-4, max_iter=500).fit(X[parts[0]], y.astype(str)[parts[0]])
    p = model.predict_proba(X)
    preparation = learn(table.to_arrow(), target="digit")
    failsafe = policy(
        guard.uncertain(risk=0.05),
        guard.unforeseen(),
        interval=IntervalPolicy(by="class"),
        links=(fallback.constant(),),
    )
    classes = preparation.signature.classes or []
    rows, test = (
        Answered(
            frame=table[part.tolist()].drop("digit"),
            truth=y.astype(str)[part].astype(object),
            probabilities=p[part],
            classes=classes,
        )
        for part in parts[1:3]
    )
    fitted = fit_guards(
        failsafe,
        preparation.signature,
        rows=table[order[:1400].tolist()].drop("digit"),
        target=y.astype(str)[order[:1400]].astype(object),
        calibration=Calibration(rows=rows, test=test, says="600 digits"),
    )
    return Guarding(preparation.signature, fitted, failsafe), X[parts[3]], p[parts[3]], y.astype(str)[parts[3]]


def test_an_uncertain_digit_is_left_to_a_person_and_the_rest_is_right(
    digits: tuple[Guarding, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    made, X, p, truth = digits
    rows = Asked(tuple(column.name for column in made.numbers), rows=[tuple(row) for row in X.tolist()])
    labels = np.array([str(at) for at in range(10)])[p.argmax(axis=1)]
    checked = made.after(rows, labels.tolist(), p)
    assert checked is not None
    assert checked.sets is not None
    answered = [at for at, need in enumerate(checked.needs) if need == "model"]
    assert 0.6 * len(truth) < len(answered) < len(truth)
    assert np.mean([checked.values[at] != truth[at] for at in answered]) <= 0.05
    held = [truth[at] in (checked.sets[at] or ()) for at in answered]
    assert np.mean(held) > 0.9
    assert all(checked.values[at] in (checked.sets[at] or ()) for at in answered)
    assert all(checked.sets[at] is None for at in range(len(truth)) if checked.needs[at] == "abstain")


def test_a_blank_image_is_left_to_a_person_and_a_digit_is_not(
    digits: tuple[Guarding, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    made, X, _, _ = digits
    names = tuple(column.name for column in made.numbers)
    blank = made.before(Asked(names, rows=[(0.0,) * 64]))
    assert blank is not None
    assert (blank.needs, blank.flags[0][0].guard, blank.rows) == (["abstain"], "unforeseen", [])
    assert blank.for_model().height == 0
    alone = sum(made.before(Asked(names, rows=[tuple(row)])) is not None for row in X.tolist())
    together = made.before(Asked(names, rows=[tuple(row) for row in X.tolist()]))
    assert alone == (0 if together is None else together.needs.count("abstain"))
    assert alone <= 3  # of 397 at 0.001


def test_the_constant_is_what_training_had_most_of(
    digits: tuple[Guarding, np.ndarray, np.ndarray, np.ndarray],
    guarding: Callable[..., Guarding],
    known: pl.DataFrame,
) -> None:
    value, shares = digits[0].constant()
    assert shares is not None
    assert (value, sum(shares)) == (str(int(np.argmax(shares))), pytest.approx(1.0))
    assert guarding(guard.range(), links=(fallback.constant(),)).constant() == (known["wage"].mean(), None)
    assert guarding(guard.range(), links=(fallback.constant(7.0),)).constant() == (7.0, None)


def test_a_package_that_learned_nothing_says_which_guards_cannot_work(preparation: Preparation) -> None:
    failsafe = policy(*EVERY, guard.uncertain(risk=0.1), guard.nan(), interval=IntervalPolicy())
    made = Guarding(preparation.signature, None, failsafe)
    assert [problem.split()[0] for problem in made.problems] == [
        *("range", "missing", "unseen", "unforeseen", "uncertain", "interval")
    ]
    with pytest.raises(Invalid, match="has learned none"):
        made.constant()


def test_a_damaged_file_of_guards_is_no_guard(known: pl.DataFrame, preparation: Preparation) -> None:
    failsafe = policy(guard.unforeseen())
    files = fitted_on(failsafe, preparation, known, calibration=False).to_files()
    assert files == fitted_on(failsafe, preparation, known, calibration=False).to_files()
    assert read_fitted({}) is None
    for name, data in files.items():
        with pytest.raises(Corrupt):
            read_fitted(files | {name: data[: len(data) // 2]})


@pytest.mark.parametrize(
    "found, says",
    [
        (guard.range(columns=["salary"]), "which the model is not given"),
        (guard.range(columns=["region"]), "which is string"),
        (guard.unforeseen(columns=["region"]), "which is string"),
        (guard.missing(columns=["wage"]), "which the model is not given"),
    ],
)
def test_a_guard_that_looks_at_nothing_is_refused(
    known: pl.DataFrame, preparation: Preparation, found: Guard, says: str
) -> None:
    with pytest.raises(DataError, match=says):
        fitted_on(policy(found), preparation, known, calibration=False)


def test_images_are_looked_at_as_one_unit(tmp_path: Path) -> None:
    X, _ = load_digits(return_X_y=True)
    frame = pl.DataFrame({"image": pl.Series(X.reshape(-1, 8, 8), dtype=pl.Array(pl.Float64, (8, 8))), "ink": X.sum(1)})
    preparation = learn(frame.to_arrow(), target="ink")
    failsafe = policy(guard.unforeseen(), guard.range(action="fill"), guard.missing())
    fitted = fit_guards(failsafe, preparation.signature, rows=preparation.raw(frame.to_arrow()), target=X.sum(axis=1))
    assert fitted.unlike is not None
    assert (fitted.unlike.method, fitted.unlike.same_unit) == ("nearest", True)
    made = Guarding(preparation.signature, fitted, failsafe)
    digit = X[0].reshape(8, 8).tolist()
    assert made.before(Asked(("image",), rows=[(digit,)])) is None
    bright = [[40.0] * 8, *digit[1:]]
    guarded = made.before(Asked(("image",), rows=[(digit,), (bright,), (None,)]))
    assert guarded is not None
    assert flags(guarded)[0] == []
    assert flags(guarded)[1][0] == ("range", "fill", "image")
    filled = guarded.asked.rows()
    assert filled[1][0] == [[16.0] * 8, *digit[1:]]
    assert np.asarray(filled[2][0]).shape == (8, 8)
