"""`perennial data batches`: is the newest batch like the ones before it? The bounds are learned, nobody writes them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from perennial.cli.data.named import TABLE, Named
from perennial.cli.output import counted, emit, progress, table
from perennial.errors import Invalid

if TYPE_CHECKING:
    from perennial.data.history.guard import Guard, Unusual
    from perennial.data.scan import Scan

__all__ = ["arguments", "run"]

COLUMNS = {
    "metric": "metric",
    "expected": "expected",
    "low": "from",
    "high": "to",
    "rate": "false alarms",
    "law": "law",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "batches",
        nargs="+",
        metavar=TABLE,
        help="a dataset: its accepted versions (up to VERSION, whatever the state of that one) are the batches; or "
        "files or folders, one batch each, oldest first",
    )
    parser.add_argument(
        "--budget", type=float, default=0.001, help="chance of calling a sound batch unusual (default: 0.001)"
    )
    parser.add_argument("--bounds", action="store_true", help="show every bound that was learned")


def run(options: argparse.Namespace) -> int:
    if not 0 < options.budget < 1:
        raise Invalid(f"{options.budget:g} is no chance", remedy="give --budget a number between 0 and 1")
    import msgspec

    from perennial.data.history.batches import judge_newest

    with Named(options.home) as named, progress("measuring batches"):
        scans: Sequence[Scan] = [scan for what in options.batches for scan in named.batches(what)]
        guard, found = judge_newest(scans, budget=options.budget)
    value = {"unusual": msgspec.to_builtins(found), "guard": msgspec.to_builtins(guard)}
    emit(options, value, _lines(guard, found, scans[-1].says, show_bounds=options.bounds))
    return 1 if found else 0


def _lines(guard: Guard, found: Sequence[Unusual], says: str, *, show_bounds: bool) -> Iterable[str]:
    import msgspec

    if show_bounds:
        rows = [msgspec.structs.asdict(bound) for bound in guard.bounds]
        yield from table(sorted(rows, key=lambda row: (not row["is_chosen"], row["metric"])), COLUMNS)
    tried = len(guard.noticed) + len(guard.missed)
    yield (
        f"learned from {guard.batches} batches; at most {guard.budget:g} false alarms a batch; "
        f"{len(guard.noticed)} of {tried} corruptions tried on the last one are noticed"
    )
    if guard.missed:
        yield f"  not noticed: {', '.join(guard.missed[:10])}{' ...' if len(guard.missed) > 10 else ''}"
    for unusual in found:
        yield f"unusual: {unusual.says}"
    told = f"unusual in {counted(len(found), 'metric')}" if found else "like the batches before it"
    yield f"{says}: {told}"
