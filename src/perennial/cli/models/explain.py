"""`perennial models explain`: what drives a model's answers, and why it answers what it answers to some rows.

Without rows this is what was recorded when the version was registered. For rows the package is loaded in this process,
by the same rule as everywhere: what can run code only where the registry says that exactly these bytes are trusted.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial.cli.models.explain_recorded import bar, recorded, told
from perennial.cli.names import model_or_alias
from perennial.cli.output import counted, emit
from perennial.cli.tables import read_table
from perennial.errors import Invalid

if TYPE_CHECKING:
    import polars as pl

    from perennial.evaluate.explain.one import RowExplanation
    from perennial.models.signature import Signature

__all__ = ["arguments", "run"]

ROWS = 5  # that are explained when none is named
COLUMNS = 12  # that are listed of a row; --json has all


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="NAME[@VERSION]", help="a number or an alias; the newest without one")
    parser.add_argument(
        "--rows",
        type=Path,
        metavar="FILE",
        help="explain these rows: CSV, Parquet or JSON lines (default: what was recorded of the model as a whole)",
    )
    parser.add_argument(
        "--row", type=int, metavar="N", help=f"this row alone, counted from 1 (default: the first {ROWS})"
    )
    parser.add_argument(
        "--of", metavar="LABEL", help="the class to explain (default: the positive, or the answered one)"
    )


def run(options: argparse.Namespace) -> int:
    import msgspec

    from perennial.api.connect import open
    from perennial.evaluate.explain.one import explain_rows
    from perennial.models.package import Predictor, checkout
    from perennial.registry.version import package_of

    if options.rows is None and (options.row is not None or options.of is not None):
        raise Invalid("which rows are to be explained?", remedy="name a table of them: --rows FILE")
    with open(options.home, origin="cli") as ws:
        version = ws.models.get(**model_or_alias(options.model))  # pyright: ignore[reportArgumentType]
        if options.rows is None:
            found = recorded(ws, version)
            emit(options, {"name": version.name, "version": version.version, **msgspec.to_builtins(found)}, told(found))
            return 0
        package = package_of(version)
        trusted = ws.models.is_trusted(package=package)
        folder = checkout(package, ws.objects, ws.folder.serving_cache)
    predictor = Predictor.load(folder, trusted=trusted, native=True)
    try:
        rows, first = _asked(options, predictor.signature)
        explained = explain_rows(predictor, rows, of=_label(options.of, predictor.signature))
    finally:
        predictor.close()
    rowwise = [{"row": first + place, **msgspec.to_builtins(one)} for place, one in enumerate(explained)]
    emit(options, rowwise, _lines(explained, first))
    return 0


def _asked(options: argparse.Namespace, signature: Signature) -> tuple[pl.DataFrame, int]:
    """The rows that were asked for, as requests would bring them, and the number of the first."""
    from perennial.models.rows import to_frame, to_records
    from perennial.serve.intake import Intake

    texts = [field.name for field in signature.inputs if field.type == "string"]
    table = read_table(options.rows, texts=texts)
    names = [field.name for field in signature.inputs if field.required]
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise Invalid(f"the table has no column {missing[0]!r}", where=str(options.rows), remedy="give all columns")
    first = options.row if options.row is not None else 1
    if not 1 <= first <= table.height:
        raise Invalid(
            f"the table has {counted(table.height, 'row')}, row {first} is none of them", where=str(options.rows)
        )
    part = table.select(names)[first - 1 : first if options.row is not None else ROWS]
    asked = Intake(signature).of_records(to_records(part), "rows")
    return to_frame(signature, asked.records()), first


def _label(text: str | None, signature: Signature) -> Any:
    """The class of this name, as the model knows it."""
    if text is None:
        return None
    for label in signature.classes or ():
        if str(label) == text:
            return label
    known = ", ".join(str(label) for label in signature.classes or ()) or "none: it answers numbers"
    raise Invalid(f"the model has no class {text!r}", remedy=f"its classes: {known}")


def _lines(explained: Sequence[RowExplanation], first: int) -> Iterable[str]:
    for place, one in enumerate(explained):
        how = "exact" if one.method in ("tree", "linear") else "by sampling, with standard errors"
        yield f"row {first + place}: {one.prediction}"
        yield f"  {one.unit} of {one.of}: {one.base:.4g} without knowing the row, {one.explained:.4g} for it ({how})"
        most = max((abs(value) for value in one.contributions.values()), default=0.0) or 1.0
        shown = list(one.contributions.items())[:COLUMNS]
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            error = f" +- {one.errors[name]:.2g}" if one.errors is not None else ""
            yield f"  {name:<{width}}  {value:>+10.4g}{error}  {bar(value, most)}".rstrip()
        rest = list(one.contributions.values())[COLUMNS:]
        if rest:
            yield f"  {counted(len(rest), 'other column')} together {sum(rest):+.4g}"
