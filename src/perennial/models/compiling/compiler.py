"""Try the compiled forms of a model in order, and take the first that is proven and faster; else stay native.

The order is 32 bits, then double precision. What a form lacked is written down, and so is what the native model refuses
(missing values, infinite or too large numbers), so that the compiled form refuses the same.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from perennial.models.compiling.plan import DOUBLE_MAX, Column, Plan
from perennial.models.compiling.scorer import GRAPH, PLAN, CompiledScorer, scorer_of
from perennial.models.facts.compilation import Compilation

if TYPE_CHECKING:
    from perennial.models.flavors.flavor import Scorer
    from perennial.models.signature import Signature

__all__ = ["Compiled", "compile_model"]

SINGLE, DOUBLE = "onnx-float32", "onnx-float64"
TOLERANCE = {SINGLE: 1e-5, DOUBLE: 1e-9}
COUNTS_IN_SINGLE = 1e-6  # a native model whose own answers are no more exact than this computes in 32 bits
FLOAT32_MAX = float(np.finfo(np.float32).max)
TOOLKITS = ("sklearn", "xgboost", "lightgbm", "pytorch", "tensorflow")

Convert = Callable[[str], bytes]


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """`files`: path in the package -> bytes, empty when native. `scorer`: the compiled form, None when native."""

    report: Compilation
    scorer: CompiledScorer | None = None
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])


def compile_model(
    model: Any,
    flavor_name: str,
    signature: Signature,
    native: Scorer,
    x: pl.DataFrame,
    *,
    seed: int = 0,
    convert: Convert | None = None,
) -> Compiled:
    """Convert, prove, time.

    Args:
        model: Fitted.
        flavor_name: Its toolkit.
        signature: What it takes and answers.
        native: The model as it answers natively; the standard of truth.
        x: All test rows as the model's columns.
        seed: Of the boundary inputs.
        convert: Makes the graph of a form ("onnx-float32", "onnx-float64") instead of the toolkit's own conversion.
    """
    if flavor_name == "onnx":
        return Compiled(
            report=Compilation(form=SINGLE if native.relative > COUNTS_IN_SINGLE else DOUBLE, reason="it is one")
        )
    if convert is None and flavor_name not in TOOLKITS:
        return _native(f"models of {flavor_name} have no compiled form")
    if not x.height:
        return _native("there is no test row to prove it on")
    odd = next((column.name for column in signature.columns if column.type in ("binary", "datetime", "date")), None)
    if odd is not None:
        return _native(f"column {odd!r} is no number, and no category either")
    text = next((c.name for c in signature.columns if c.type == "string" and c.categories is None), None)
    if text is not None:
        return _native(f"column {text!r} is open text")
    return _tried(
        model, flavor_name, signature, native, x, seed, convert or _converter(model, flavor_name, signature, native, x)
    )


def _tried(
    model: Any, flavor_name: str, signature: Signature, native: Scorer, x: pl.DataFrame, seed: int, convert: Convert
) -> Compiled:
    from perennial.models.compiling.boundaries import boundary_rows, near_ties
    from perennial.models.compiling.proof import known_of, labels_in, prove
    from perennial.models.compiling.timing import timed, too_slow

    tried: dict[str, str] = {}
    graphs: dict[str, bytes] = {}
    for form in (SINGLE, DOUBLE):
        try:
            graphs[form] = convert(form)
        except Exception as error:  # noqa: BLE001  # converters raise what they like; the reason goes on the card
            tried[form] = _reason(error)
    if not graphs:
        return _native(next(iter(dict.fromkeys(tried.values()))), tried)
    test = known_of(native, x, signature)
    if test.refused.height:
        return _native(f"the native model refuses {test.refused.height} of the test rows", tried)
    columns, largest = _limits(native, x, signature)
    rows = boundary_rows(
        x,
        signature,
        thresholds=_thresholds(model, flavor_name, signature, native),
        missing=[column.takes_missing for column in columns],
        infinite=[column.takes_infinite for column in columns],
        seed=seed,
    ) if columns[0].shape is None else x.clear()  # fmt: skip
    counts_in_single = native.relative > COUNTS_IN_SINGLE
    if signature.task == "classification" and not counts_in_single and columns[0].shape is None:
        # A model that counts in 32 bits does not itself know its label so near a tie.
        def label_of(part: pl.DataFrame) -> Any:
            return labels_in(native.answer(part), signature, native.classes)

        rows = pl.concat([rows, near_ties(x, test.values, label_of, seed=seed)])
    boundary = known_of(native, rows, signature)
    for form, graph in graphs.items():
        tolerance = max(TOLERANCE[form], TOLERANCE[SINGLE] if counts_in_single else 0.0)
        try:
            plan = _plan(native, x, signature, columns, largest, tolerance, flavor_name)
            scorer = scorer_of(graph, plan)
        except Exception as error:  # noqa: BLE001  # ONNX Runtime does not take it: the reason goes on the card
            tried[form] = _reason(error)
            continue
        proof, reason = prove(scorer, test, boundary, signature, tolerance=tolerance)
        if reason is not None:
            tried[form] = f"not proven: {reason}"
            continue
        timing = timed(native, scorer, x)
        slow = too_slow(timing)
        if slow is not None:
            tried[form] = slow
            continue
        told = f"equal on {proof.rows} test rows and {proof.boundary_rows} boundary rows, and faster"
        report = Compilation(form=form, reason=told, tried=tried, main=GRAPH, proof=proof, timing=timing)
        return Compiled(report=report, scorer=scorer, files={GRAPH: graph, PLAN: plan.to_bytes()})
    return _native("; ".join(f"{form}: {why}" for form, why in tried.items()), tried)


def _native(reason: str, tried: dict[str, str] | None = None) -> Compiled:
    return Compiled(report=Compilation(form=None, reason=reason, tried=tried or {}))


def _reason(error: Exception) -> str:
    from perennial.models.compiling.graph import NotCompilable

    says = (str(error).strip().splitlines() or [""])[0][:300]
    return says if isinstance(error, NotCompilable) else f"{type(error).__name__}: {says}"


def _converter(model: Any, flavor_name: str, signature: Signature, native: Scorer, x: pl.DataFrame) -> Convert:
    array = bool(native.options.get("array", False))

    def convert(form: str) -> bytes:
        double = form == DOUBLE
        if flavor_name == "sklearn":
            from perennial.models.compiling.from_sklearn import sklearn_graph

            with_label = signature.task == "classification" and native.answer(x.head(1)).values is not None
            return sklearn_graph(model, signature, x, array=array, double=double, with_label=with_label)
        from perennial.models.compiling.graph import Graph, NotCompilable

        if flavor_name in ("pytorch", "tensorflow"):
            if double:
                raise NotCompilable("networks are compiled in the precision in which they were trained")
            name = "from_torch" if flavor_name == "pytorch" else "from_keras"
            module: Any = importlib.import_module(f"perennial.models.compiling.{name}")
            made: bytes = module.to_onnx(model, x.head(2), native)
            return made
        from perennial.models.compiling.trees import ensemble_graph

        graph = Graph(x.width)
        answer = ensemble_graph(graph, graph.x, _ensemble(native, flavor_name), double=double)
        return graph.finish([(answer, 11)])

    return convert


def _ensemble(native: Scorer, flavor_name: str) -> Any:
    from perennial.models.compiling.boosters import lightgbm_ensemble, xgboost_ensemble

    best = int(str(native.options.get("best", 0) or 0))
    made = xgboost_ensemble if flavor_name == "xgboost" else lightgbm_ensemble
    return made(native.model, best=best)


def _thresholds(model: Any, flavor_name: str, signature: Signature, native: Scorer) -> list[tuple[int, float]]:
    from perennial.models.compiling.from_sklearn import tree_thresholds

    if flavor_name == "sklearn":
        return tree_thresholds(model, signature)
    if flavor_name in ("xgboost", "lightgbm"):
        closed = {i for i, column in enumerate(signature.columns) if column.categories is not None}
        return [(i, split) for i, split in _ensemble(native, flavor_name).thresholds() if i not in closed]
    return []


def _plan(
    native: Scorer,
    x: pl.DataFrame,
    signature: Signature,
    columns: list[Column],
    largest: float,
    tolerance: float,
    flavor_name: str,
) -> Plan:
    found = native.answer(x.head(1))
    answers: Literal["numbers", "probabilities", "both", "labels"] = "numbers"
    if signature.task == "classification":
        answers = "probabilities" if found.values is None else "labels" if found.probabilities is None else "both"
    return Plan(
        columns=columns,
        largest=largest,
        input="float32" if flavor_name in ("pytorch", "tensorflow") else "float64",
        answers=answers,
        classes=native.classes or signature.classes,
        relative=tolerance,
        outputs=["y0", "y1"] if answers == "both" else ["y0"],
    )


def _limits(native: Scorer, x: pl.DataFrame, signature: Signature) -> tuple[list[Column], float]:
    """What the native model refuses, found by asking it for rows with one unusual value."""
    row = x.head(1)

    def refused(value: float | None, among: Sequence[int]) -> set[int]:
        if not among:
            return set()
        rows = pl.concat(
            [
                row.with_columns(pl.lit(value, dtype=x.schema[name]).alias(name))
                for name in (signature.columns[i].name for i in among)
            ]
        )
        try:
            native.answer(rows)
        except Exception:  # noqa: BLE001  # that it refuses is what is asked
            if len(among) == 1:
                return set(among)
            half = len(among) // 2
            return refused(value, among[:half]) | refused(value, among[half:])
        return set()

    shapes = [list(kind.shape) if isinstance(kind, pl.Array) else None for kind in x.dtypes]
    plain = [i for i, shape in enumerate(shapes) if shape is None]
    floats = [i for i in plain if x.dtypes[i] == pl.Float64]
    missing, infinite = refused(None, plain), refused(float("inf"), floats)
    largest = FLOAT32_MAX if refused(1e300, floats[:1]) else DOUBLE_MAX
    return [
        Column(
            name=column.name,
            categories=column.categories,
            shape=shapes[i],
            takes_missing=i not in missing,
            takes_infinite=i not in infinite,
        )
        for i, column in enumerate(signature.columns)
    ], largest
