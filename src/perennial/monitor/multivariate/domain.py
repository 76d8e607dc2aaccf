"""Did the inputs change, all columns together? A domain classifier, reconstruction errors and distances of embeddings.

The domain classifier learns to tell the two windows apart; its scores on rows it was not trained on give one test for
all columns, the columns that gave the windows away, and the density ratio that estimates and diagnosis weigh rows with.
Reconstruction errors see columns that no longer hang together; they are kept as sums. Embeddings are compared as clouds
of points. All three say that inputs changed, never that it hurts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from perennial import stats
from perennial.errors import Invalid
from perennial.monitor.multivariate.encoding import Encoded, encode
from perennial.monitor.multivariate.reconstruction import fit_reconstruction

__all__ = ["DomainScores", "Multivariate", "compare_all", "domain_scores", "embedding_test"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_ROWS = 20_000  # a side
FOLDS = 5
TREES = 60
MIN_ROWS = 50  # a side; fewer give scores that say nothing
IMPORTANCE_ROWS = 1_000  # a fold: 5,000 in all show a loss of AUC of 0.01
RATIO_FLOOR = 0.001  # of 1 - score and of the ratio: beyond, rows have no counterpart to be weighed against


@dataclass(frozen=True, kw_only=True)
class DomainScores:
    """P(current | x) of each chosen row, by a classifier that has not seen the row.

    Attributes:
        reference: shape (n,), in (0, 1).
        current: shape (m,).
        rows_reference: Row numbers in the table passed, ascending, shape (n,).
        rows_current: shape (m,).
        importance: By column, how much of the AUC is lost when its values are shuffled among rows that the classifier
            has not seen; largest first. About 0, also below, for columns that tell nothing.
        left_out: Columns that were not compared, with the reason.
        untrained: Why no classifier was trained (too few rows, no column); then all scores are m/(n + m). Else "".
    """

    reference: Floats
    current: Floats
    rows_reference: Ints
    rows_current: Ints
    importance: Mapping[str, float]
    left_out: Mapping[str, str]
    untrained: str = ""

    def finding(self, *, tolerance_auc: float = 0.55, alpha: float = 0.01) -> stats.Finding:
        """`stats.classifier_test` of the scores; undecided where no classifier was trained."""
        if self.untrained:
            return stats.Finding(
                method="classifier two-sample test",
                decision="undecided",
                reasons=(self.untrained,),
                threshold=tolerance_auc,
                n=len(self.reference),
                m=len(self.current),
                params={"tolerance_auc": tolerance_auc, "alpha": alpha},
            )
        return stats.classifier_test(self.reference, self.current, tolerance_auc=tolerance_auc, alpha=alpha)

    def density_ratios(self) -> Floats:
        """p_current(x)/p_reference(x) of the chosen reference rows, shape (n,): (n/m) score/(1 - score), floored.

        Their mean is about 1 where the classifier is calibrated and the current rows lie within the reference.
        """
        odds = self.reference / np.maximum(1.0 - self.reference, RATIO_FLOOR)
        return np.maximum(len(self.reference) / max(1, len(self.current)) * odds, RATIO_FLOOR)

    def responsible(self, *, least: float = 0.01) -> tuple[str, ...]:
        """Columns without which the classifier loses at least this much AUC, the most important first."""
        return tuple(name for name, lost in self.importance.items() if lost >= least)


def domain_scores(
    reference: pl.DataFrame,
    current: pl.DataFrame,
    *,
    seed: int = 0,
    max_rows: int = MAX_ROWS,
    folds: int = FOLDS,
    importance: bool = True,
) -> DomainScores:
    """Learn to tell two windows apart, and score each row with a classifier that was trained without it.

    Histogram gradient boosting, which takes missing values and categories as they are. Rows are drawn and dealt into
    folds at random; where rows of one day or entity resemble each other, that lets it recognise them, and windows look
    further apart than they are.

    Args:
        reference: n rows.
        current: m rows; columns are matched by name.
        seed: Of the rows drawn, the folds and the shuffling.
        max_rows: Rows drawn from each side.
        folds: Parts, each scored by the classifier trained on the others.
        importance: Whether to measure it; about half of the time.

    Raises:
        Invalid: `folds` is below 2 or `max_rows` is not positive.
    """
    if folds < 2 or max_rows < 1:
        raise Invalid(f"{folds} folds of at most {max_rows} rows", remedy="pass at least 2 folds and 1 row")
    rng = np.random.default_rng(seed)
    rows_reference, rows_current = (_some(rng, side.height, max_rows) for side in (reference, current))
    n, m = len(rows_reference), len(rows_current)
    encoded = encode(reference[rows_reference], current[rows_current])
    untrained = ""
    if min(n, m) < max(MIN_ROWS, 2 * folds):
        untrained = f"too few rows: {n} and {m}, at least {max(MIN_ROWS, 2 * folds)} needed on each side"
    elif not encoded.sources:
        untrained = "no column could be compared"
    if untrained:
        prior = m / (n + m) if n + m else 0.5
        scores, lost = np.full(n + m, prior), dict.fromkeys(encoded.sources, 0.0)
    else:
        with threadpool_limits(1):  # a second thread gains a third, and on a busy machine costs ten times as much
            scores, lost = _out_of_fold(encoded, rng, folds, importance)
    return DomainScores(
        reference=scores[:n],
        current=scores[n:],
        rows_reference=rows_reference,
        rows_current=rows_current,
        importance=dict(sorted(lost.items(), key=lambda item: -item[1])),
        left_out=encoded.left_out,
        untrained=untrained,
    )


def embedding_test(
    reference: pl.Series | Floats, current: pl.Series | Floats, *, kernel: bool = True, seed: int = 0
) -> stats.Finding:
    """Compare two columns of embeddings as clouds of points, on at most 1,000 rows a side.

    Args:
        reference: A column of arrays or lists of numbers, all of one length, or a matrix of shape (n, d). Rows without
            a value are left out.
        current: The same, m rows.
        kernel: True for the maximum mean discrepancy, False for the energy distance.
        seed: Of the rows drawn and of the permutations.

    Raises:
        Invalid: The embeddings are not numbers of one length.
    """
    before, after = points(reference), points(current)
    if len(before) and len(after) and before.shape[1] != after.shape[1]:
        raise Invalid(
            f"embeddings of {before.shape[1]} numbers in the reference, of {after.shape[1]} now",
            remedy="compare embeddings of one model",
        )
    width = max(before.shape[1], after.shape[1], 1)
    before, after = (side if len(side) else np.empty((0, width)) for side in (before, after))
    return (stats.mmd_test if kernel else stats.energy_test)(before, after, seed=seed)


def points(values: pl.Series | Floats) -> Floats:
    """Embeddings as a matrix, shape (n, d); rows without a value are left out.

    Raises:
        Invalid: They are not numbers of one length.
    """
    if not isinstance(values, pl.Series):
        return np.asarray(values, dtype=np.float64)
    if not (isinstance(values.dtype, pl.Array | pl.List) and values.dtype.inner.is_numeric()):  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue, reportOptionalMemberAccess]
        raise Invalid(f"column {values.name!r} holds {values.dtype}", remedy="pass arrays or lists of numbers")
    kept = values.drop_nulls()
    if len(kept) == 0:
        return np.empty((0, 0))
    if isinstance(kept.dtype, pl.Array):
        kept = kept.arr.to_list()
    lengths = kept.list.len().unique().to_list()
    if len(lengths) != 1 or lengths[0] == 0:
        raise Invalid(f"column {values.name!r} holds embeddings of {sorted(lengths)} numbers", remedy="one length")
    flat = kept.explode().cast(pl.Float64()).to_numpy()
    matrix: Floats = flat.reshape(len(kept), lengths[0])
    return matrix[np.isfinite(matrix).all(axis=1)]


@dataclass(frozen=True, kw_only=True)
class Multivariate:
    """What all columns together say.

    Attributes:
        domain: Test of the domain classifier.
        scores: Its scores.
        reconstruction: Test of the reconstruction errors; None without two numeric or text columns.
        embeddings: Test by column of embeddings.
        says: Sentences, the most important first.
    """

    domain: stats.Finding
    scores: DomainScores
    reconstruction: stats.Finding | None
    embeddings: Mapping[str, stats.Finding]
    says: tuple[str, ...]

    @property
    def is_shifted(self) -> bool:
        """Whether any of the tests says so."""
        tests = [self.domain, self.reconstruction, *self.embeddings.values()]
        return any(test is not None and test.decision == "shifted" for test in tests)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the scores of rows."""
        return {
            "domain": self.domain.as_dict(),
            "importance": dict(self.scores.importance),
            "left_out": dict(self.scores.left_out),
            "reconstruction": None if self.reconstruction is None else self.reconstruction.as_dict(),
            "embeddings": {name: test.as_dict() for name, test in self.embeddings.items()},
            "says": list(self.says),
        }


def compare_all(reference: pl.DataFrame, current: pl.DataFrame, *, seed: int = 0) -> Multivariate:
    """All tests of several columns at once, with their default tolerances.

    Args:
        reference: Rows the model was not trained on, where there are such.
        current: Rows of a window.
        seed: Of every random step.
    """
    scores = domain_scores(reference, current, seed=seed)
    domain = scores.finding()
    fitted = fit_reconstruction(reference, seed=seed)
    errors = None if fitted is None else stats.pca_test(fitted.reference, fitted.sums(current))
    embeddings = {
        name: embedding_test(reference[name], current[name], seed=seed)
        for name in reference.columns
        if name in current.columns and is_embedding(reference[name]) and is_embedding(current[name])
    }
    return Multivariate(
        domain=domain,
        scores=scores,
        reconstruction=errors,
        embeddings=embeddings,
        says=tuple(_sentences(domain, scores, errors, embeddings)),
    )


def is_embedding(series: pl.Series) -> bool:
    """Whether a column holds arrays or lists of numbers."""
    return isinstance(series.dtype, pl.Array | pl.List) and series.dtype.inner.is_numeric()  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue, reportOptionalMemberAccess]


def _sentences(
    domain: stats.Finding,
    scores: DomainScores,
    errors: stats.Finding | None,
    embeddings: Mapping[str, stats.Finding],
) -> list[str]:
    said: list[str] = []
    if domain.decision == "shifted":
        columns = scores.responsible()
        by = f", by {', '.join(columns[:5])}" if columns else ""
        said.append(f"a classifier tells the windows apart{by}: {domain.reasons[0]}")
    else:
        said.append(f"all columns together: {domain.reasons[0]}")
    if errors is not None:
        said.append(errors.reasons[0])
    said += [f"{name}: {test.reasons[0]}" for name, test in embeddings.items()]
    return said


def _some(rng: np.random.Generator, rows: int, most: int) -> Ints:
    if rows <= most:
        return np.arange(rows, dtype=np.int64)
    return np.sort(rng.choice(rows, size=most, replace=False)).astype(np.int64)


def _out_of_fold(
    encoded: Encoded, rng: np.random.Generator, folds: int, importance: bool
) -> tuple[Floats, dict[str, float]]:
    from sklearn.ensemble import HistGradientBoostingClassifier

    x: Floats = np.vstack([encoded.reference, encoded.current])
    is_current = np.concatenate([np.zeros(len(encoded.reference)), np.ones(len(encoded.current))])
    fold = np.concatenate([_dealt(rng, len(side), folds) for side in (encoded.reference, encoded.current)])
    scores = np.empty(len(x))
    lost: dict[str, list[float]] = {name: [] for name in encoded.sources}
    for part in range(folds):
        held = np.flatnonzero(fold == part)
        taught = np.flatnonzero(fold != part)
        model: Any = HistGradientBoostingClassifier(
            max_iter=TREES,
            categorical_features=np.array(encoded.is_category),
            early_stopping=False,
            random_state=part,
        ).fit(x[taught], is_current[taught])
        scores[held] = model.predict_proba(x[held])[:, 1]
        if importance:
            some = held if len(held) <= IMPORTANCE_ROWS else np.sort(rng.choice(held, IMPORTANCE_ROWS, replace=False))
            for name, loss in _losses(model, x[some], is_current[some], encoded.sources, rng):
                lost[name].append(loss)
    # A leaf of a separated fold can reach 0 or 1 in floating point; odds must stay finite.
    return np.clip(scores, 1e-9, 1.0 - 1e-9), {name: float(np.mean(each or [0.0])) for name, each in lost.items()}


def _losses(
    model: Any, x: Floats, is_current: Floats, sources: Sequence[str], rng: np.random.Generator
) -> list[tuple[str, float]]:
    """By column of the table: AUC as it is less AUC with the column's values shuffled together."""
    names = list(dict.fromkeys(sources))
    tables = [x]
    for name in names:
        own = [place for place, source in enumerate(sources) if source == name]
        shuffled = x.copy()
        shuffled[:, own] = x[rng.permutation(len(x))][:, own]
        tables.append(shuffled)
    # One call for all: each call of a classifier with categories has a fixed cost of its own.
    scores = model.predict_proba(np.vstack(tables))[:, 1].reshape(len(tables), len(x))
    whole, *others = (_auc(is_current, row) for row in scores)
    return [(name, whole - other) for name, other in zip(names, others, strict=True)]


def _auc(is_current: Floats, scores: Floats) -> float:
    return stats.auc(is_current, scores).estimate


def _dealt(rng: np.random.Generator, rows: int, folds: int) -> Ints:
    """A fold for each row, of equal sizes up to one row."""
    return rng.permutation(np.arange(rows, dtype=np.int64) % folds)
