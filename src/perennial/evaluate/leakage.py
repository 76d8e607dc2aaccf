"""Search for leaks: what gives the target away in the data at hand and will not do so in service.

Six things are looked for: a single column that tells nearly all of the target, or far more than all the others
together; a few numbers that add up to it; a column that holds means of the target; numbers of rows (ids) that predict;
held-out rows that are in the training data as well; and time travel. Each suspicion has its evidence and a strength:
"strong" ones should stop a candidate, "weak" ones are for a person to look at. A search finds what it looks for: no
suspicion is no proof.

Scores are out of sample: learned from training rows, measured on held-out ones, on at most 20,000 of each. For numbers
it is the share of the variance that is explained (R2), for labels the share of their entropy (an estimate from below
of the mutual information, over the entropy).

Source for the kinds: Kaufman, Rosset, Perlich & Stitelman (2012), Leakage in Data Mining, ACM TKDD 6 (4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from perennial import stats
from perennial.data.row_sample import row_codes
from perennial.evaluate.answers import Floats, HeldOut, Ints

__all__ = ["Suspicion", "search_leaks"]

Strength = Literal["strong", "weak"]

MOST_ROWS = 20_000
BINS = 100  # of a number: so fine that a copy of the target explains more than 0.99 of it
BIN_ROWS = 20  # at least, in each bin
NEARLY_ALL = 0.95  # of variance or entropy, by one column
MUCH = 0.6  # by one column, and then compared with all others together
FAR_BEYOND = 0.35  # it leaves at most this share of what all others together leave unexplained
ADDS_UP = 0.999  # of the variance, by at most three numbers in a sum
ID_SCORE = 0.1  # of variance or entropy, by the order of an id
SHARED_ROWS = 0.01  # of the held-out rows, beyond what the data repeat anyway
OUT_OF_ORDER = 0.01  # of the rows
EXACT = 1e-4  # of the target's standard deviation: a mean that was rounded is one still


@dataclass(frozen=True, kw_only=True)
class Suspicion:
    """A possible leak. `columns`: those it is about; none where it is about rows."""

    kind: str
    columns: tuple[str, ...] = ()
    strength: Strength
    says: str
    evidence: dict[str, Any] = field(default_factory=dict[str, Any])


def search_leaks(
    task: str,
    *,
    train: pl.DataFrame,
    train_truth: HeldOut,
    test: pl.DataFrame,
    test_truth: HeldOut,
    features: Sequence[str],
    time: str | None = None,
    key: str | None = None,
) -> list[Suspicion]:
    """Every suspicion, strong ones first.

    Args:
        task: "regression" or "classification".
        train: Columns of the rows that the model was fitted to.
        train_truth: Their truth.
        test: Columns of the held-out rows.
        test_truth: Their truth.
        features: The columns that the model takes.
        time: Column of moments, where there is one.
        key: Column of entities, where there is one.
    """
    usable = [name for name in features if name in train.columns and name in test.columns]
    if len(train) < 2 * BIN_ROWS or not len(test):
        return []
    truth = _truths(task, train_truth, test_truth)
    suspects = _by_columns(task, train, test, truth, usable, time, {time, key})
    if task == "regression":
        suspects += _sums(train, test, truth, usable, {column for one in suspects for column in one.columns})
    suspects += _target_means(task, train, test, truth, usable)
    suspects += _shared_rows(train, test, truth, usable, {time, key})
    suspects += _shared_entities(train, test, key, time)
    suspects += _time_travel(train, test, usable, time)
    return sorted(suspects, key=lambda one: one.strength != "strong")


def _truths(task: str, train: HeldOut, test: HeldOut) -> tuple[Floats | Ints, Floats | Ints]:
    """Both in one coding."""
    if task == "regression":
        return train.truth, test.truth
    classes = train.answers.coded(test.answers.classes).classes
    return train.coded(classes).truth, test.coded(classes).truth


def _some(rows: int) -> Ints:
    return np.unique(np.linspace(0, rows - 1, min(rows, MOST_ROWS)).astype(np.int64))


def _by_columns(
    task: str,
    train: pl.DataFrame,
    test: pl.DataFrame,
    truth: tuple[Any, Any],
    features: list[str],
    time: str | None,
    apart: set[str | None],
) -> list[Suspicion]:
    """Columns that tell nearly all, far more than the others together, or that are ids and tell something."""
    rows, held = _some(len(train)), _some(len(test))
    train, test, y, z = train[rows], test[held], truth[0][rows], truth[1][held]
    scores = {name: _score(task, train[name], test[name], y, z) for name in features}
    found: list[Suspicion] = []
    unit = "variance of the target" if task == "regression" else "entropy of the target"
    ranked = sorted(scores, key=lambda name: -scores[name])
    for name in ranked:
        score = scores[name]
        evidence: dict[str, Any] = {"score": score, "others": {other: scores[other] for other in ranked[:5]}}
        if score >= NEARLY_ALL:
            says = f"{name} alone tells {score * 100:.3g} % of the {unit}"
            found.append(Suspicion(kind="tells all", columns=(name,), strength="strong", says=says, evidence=evidence))
        elif score >= MUCH:
            with threadpool_limits(1):  # so few rows are slower with more, and ten times so on a busy machine
                rest = _joint(task, train, test, y, z, [other for other in features if other != name])
            evidence["all others together"] = rest
            beyond = (1 - score) <= FAR_BEYOND * (1 - rest)
            says = (
                f"{name} alone tells {score * 100:.3g} % of the {unit}, all other columns together {rest * 100:.3g} %"
            )
            strength: Strength = "strong" if beyond else "weak"
            if beyond or score > rest:
                found.append(
                    Suspicion(kind="tells most", columns=(name,), strength=strength, says=says, evidence=evidence)
                )
        elif score >= ID_SCORE and name not in apart and _is_id(train[name]):
            says = (
                f"{name} has another value in nearly every row, as an id has, and its order tells {score * 100:.3g} % "
                f"of the {unit}"
            )
            # Rows numbered as they came tell of a trend, which goes on; any other order was made by somebody who knew.
            in_time = time is not None and _rises_with(train[name], train[time])
            strength = "strong" if score >= MUCH / 2 and not in_time else "weak"
            found.append(
                Suspicion(kind="id predicts", columns=(name,), strength=strength, says=says, evidence=evidence)
            )
    return found


def _score(task: str, train: pl.Series, test: pl.Series, y: Any, z: Any) -> float:
    """Share of the target explained on held-out rows by one column, cut into bins on the training rows; at least 0."""
    if train.dtype != test.dtype or train.dtype.is_nested():
        return 0.0
    bins, held, k = _binned(train, test)
    if task == "regression":
        prior = float(np.mean(y))
        counts = np.bincount(bins, minlength=k)
        means = (np.bincount(bins, y, k) + prior) / (counts + 1)
        left, whole = float(np.mean((z - means[held]) ** 2)), float(np.mean((z - prior) ** 2))
        return max(0.0, 1 - left / whole) if whole > 0 else 0.0
    classes = int(max(y.max(), z.max())) + 1
    prior_probs = (np.bincount(y, minlength=classes) + 0.5) / (len(y) + 0.5 * classes)
    table = np.bincount(bins * classes + y, minlength=k * classes).reshape(k, classes) + prior_probs
    table = table / table.sum(axis=1, keepdims=True)
    left = -float(np.mean(np.log(table[held, z])))
    whole = -float(np.mean(np.log(prior_probs[z])))
    return max(0.0, 1 - left / whole) if whole > 0 else 0.0


def _binned(train: pl.Series, test: pl.Series) -> tuple[Ints, Ints, int]:
    """Bins of equal mass of a number, with equal values in one bin, or the values of a category; missing apart."""
    if train.dtype.is_numeric() or train.dtype.is_temporal() or train.dtype == pl.Boolean:
        a, b = (_floats(column) for column in (train, test))
        present = a[np.isfinite(a)]
        if not len(present):
            return np.zeros(len(a), np.int64), np.zeros(len(b), np.int64), 1
        values, counts = np.unique(present, return_counts=True)
        if len(values) <= BINS and counts.min() >= 2:
            edges = (values[1:] + values[:-1]) / 2
        else:
            parts = max(2, min(BINS, len(present) // BIN_ROWS))
            edges = np.unique(np.quantile(present, np.linspace(0, 1, parts + 1)[1:-1]))
        k = len(edges) + 2
        bins, held = (np.where(np.isnan(x), k - 1, np.searchsorted(edges, x, side="right")) for x in (a, b))
        return bins.astype(np.int64), held.astype(np.int64), k
    texts, others = (column.cast(pl.String, strict=False).fill_null("\1missing") for column in (train, test))
    names = texts.unique().sort()
    number = pl.Series(range(len(names)), dtype=pl.Int64)
    a_codes, b_codes = (
        one.replace_strict(names, number, default=len(names), return_dtype=pl.Int64).to_numpy()
        for one in (texts, others)
    )
    return a_codes, b_codes, len(names) + 1


def _floats(column: pl.Series) -> Floats:
    whole = column.to_physical() if column.dtype.is_temporal() else column
    return whole.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()


def _joint(task: str, train: pl.DataFrame, test: pl.DataFrame, y: Any, z: Any, features: list[str]) -> float:
    """The same share by all of these columns together: gradient boosting on at most 5,000 rows."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    columns, held = [], []
    for name in features:
        if train[name].dtype != test[name].dtype or train[name].dtype.is_nested():
            continue
        if train[name].dtype.is_numeric() or train[name].dtype.is_temporal() or train[name].dtype == pl.Boolean:
            a, b = _floats(train[name]), _floats(test[name])
        else:
            codes, other, k = _binned(train[name], test[name])
            # A category by the mean of what it stands for would leak; by how frequent it is, it cannot.
            shares = np.bincount(codes, minlength=k) + np.arange(k) / (10 * k)
            a, b = shares[codes].astype(np.float64), shares[other].astype(np.float64)
        columns.append(a)
        held.append(b)
    if not columns:
        return 0.0
    some = np.unique(np.linspace(0, len(y) - 1, min(len(y), 5000)).astype(np.int64))
    x, x_held = np.column_stack(columns), np.column_stack(held)
    if task == "regression":
        model = HistGradientBoostingRegressor(max_iter=60, random_state=0).fit(x[some], y[some])
        whole = float(np.mean((z - np.mean(y)) ** 2))
        left = float(np.mean((z - model.predict(x_held)) ** 2))
        return max(0.0, 1 - left / whole) if whole > 0 else 0.0
    if len(np.unique(y[some])) < 2:
        return 0.0
    classifier = HistGradientBoostingClassifier(max_iter=60, random_state=0).fit(x[some], y[some])
    prior = (np.bincount(y, minlength=int(max(y.max(), z.max())) + 1) + 0.5) / (len(y) + 1)
    probs = cast("NDArray[np.float64]", classifier.predict_proba(x_held))
    at = {int(code): column for column, code in enumerate(classifier.classes_)}
    place = np.array([at.get(int(code), -1) for code in z])
    told = np.where(place >= 0, probs[np.arange(len(z)), place], 1e-3)
    left, whole = -float(np.mean(np.log(np.maximum(told, 1e-6)))), -float(np.mean(np.log(prior[z])))
    return max(0.0, 1 - left / whole) if whole > 0 else 0.0


def _is_id(column: pl.Series) -> bool:
    kind = column.dtype
    return (kind.is_integer() or kind == pl.String) and column.n_unique() >= 0.9 * len(column)


def _rises_with(column: pl.Series, time: pl.Series) -> bool:
    if not column.dtype.is_integer():
        return False
    return bool(column[time.arg_sort()].is_sorted())


def _sums(
    train: pl.DataFrame, test: pl.DataFrame, truth: tuple[Any, Any], features: list[str], known: set[str]
) -> list[Suspicion]:
    """Up to three numbers whose weighted sum is the target, chosen one after the other."""
    rows, held = _some(len(train)), _some(len(test))
    y, z = truth[0][rows], truth[1][held]
    whole = float(np.mean((z - np.mean(y)) ** 2))
    numbers = [name for name in features if train[name].dtype.is_numeric()]
    table, other = ({name: _floats(frame[name][at]) for name in numbers} for frame, at in ((train, rows), (test, held)))
    numbers = [name for name in numbers if np.isfinite(table[name]).all() and np.isfinite(other[name]).all()]
    numbers = [name for name in numbers if float(np.std(table[name])) > 0]
    chosen: list[str] = []
    left = y - np.mean(y)
    for _ in range(min(3, len(numbers))):
        fits = {name: abs(float(np.corrcoef(table[name], left)[0, 1])) for name in numbers if name not in chosen}
        fits = {name: fit for name, fit in fits.items() if np.isfinite(fit)}
        if not fits or whole <= 0:
            return []
        chosen.append(max(fits, key=lambda name: fits[name]))
        x, x_held = (np.column_stack([np.ones(len(t[chosen[0]])), *(t[n] for n in chosen)]) for t in (table, other))
        weights, *_ = np.linalg.lstsq(x, y, rcond=None)
        left = y - x @ weights
        score = 1 - float(np.mean((z - x_held @ weights) ** 2)) / whole
        if score >= ADDS_UP and len(chosen) == 1:
            return []  # a copy, which was told by itself
        if score >= ADDS_UP and not set(chosen) <= known:
            parts = {name: float(weight) for name, weight in zip(chosen, weights[1:], strict=True)}
            says = " + ".join(f"{weight:.3g} {name}" for name, weight in parts.items())
            return [
                Suspicion(
                    kind="adds up",
                    columns=tuple(chosen),
                    strength="strong",
                    says=f"{says} is the target: it tells {score * 100:.5g} % of its variance",
                    evidence={"score": score, "weights": parts},
                )
            ]
    return []


def _target_means(
    task: str, train: pl.DataFrame, test: pl.DataFrame, truth: tuple[Any, Any], features: list[str]
) -> list[Suspicion]:
    """Columns of few values, each the mean of the target (the share of a label) over the rows that have it."""
    found: list[Suspicion] = []
    y, z = truth
    labels = [None] if task == "regression" else list(range(int(max(y.max(), z.max())) + 1))
    for name in features:
        if not train[name].dtype.is_float() or train[name].dtype != test[name].dtype:
            continue
        a, b = _floats(train[name]), _floats(test[name])
        for label in labels:
            own = (y, z) if label is None else ((y == label).astype(np.float64), (z == label).astype(np.float64))
            both = _equals_means(np.concatenate([a, b]), np.concatenate(own))
            alone = _equals_means(a, own[0])
            if both is None and alone is None:
                continue
            groups = both if both is not None else alone
            rows, strength = (
                ("the held-out rows among them", "strong") if both is not None else ("training rows", "weak")
            )
            says = f"{name} is the mean of the target over the rows of each of {groups} groups, {rows}"
            found.append(
                Suspicion(
                    kind="target means",
                    columns=(name,),
                    strength=strength,
                    says=says,
                    evidence={"groups": groups},
                )
            )
            break
    return found


def _equals_means(values: Floats, target: Floats) -> int | None:
    """How many distinct values there are, if each is the mean of the target over its rows; None if not."""
    whole = np.isfinite(values)
    if not whole.all():
        values, target = values[whole], target[whole]
    if len(values) < 2:
        return None
    distinct, which = np.unique(values, return_inverse=True)
    spread = float(np.std(target))
    if not 2 <= len(distinct) <= len(values) / 3 or spread == 0:
        return None
    means = np.bincount(which, target) / np.bincount(which)
    return len(distinct) if float(np.abs(means - distinct).max()) <= EXACT * spread else None


def _shared_rows(
    train: pl.DataFrame, test: pl.DataFrame, truth: tuple[Any, Any], features: list[str], apart: set[str | None]
) -> list[Suspicion]:
    """Held-out rows that are training rows as well, target included, beyond what these data repeat by themselves.

    How often that is, the training rows tell: the share of them that have a twin among the others.
    """
    columns = [name for name in features if name not in apart and train[name].dtype == test[name].dtype]
    if not columns:
        return []

    def coded(frame: pl.DataFrame, target: Any) -> NDArray[np.uint64]:
        rounded = [pl.col(name).round_sig_figs(6) if frame[name].dtype.is_float() else pl.col(name) for name in columns]
        return row_codes(frame.select(rounded).with_columns(pl.Series("\1target", target)))

    seen, held = coded(train, truth[0]), coded(test, truth[1])
    distinct, counts = np.unique(seen, return_counts=True)
    twins = float(counts[counts > 1].sum()) / len(seen)
    shared = np.isin(held, distinct)
    count = int(shared.sum())
    share = count / len(held)
    evidence: dict[str, Any] = {"shared": count, "rows": len(held), "twins_in_training": twins}
    evidence["first"] = np.flatnonzero(shared)[:5].tolist()
    clear = stats.clopper_pearson(count, len(held), alpha=0.05).low
    told = f"{count} of {len(held)} held-out rows stand in the training data as well, with the same target"
    if clear > 1.5 * twins + SHARED_ROWS:
        says = f"{told}; of the training rows, {twins * 100:.3g} % have a twin"
        return [Suspicion(kind="shared rows", strength="strong", says=says, evidence=evidence)]
    if share > 5 * SHARED_ROWS:
        says = f"{told}, as often as these data repeat themselves: are rows entered twice?"
        return [Suspicion(kind="shared rows", strength="weak", says=says, evidence=evidence)]
    return []


def _shared_entities(train: pl.DataFrame, test: pl.DataFrame, key: str | None, time: str | None) -> list[Suspicion]:
    """Entities on both sides, where rows are not parted by time: the model is asked about whom it knows."""
    if key is None or time is not None or key not in train.columns or key not in test.columns:
        return []
    both = test[key].is_in(train[key].unique().implode())
    count = int(both.sum() or 0)
    if not count:
        return []
    says = f"{count} of {len(test)} held-out rows are of a {key} that has training rows as well"
    strength: Strength = "strong" if count > 5 * SHARED_ROWS * len(test) else "weak"
    return [Suspicion(kind="shared entities", columns=(key,), strength=strength, says=says, evidence={"rows": count})]


def _time_travel(train: pl.DataFrame, test: pl.DataFrame, features: list[str], time: str | None) -> list[Suspicion]:
    """Held-out rows that are older than the newest training row; columns with moments after the row's own."""
    if time is None or time not in train.columns or time not in test.columns:
        return []
    found: list[Suspicion] = []
    newest = train[time].max()
    older = int((test[time] < newest).sum() or 0)
    if older > OUT_OF_ORDER * len(test):
        says = (
            f"{older} of {len(test)} held-out rows are older than the newest training row: the model saw their future"
        )
        found.append(Suspicion(kind="time travel", strength="strong", says=says, evidence={"older_rows": older}))
    if not train[time].dtype.is_temporal():
        return found
    for name in features:
        if name == time or not test[name].dtype.is_temporal() or test[name].dtype == pl.Time:
            continue
        after = sum(
            int((frame[name].cast(pl.Datetime("us")) > frame[time].cast(pl.Datetime("us"))).sum() or 0)
            for frame in (train, test)
        )
        rows = len(train) + len(test)
        if after > OUT_OF_ORDER * rows:
            says = f"{name} is later than {time} in {after} of {rows} rows: it was not known at that moment"
            evidence = {"later_rows": after}
            found.append(
                Suspicion(kind="time travel", columns=(name,), strength="strong", says=says, evidence=evidence)
            )
    return found
