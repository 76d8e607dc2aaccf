"""Two model versions side by side: what was measured of each, a paired verdict where both answered the same rows, and
what is different in their making.

Read from records and stored answers; no model is loaded.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

import msgspec
import polars as pl

from perennial.errors import Invalid
from perennial.evaluate.answers import Answers, HeldOut
from perennial.evaluate.compare import compare, comparison
from perennial.evaluate.metrics import metric_named
from perennial.models.facts.evaluation import Comparison, Estimate
from perennial.registry.card.facts import Card
from perennial.types import Digest

__all__ = ["Beside", "Compared", "Difference", "compare_versions"]

Read = Callable[[Digest], bytes]


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of both, each on the rows that it was tested on."""

    name: str
    first: Estimate | None
    second: Estimate | None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not the same: `kind` is data, params, features, code, form, environment or requirements."""

    kind: str
    name: str
    first: str
    second: str


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """`paired`: the second against the first on the same rows; None where there are none, and `unpaired` says why."""

    first: str
    second: str
    metric: str | None
    metrics: list[Beside]
    paired: Comparison | None
    unpaired: str
    differences: list[Difference]


def compare_versions(
    first: Card,
    second: Card,
    *,
    read: Read,
    params: Sequence[Mapping[str, str]] | None = None,
    margin: float = 0.0,
) -> Compared:
    """Compare two versions.

    Args:
        first: The card of the one.
        second: The card of the other: a positive effect favours it.
        read: Gives the bytes of a stored object.
        params: Parameters of the run that made each.
        margin: Largest deterioration that is still acceptable, in the unit of the metric.

    Raises:
        Invalid: They answer different questions.
    """
    if first.task != second.task and first.task and second.task:
        raise Invalid(
            f"{_name(first)} is a {first.task}, {_name(second)} a {second.task}",
            remedy="compare two versions that answer the same question",
        )
    paired, unpaired = _paired(first, second, read, margin)
    return Compared(
        first=_name(first),
        second=_name(second),
        metric=second.evaluation.metric if second.evaluation else None,
        metrics=_metrics(first, second),
        paired=paired,
        unpaired=unpaired,
        differences=list(_differences(first, second, params)),
    )


def _metrics(first: Card, second: Card) -> list[Beside]:
    a = first.evaluation.test if first.evaluation else {}
    b = second.evaluation.test if second.evaluation else {}
    return [Beside(name=name, first=a.get(name), second=b.get(name)) for name in dict.fromkeys([*b, *a])]


def _paired(first: Card, second: Card, read: Read, margin: float) -> tuple[Comparison | None, str]:
    """The verdict on rows that both answered: the same held-out rows, or what one answered while the other was live."""
    a, b = first.evaluation, second.evaluation
    if a is None or b is None:
        return None, f"{_name(first if a is None else second)} was never evaluated here"
    if a.answers is None or b.answers is None:
        return None, f"the answers of {_name(first if a.answers is None else second)} were not kept"
    mine = pl.read_parquet(io.BytesIO(read(Digest(b.answers))))
    theirs = pl.read_parquet(io.BytesIO(read(Digest(a.answers))))
    same_data = [data.logical for data in first.lineage.datasets] == [data.logical for data in second.lineage.datasets]
    if same_data and a.split == b.split and mine["truth"].equals(theirs["truth"]):
        return _verdict(first, second, mine["truth"], theirs["prediction"], mine["prediction"], margin), ""
    for one, other, answers, turned in ((second, first, mine, False), (first, second, theirs, True)):
        was_live = any((p.name, p.version) == (other.name, other.version) for p in one.lineage.parents)
        if was_live and "live_prediction" in answers.columns:
            rows = answers.filter(pl.col("live_prediction").is_not_null())
            if rows.height:
                live, own = rows["live_prediction"], rows["prediction"]
                champion, challenger = (own, live) if turned else (live, own)
                return _verdict(first, second, rows["truth"], champion, challenger, margin), ""
    return None, "they were tested on different rows, and neither answered the other's"


def _verdict(
    first: Card, second: Card, truth: pl.Series, champion: pl.Series, challenger: pl.Series, margin: float
) -> Comparison:
    assert second.evaluation is not None
    task, metric = second.evaluation.task, _comparable(second)
    classes = tuple(sorted({*map(str, truth), *map(str, champion), *map(str, challenger)}))
    if task == "regression":
        ours, theirs = (Answers(prediction=series.cast(pl.Float64).to_numpy()) for series in (challenger, champion))
    else:
        ours, theirs = (
            Answers.of_arrays(series.cast(pl.String).to_list(), None, classes, task)
            for series in (challenger, champion)
        )
    values = truth.cast(pl.Float64).to_numpy() if task == "regression" else truth.cast(pl.String).to_list()
    on = HeldOut.of(values, ours, task)
    chosen = metric_named(metric, task)
    found = compare(chosen, on.truth, theirs.coded(on.answers.classes), on.answers, margin=margin)
    return comparison(chosen, found, _name(first), margin)


def _comparable(card: Card) -> str:
    """The main metric, where answers without probabilities suffice for it."""
    assert card.evaluation is not None
    is_regression = card.evaluation.task == "regression"
    plain = ("rmse", "mae", "r2") if is_regression else ("accuracy", "f1_macro", "balanced_accuracy")
    return card.evaluation.metric if card.evaluation.metric in plain else plain[0]


def _differences(first: Card, second: Card, params: Sequence[Mapping[str, str]] | None) -> list[Difference]:
    found: list[Difference] = []

    def tell(kind: str, a: Mapping[str, str], b: Mapping[str, str]) -> None:
        found.extend(
            Difference(kind=kind, name=name, first=a.get(name, "(absent)"), second=b.get(name, "(absent)"))
            for name in dict.fromkeys([*a, *b])
            if a.get(name) != b.get(name)
        )

    tell("data", _data(first), _data(second))
    if params:
        tell("params", params[0], params[1])
    tell("features", _inputs(first), _inputs(second))
    tell("code", _code(first), _code(second))
    tell("form", _form(first), _form(second))
    tell("requirements", _verdicts(first), _verdicts(second))
    tell("environment", _installed(first), _installed(second))
    return found


def _data(card: Card) -> dict[str, str]:
    return {
        data.name: f"version {data.version} ({data.rows:,} rows)"
        if data.version is not None and data.rows is not None
        else data.logical[:12]
        for data in card.lineage.datasets
    }


def _inputs(card: Card) -> dict[str, str]:
    return {field.name: field.type for field in card.inputs if field.is_used}


def _code(card: Card) -> dict[str, str]:
    return {"bundle": card.lineage.bundle[:12]} if card.lineage.bundle else {}


def _form(card: Card) -> dict[str, str]:
    if card.package is None:
        return {}
    served = card.compilation.form or "native" if card.compilation is not None else "native"
    return {"toolkit": card.package.kind, "saved as": card.package.saved_as, "served as": served}


def _verdicts(card: Card) -> dict[str, str]:
    words = {True: "holds", False: "fails", None: "does not apply"}
    return {verdict.sentence: words[verdict.passed] for verdict in card.requirements}


def _installed(card: Card) -> dict[str, str]:
    if card.environment is None:
        return {}
    lines = (line.partition("==") for line in card.environment.distributions)
    return {"python": card.environment.python} | {name: version for name, _, version in lines}


def _name(card: Card) -> str:
    return f"{card.name}@{card.version}"
