"""What other policies would have answered: the first version for ever, or a new one each year.

The same code, the same rows, the same requests; only the moments of training differ. Nothing is registered, and the
answers are given for the predictions that were really asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import cast

import polars as pl

from perennial.capture.reading import PredictionReader
from perennial.data.frames import native, to_arrow
from perennial.loop.declaration import Declaration
from perennial.loop.graph import check
from perennial.models.package import Predictor, checkout
from perennial.pipeline.bundle import load_bundle, materialise
from perennial.pipeline.execute import Cached, Execution, StepOutcome
from perennial.registry.versions import package_of
from perennial.renew.fitting import fit_rows
from perennial.renew.rooms import Rooms
from perennial.types import Digest

__all__ = ["replay"]

KnownBy = Callable[[date], date]


def replay(rooms: Rooms, name: str, known_by: KnownBy) -> pl.DataFrame:
    """Every labelled prediction of a loop, with what each policy answered.

    Args:
        rooms: The workspace.
        name: The loop, whose time column holds dates.
        known_by: From the day of a row to the day on which its label was known.

    Returns:
        Columns id, at (microseconds), version, label, loop, never, yearly; ordered by (at, id).
    """
    reader = PredictionReader(rooms.objects, rooms.predictions)
    rows = reader.predictions(endpoint=name).filter(pl.col("label_value").is_not_null()).sort("at", "id")
    first = next(version for version in rooms.models.list(name=name) if version.package is not None)
    never = Predictor.load(checkout(package_of(first), rooms.objects, rooms.folder.serving_cache), trusted=True)
    inputs = reader.inputs(rows, never.signature).select(_asked(never))
    years = [datetime.fromtimestamp(at / 1e6, UTC).year for at in rows["at"]]
    yearly = _yearly(rooms, name, sorted(set(years))[1:], known_by)  # in the first year the first version is new
    answers = pl.Series(_answers(never, inputs), dtype=pl.Float64)
    renewed = answers.clone()
    for year, predictor in yearly.items():
        of_year = pl.Series([found == year for found in years])
        renewed[of_year.arg_true()] = _answers(predictor, inputs.filter(of_year).select(_asked(predictor)))
    return rows.select("id", "at", "version", label="label_value", loop="value", never=answers, yearly=renewed)


def _yearly(rooms: Rooms, name: str, years: list[int], known_by: KnownBy) -> dict[int, Predictor]:
    """A model for each year, trained on its first day on all rows whose labels are known by then."""
    loop = rooms.renew.loop(name=name)
    declaration = Declaration.from_json(loop.declaration)
    wiring = check(declaration)
    bundle = load_bundle(Digest(loop.bundle), rooms.objects)
    nowhere = _Nowhere()
    execution = Execution(
        bundle=bundle,
        declaration=declaration,
        folder=materialise(bundle, rooms.objects, rooms.folder.bundles),
        project=Path(loop.project),
        objects=rooms.objects,
        cache=nowhere,
        listener=nowhere,
        environment=os.environ,
    )
    assert declaration.time is not None
    found: dict[int, Predictor] = {}
    with execution:
        values = {
            step: execution.store(native(to_arrow(execution.collect(step)), "polars")) for step in wiring.collects
        }
        values = execution.run([step for step in wiring.order if declaration.step(step).kind == "step"], values)
        table = to_arrow(execution.load(values[wiring.table]))
        known = [known_by(day) for day in table.column(declaration.time).to_pylist()]
        for year in years:
            rows = [position for position, day in enumerate(known) if day <= date(year, 1, 1)]
            found[year] = fit_rows(execution, declaration, wiring, values, table.take(rows))
    return found


def _asked(predictor: Predictor) -> list[str]:
    return [field.name for field in predictor.signature.inputs if field.required]


def _answers(predictor: Predictor, frame: pl.DataFrame) -> list[float]:
    return [cast(float, answer["prediction"]) for answer in predictor.predict(frame)]


class _Nowhere:
    """Neither remembers results nor records steps: a replay leaves no run behind."""

    def get(self, fingerprint: Digest) -> Cached | None:
        return None

    def step_started(self, name: str) -> None:
        pass

    def step_ended(self, outcome: StepOutcome) -> None:
        pass
