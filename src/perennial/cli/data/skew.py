"""`perennial data skew`: is what the prediction service is asked what the model was trained on?"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from perennial.cli.output import emit, progress, table
from perennial.errors import Invalid

if TYPE_CHECKING:
    from perennial.data.skew import Skew

__all__ = ["arguments", "run"]

COLUMNS = {"column": "column", "same": "same value", "decision": "distribution", "psi": "PSI", "floor": "noise floor"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("endpoint", help="whose requests")
    parser.add_argument("dataset", metavar="NAME[@VERSION]|PATH", nargs="?", help="default: what the live model saw")
    parser.add_argument("--key", metavar="COLUMN,...", help="columns that name one thing, to compare value by value")


def run(options: argparse.Namespace) -> int:
    import msgspec

    from perennial.api.connect import open as open_workspace
    from perennial.capture.reading import PredictionReader
    from perennial.data.skew import requests_frame, skew

    with open_workspace(options.home) as ws, progress("reading requests"):
        name = options.dataset
        live = ws.endpoints.get(name=options.endpoint).live
        if name is None:
            if live is None:
                raise Invalid(
                    f"endpoint {options.endpoint!r} serves nothing", remedy="name the dataset to compare with"
                )
            version = ws.models.get(name=options.endpoint, version=live)
            name = f"{version.dataset}@{version.dataset_version}"
        ws.predictions.ingest()
        reader = PredictionReader(ws.objects, ws.predictions)
        asked = reader.predictions(endpoint=options.endpoint)
        hidden = reader.not_kept(asked)
        requests = reader.requests(asked)
        inputs = [{name: value for name, value in row.items() if name not in hidden} for row in requests]
        key = [part for part in (options.key or "").split(",") if part]
        schema = ws.schemas.get(name=name.partition("@")[0])
        found = skew(ws.data.table(name), requests_frame(inputs), key=key, schema=schema and schema.schema)
    emit(options, {"clean": found.is_clean, **msgspec.to_builtins(found)}, _lines(found, options.endpoint, name))
    return 0 if found.is_clean else 1


def _lines(found: Skew, endpoint: str, dataset: str) -> Iterable[str]:
    yield f"{found.requests} requests to {endpoint} beside {dataset}"
    matches = {match.column: match for match in found.matches}
    rows: list[dict[str, object]] = []
    for column in found.drift:
        match = matches.get(column.column)
        rows.append(
            {
                "column": column.column,
                "same": f"{match.equal} of {match.rows}" if match else None,
                "decision": column.decision,
                "psi": column.psi,
                "floor": column.noise_floor,
            }
        )
    yield from table(rows, COLUMNS)
    for match in found.matches:
        for one in match.first:
            whose = ", ".join(f"{name} {value}" for name, value in one.key.items())
            yield f"  {match.column} of {whose}: trained on {one.trained}, asked with {one.served}"
    for name, count in found.unreadable.items():
        yield f"  {name}: {count} values cannot be read as what was trained on"
    for name in found.over_limit:
        yield f"  {name} is over the skew limit of the schema"
    yield "no skew" if found.is_clean else "there is skew"
