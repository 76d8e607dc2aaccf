"""One row and 1,000 rows of the usual models: compiled, natively, and by ONNX Runtime alone. One thread, arrays in."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from measure import Figure, Report, alternating, say

INNER = {1: 200, 1000: 3}  # calls in one timed piece, by rows


def measure(report: Report, folder: Path, *, quick: bool) -> None:
    from perennial.models.compiling.compiler import compile_model
    from perennial.models.flavors import flavor_of
    from perennial.models.preparation import learn

    for name, model, x, y in _models():
        say(f"compiled: {name}")
        frame = pl.DataFrame(x, schema=[f"x{i}" for i in range(x.shape[1])])
        table = frame.with_columns(y=pl.Series(y)).to_arrow()
        preparation = learn(table, target="y", task="classification")
        model.fit(x, y)
        flavor = flavor_of(model)
        test = preparation.columns(preparation.raw(table.slice(0, 1_500)))
        native = flavor.scorer(model, preparation.signature, test)
        compiled = compile_model(model, flavor.name, preparation.signature, native, test)
        scorer = compiled.scorer
        if scorer is None:
            raise SystemExit(f"{name} was not compiled: {compiled.report.reason}")
        for rows in (1, 1000):
            matrix, part = np.ascontiguousarray(x[:rows]), test[np.resize(np.arange(test.height), rows).tolist()]
            feed = {scorer.session.get_inputs()[0].name: matrix}
            outputs = list(scorer.plan.outputs)
            taken = _us(
                rows,
                7 if quick else 21,
                {
                    "ours": lambda: scorer.answer_matrix(matrix),  # noqa: B023  # called before the next turn
                    "bare": lambda: scorer.session.run(outputs, feed),  # noqa: B023
                    "native": lambda: model.predict_proba(matrix),  # noqa: B023
                    "columns": lambda: scorer.columns.of_frame(part),  # noqa: B023
                },
            )
            what = f"{name}, {rows:,} row{'s' if rows > 1 else ''}, arrays in ({compiled.report.form})"
            report.add(
                what,
                Figure("Perennial, compiled", taken["ours"], "us"),
                Figure("ONNX Runtime, `session.run` alone", taken["bare"], "us"),
                Figure(f"{flavor.name}, `predict_proba`", taken["native"], "us"),
                aim="1.2 x `session.run`",
            )
            report.add(f"{name}, {rows:,}: frame to array, apart", Figure("Perennial", taken["columns"], "us"))


def _us(rows: int, rounds: int, works: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    def often(work: Callable[[], object], count: int) -> Callable[[], object]:
        def run() -> None:
            for _ in range(count):
                work()

        return run

    counts = {name: INNER[rows] if name != "native" else 3 for name in works}
    taken = alternating(rounds, 1, {name: often(work, counts[name]) for name, work in works.items()})
    return {name: [seconds / counts[name] * 1e6 for seconds in values] for name, values in taken.items()}


def _models() -> Iterator[tuple[str, Any, Any, Any]]:
    from sklearn.datasets import load_digits, load_iris, make_classification
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    iris, digits = load_iris(return_X_y=True), load_digits(return_X_y=True)
    made = make_classification(20_000, 20, n_informative=10, random_state=0)
    yield "logistic regression on iris", make_pipeline(StandardScaler(), LogisticRegression()), *iris
    yield "random forest of 100 on digits", RandomForestClassifier(100, random_state=0), *digits
    yield "histogram gradient boosting, 20,000 x 20", HistGradientBoostingClassifier(random_state=0), *made
    for module, kind, options in (
        ("xgboost", "XGBClassifier", {"n_jobs": 1}),
        ("lightgbm", "LGBMClassifier", {"n_jobs": 1, "verbose": -1}),
    ):
        try:
            found = importlib.import_module(module)
        except ImportError:
            say(f"compiled: {module} is not installed here and left out")
            continue
        yield f"{found.__name__}, 20,000 x 20", getattr(found, kind)(**options), *made
