"""Known faults put into real rows, so that a monitor can be rehearsed: what would it say if this happened?

`inject` takes rows with known truth that the model has not seen, and draws from them a current window in which exactly
one thing is different: who comes (by inputs), what is true of them (by label), what follows from the inputs, or how the
inputs are written. Windows without any change and windows whose inputs move without harm are drawn too: a monitor that
cries at those is of no use. Everything is seeded; nothing is made up but the fault.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from perennial.errors import Invalid
from perennial.evaluate.columns import Grouped, grouped_columns
from perennial.monitor.diagnosing.tilting import bounded, drawn, group_means, harmless, power_for, reaches, standardised
from perennial.monitor.sample import Sample

__all__ = ["FAULTS", "Fault", "Injected", "Predict", "inject"]

Fault = Literal["none", "benign", "covariate", "prior", "concept", "unit error", "null burst", "swapped columns"]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Predict = Callable[[pl.DataFrame], tuple[pl.Series, Floats | None]]
"""Inputs to predictions and, for a classification, the probability of each class, shape (n, classes)."""

FACTORS: Final = (0.001, 0.01, 0.1, 10.0, 100.0, 1000.0)
BENIGN_TILT: Final = 0.8  # exponent per standard deviation along a direction that does no harm
TRIES: Final = 20
LABEL_BINS: Final = 10
REGION: Final = (0.1, 0.5)  # share of the rows in the region where labels change
MINUTE: Final = 60_000_000  # microseconds


@dataclass(frozen=True, kw_only=True)
class Injected:
    """A current window with one known fault.

    Attributes:
        fault: What was done.
        current: The window, in the order of its event times (one row a minute).
        says: What was done, as a sentence.
        columns: Inputs that were touched, or by which rows were chosen; empty where none was.
        where: For a changed relation, the values of the columns that bound its region.
        begins: First row of the window that is touched.
    """

    fault: Fault
    current: Sample
    says: str
    columns: tuple[str, ...] = ()
    where: dict[str, str] | None = None
    begins: int = 0


def inject(
    fault: Fault,
    pool: Sample,
    predict: Predict,
    *,
    rows: int = 2000,
    strength: float = 0.5,
    begins: float = 0.0,
    seed: int = 0,
) -> Injected:
    """Draw a window of rows in which one thing is different.

    - "covariate": rows are drawn by their inputs alone, the harder ones more often; what follows from the inputs stays.
    - "prior": rows are drawn by their label alone, the harder ones more often; the rows of a label stay as they are.
    - "concept": inputs stay; in a region of one or two columns labels are flipped, or for a regression moved.
    - "unit error": a numeric column comes multiplied by a power of ten.
    - "null burst": one to three columns are missing in a stretch of at least a fifth of the rows.
    - "swapped columns": two columns of one kind change places.
    - "benign": rows are drawn by their inputs alone, in such a way that the loss stays where it was.
    - "none": rows are drawn at random.

    Args:
        fault: Which.
        pool: Rows with labels and predictions that neither training nor the reference has seen; rows are drawn without
            repetition, so several times as many as `rows`.
        predict: The model; asked again where inputs are touched.
        rows: Of the window.
        strength: For "covariate", "prior" and "concept": by which part of itself the mean loss is to rise, 0.5 for
            half as much again.
        begins: Share of the window that comes before the fault, in [0, 1).
        seed: Equal seeds give equal windows.

    Raises:
        Invalid: The pool has no labels or too few rows, or nothing in it can be treated in this way (no numeric column,
            no two columns that differ, no mix of labels or inputs that raises the loss by 70 % of `strength`).
    """
    if not 0.0 <= begins < 1.0:
        raise Invalid(f"begins is {begins}", where="a share of the window", remedy="give a number from 0 to below 1")
    known = np.flatnonzero(pool.is_labelled)
    if len(known) < 2 * rows:
        raise Invalid(
            f"{len(known)} rows with labels and predictions are too few to draw {rows} from",
            remedy="give a larger pool, at least twice the rows of the window",
        )
    pool = pool.take(known)
    random = np.random.default_rng(seed)
    before = round(begins * rows)
    order = random.permutation(pool.rows)
    clean, rest = pool.take(order[:before]), pool.take(order[before:])
    made = _MAKERS[fault](rest, predict, rows - before, strength, random)
    current = _joined(clean, made.current)
    return replace(made, current=replace(current, at=MINUTE * np.arange(rows, dtype=np.int64)), begins=before)


# Drawn by weights


def _untouched(pool: Sample, predict: Predict, rows: int, strength: float, random: np.random.Generator) -> Injected:
    return Injected(fault="none", current=drawn(pool, np.zeros(pool.rows), rows, random), says="nothing was changed")


def _covariate(pool: Sample, predict: Predict, rows: int, strength: float, random: np.random.Generator) -> Injected:
    losses = bounded(pool.losses())
    columns = _grouping(pool)
    spread = np.array([float(np.std(group_means(one, losses)[one.codes])) for one in columns]) + 1e-12
    for _ in range(TRIES):  # some columns tell too little about the loss to raise it far
        count = min(len(columns), int(random.integers(2, 5)))
        chosen = random.choice(len(columns), count, replace=False, p=spread / spread.sum())
        picked = [columns[index] for index in sorted(chosen.tolist())]
        hardness = standardised(np.sum([group_means(one, losses)[one.codes] for one in picked], axis=0))
        power = power_for(hardness, losses, strength, rows)
        if reaches(power * hardness, losses, strength, rows):
            names = tuple(one.column for one in picked)
            return Injected(
                fault="covariate",
                current=drawn(pool, power * hardness, rows, random),
                says=f"rows with harder values of {_listed(names)} come more often",
                columns=names,
            )
    raise Invalid(
        f"no choice of inputs raises the loss by {strength:.0%}",
        where=f"{pool.rows} rows to draw {rows} from",
        remedy="ask for a smaller strength, or give a larger pool",
    )


def _benign(pool: Sample, predict: Predict, rows: int, strength: float, random: np.random.Generator) -> Injected:
    losses = bounded(pool.losses())
    columns = _grouping(pool)
    hardness = standardised(np.sum([group_means(one, losses)[one.codes] for one in columns], axis=0))
    chosen = sorted(random.choice(len(columns), min(len(columns), 2), replace=False).tolist())
    picked = [columns[index] for index in chosen]
    direction = standardised(np.sum([random.normal(size=len(one.labels))[one.codes] for one in picked], axis=0))
    names = tuple(one.column for one in picked)
    logits = harmless(BENIGN_TILT * direction, hardness, losses, rows)
    return Injected(
        fault="benign",
        current=drawn(pool, logits, rows, random),
        says=f"other values of {_listed(names)} come more often, and the model is as good on them",
        columns=names,
    )


def _prior(pool: Sample, predict: Predict, rows: int, strength: float, random: np.random.Generator) -> Injected:
    losses = bounded(pool.losses())
    codes = _label_codes(pool)
    means = np.bincount(codes, losses) / np.bincount(codes)
    hardness = standardised(means[codes])
    power = power_for(hardness, losses, strength, rows)
    if not reaches(power * hardness, losses, strength, rows):
        raise Invalid(
            f"no mix of labels raises the loss by {strength:.0%}: the model errs about as often on each",
            remedy="ask for a smaller strength, or take a model that finds some labels harder than others",
        )
    return Injected(
        fault="prior",
        current=drawn(pool, power * hardness, rows, random),
        says="labels that are harder come more often; the rows of each label stay as they are",
    )


def _grouping(pool: Sample) -> list[Grouped]:
    columns = grouped_columns(pool.inputs)
    if not columns:
        raise Invalid("no input groups rows", remedy="a covariate shift needs columns with values that repeat")
    return columns


# Changed labels


def _concept(pool: Sample, predict: Predict, rows: int, strength: float, random: np.random.Generator) -> Injected:
    current = drawn(pool, np.zeros(pool.rows), rows, random)
    inside, where = _region(current.inputs, random)
    losses = current.losses()
    aim = strength * float(losses.mean())
    assert current.labels is not None
    place = np.flatnonzero(inside)
    if current.task == "classification":
        wrong = float(losses[inside].mean())
        gain = max(1.0 - 2.0 * wrong, 0.1) * len(place) / rows  # of flipping every label inside
        share = min(1.0, max(0.25, aim / gain))
        flipped = random.choice(place, max(1, round(share * len(place))), replace=False)
        texts: list[str | None] = current.labels.to_list()
        for row in flipped.tolist():
            others = [name for name in current.classes if name != texts[row]]
            texts[row] = others[int(random.integers(len(others)))]
        labels = pl.Series(current.labels.name, texts, dtype=pl.String())
        said = f"{share:.0%} of the labels are another one"
    else:
        truth = current.labels.cast(pl.Float64()).to_numpy()
        # A move by d changes the squared error by d^2 and twice its product with the present error; signs vary.
        move = float(np.sqrt(aim * rows / len(place))) * (1.0 if random.random() < 0.5 else -1.0)
        labels = pl.Series(current.labels.name, truth + np.where(inside, move, 0.0))
        said = f"the truth is {abs(move):.4g} {'higher' if move > 0 else 'lower'}"
    return Injected(
        fault="concept",
        current=replace(current, labels=labels),
        says=f"where {' and '.join(f'{column} = {value}' for column, value in where.items())}: {said}",
        columns=tuple(where),
        where=where,
    )


def _region(inputs: pl.DataFrame, random: np.random.Generator) -> tuple[NDArray[np.bool_], dict[str, str]]:
    """Rows that share the values of one or two columns, of a size within REGION."""
    columns = grouped_columns(inputs)
    singles: list[tuple[NDArray[np.bool_], dict[str, str]]] = [
        (one.codes == code, {one.column: label}) for one in columns for code, label in enumerate(one.labels)
    ]
    fitting = [one for one in singles if REGION[0] <= float(one[0].mean()) <= REGION[1]]
    large = [one for one in singles if float(one[0].mean()) >= 2 * REGION[0]]
    for _ in range(100):
        if len(large) < 2 or random.random() < 0.5:
            break
        first, second = (large[int(at)] for at in random.choice(len(large), 2, replace=False))
        both = first[0] & second[0]
        if first[1].keys() != second[1].keys() and REGION[0] <= float(both.mean()) <= REGION[1]:
            return both, {**first[1], **second[1]}
    if not fitting:
        raise Invalid(
            "no column has a value that a tenth to half of the rows share", remedy="give inputs that group rows"
        )
    return fitting[int(random.integers(len(fitting)))]


# Touched inputs


def _unit_error(pool: Sample, predict: Predict, rows: int, strength: float, random: np.random.Generator) -> Injected:
    current = drawn(pool, np.zeros(pool.rows), rows, random)
    names = [
        name for name in current.inputs.columns
        if current.inputs[name].dtype.is_numeric() and current.inputs[name].n_unique() > 5
        and float((current.inputs[name].fill_null(0) != 0).cast(pl.Float64()).to_numpy().mean()) > 0.5
    ]  # fmt: skip
    if not names:
        raise Invalid("no input is a quantity", remedy="a unit error needs a numeric column, mostly other than 0")
    name, factor = names[int(random.integers(len(names)))], FACTORS[int(random.integers(len(FACTORS)))]
    touched = current.inputs.with_columns(pl.col(name).cast(pl.Float64()) * factor)
    return Injected(
        fault="unit error",
        current=_asked(current, touched, predict),
        says=f"{name} comes multiplied by {factor:g}",
        columns=(name,),
    )


def _null_burst(pool: Sample, predict: Predict, rows: int, strength: float, random: np.random.Generator) -> Injected:
    current = drawn(pool, np.zeros(pool.rows), rows, random)
    count = min(len(current.inputs.columns), int(random.integers(1, 4)))
    names = tuple(sorted(random.choice(current.inputs.columns, count, replace=False).tolist()))
    length = int(rows * random.uniform(0.2, 1.0))
    start = int(random.integers(0, rows - length + 1))
    row = pl.int_range(pl.len())
    missing = (row >= start) & (row < start + length)
    touched = current.inputs.with_columns(pl.when(~missing).then(pl.col(name)).alias(name) for name in names)
    return Injected(
        fault="null burst",
        current=_asked(current, touched, predict),
        says=f"{_listed(names)} missing in {length} rows from row {start} on",
        columns=names,
    )


def _swapped(pool: Sample, predict: Predict, rows: int, strength: float, random: np.random.Generator) -> Injected:
    current = drawn(pool, np.zeros(pool.rows), rows, random)
    frame = current.inputs
    pairs = [
        (one, other)
        for at, one in enumerate(frame.columns)
        for other in frame.columns[at + 1 :]
        if frame[one].dtype == frame[other].dtype and _differ(frame[one], frame[other])
    ]
    if not pairs:
        raise Invalid("no two inputs of one kind hold different values", remedy="nothing can be swapped here")
    one, other = pairs[int(random.integers(len(pairs)))]
    touched = frame.with_columns(frame[one].alias(other), frame[other].alias(one))
    return Injected(
        fault="swapped columns",
        current=_asked(current, touched, predict),
        says=f"{one} and {other} have changed places",
        columns=(one, other),
    )


def _differ(one: pl.Series, other: pl.Series) -> bool:
    """Whether somebody who looked at the two columns could tell them apart: at most half of the mass in common."""
    if one.dtype.is_numeric():
        values = one.cast(pl.Float64()).drop_nulls().to_numpy(), other.cast(pl.Float64()).drop_nulls().to_numpy()
        edges = np.unique(np.quantile(np.concatenate(values), np.linspace(0, 1, 21)))
        if len(edges) < 3:
            return False
        counts = [np.histogram(part, edges)[0] / max(1, len(part)) for part in values]
        return float(np.minimum(*counts).sum()) <= 0.5
    shares = [dict(part.cast(pl.String()).value_counts(normalize=True).iter_rows()) for part in (one, other)]
    return sum(min(share, shares[1].get(value, 0.0)) for value, share in shares[0].items()) <= 0.5


_MAKERS: Final[dict[Fault, Callable[[Sample, Predict, int, float, np.random.Generator], Injected]]] = {
    "none": _untouched,
    "benign": _benign,
    "covariate": _covariate,
    "prior": _prior,
    "concept": _concept,
    "unit error": _unit_error,
    "null burst": _null_burst,
    "swapped columns": _swapped,
}


def _label_codes(pool: Sample) -> Ints:
    assert pool.labels is not None
    if pool.task == "classification":
        return (pool.labels.cast(pl.String()).rank("dense").to_numpy() - 1).astype(np.int64)
    values = pool.labels.cast(pl.Float64()).to_numpy()
    edges = np.unique(np.quantile(values, np.linspace(0, 1, LABEL_BINS + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right").astype(np.int64)


# Samples


def _asked(sample: Sample, inputs: pl.DataFrame, predict: Predict) -> Sample:
    predictions, probs = predict(inputs)
    return replace(sample, inputs=inputs, predictions=predictions, probs=probs)


def _joined(first: Sample, second: Sample) -> Sample:
    if first.rows == 0:
        return second
    assert first.predictions is not None
    assert second.predictions is not None
    assert first.labels is not None
    assert second.labels is not None
    return replace(
        second,
        inputs=pl.concat([first.inputs, second.inputs], how="vertical_relaxed"),
        predictions=first.predictions.append(second.predictions),
        probs=None if first.probs is None or second.probs is None else np.vstack([first.probs, second.probs]),
        labels=first.labels.cast(second.labels.dtype).append(second.labels),
    )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
