"""`perennial models compare A@1 A@2`: side by side, paired where both answered the same rows, and what is different."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

from perennial.cli.names import model_or_alias
from perennial.cli.output import emit, table

if TYPE_CHECKING:
    from perennial.renew.comparing import Compared

__all__ = ["arguments", "run"]

INSTALLED = 12  # differences of the environment that are listed; --json has all


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="NAME[@VERSION]", help="a number or an alias; the newest without one")
    parser.add_argument("second", metavar="NAME[@VERSION]", help="what is compared with the first")
    parser.add_argument("--margin", type=float, default=0.0, help="a loss that is still acceptable (default 0)")


def run(options: argparse.Namespace) -> int:
    import msgspec

    from perennial.api.connect import open
    from perennial.renew.comparing import compare_versions

    with open(options.home, origin="cli") as ws:
        cards = [ws.cards.get(**model_or_alias(text)) for text in (options.first, options.second)]  # pyright: ignore[reportArgumentType]
        params = [ws.runs.get(run_id=card.lineage.run.id).params if card.lineage.run else {} for card in cards]
        found = compare_versions(cards[0], cards[1], read=ws.objects.get, params=params, margin=options.margin)
    emit(options, msgspec.to_builtins(found), _lines(found))
    return 0


def _lines(found: Compared) -> Iterable[str]:
    from perennial.registry.card.words import told

    rows = [{"name": one.name, "first": told(one.first), "second": told(one.second)} for one in found.metrics]
    if rows:
        yield from table(rows, {"name": "metric", "first": found.first, "second": found.second})
    if found.paired is not None:
        yield f"{found.second} is {found.paired.says} ({found.paired.rows:,} rows, {found.paired.method})"
    else:
        yield f"no paired comparison: {found.unpaired}"
    shown = [one for one in found.differences if one.kind != "environment"]
    installed = [one for one in found.differences if one.kind == "environment"]
    columns = {"kind": "different", "name": "what", "first": found.first, "second": found.second}
    if found.differences:
        yield from table(
            [
                {"kind": one.kind, "name": one.name, "first": one.first, "second": one.second}
                for one in [*shown, *installed[:INSTALLED]]
            ],
            columns,
        )
    if len(installed) > INSTALLED:
        yield f"and {len(installed) - INSTALLED} more distributions (--json lists them)"
