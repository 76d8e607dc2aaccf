"""`perennial runs import`: bring along what MLflow or W&B recorded before."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.cli.output import counted, emit, progress
from perennial.cli.verbs import Verbs

if TYPE_CHECKING:
    from perennial.tracking.importing.bringing import Brought
    from perennial.tracking.importing.found import Store

__all__ = ["add_import"]


def add_import(verbs: Verbs) -> None:
    """Add the verb to those of `perennial runs`."""
    parser = verbs.add("import", run_import, "runs and models of MLflow (database or mlruns folder) or W&B (offline)")
    parser.add_argument("path", type=Path, metavar="PATH", help="mlflow.db, ./mlruns, ./wandb, or one .wandb file")
    parser.add_argument(
        "--artifacts",
        type=Path,
        metavar="FOLDER",
        help="where an MLflow server kept its artifacts, or where they were moved to (default: ./mlartifacts)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be imported")


def run_import(options: argparse.Namespace) -> int:
    from perennial.tracking.importing.opening import open_store

    with progress(f"reading {options.path}") as say:
        store = open_store(options.path, options.artifacts)
        try:
            brought = _bring(options, store, say)
        finally:
            store.close()
    emit(options, brought.plain(), _lines(brought))
    return 1 if brought.problems else 0


def _bring(options: argparse.Namespace, store: Store, say: Callable[[str], None]) -> Brought:
    from perennial.tracking.importing.bringing import Takers, bring

    if options.dry_run:
        return bring(store, None, say)
    from perennial.api.connect import open as open_workspace

    with open_workspace(options.home, origin="cli") as ws:
        return bring(store, Takers(ws.imports, ws.model_imports, ws.objects), say)


def _lines(brought: Brought) -> Iterable[str]:
    doing = "would import" if brought.dry_run else "imported"
    yield f"{doing} from {brought.source} ({brought.kind}):"
    for what, number in brought.counts.items():
        became = ", ".join(f"{count:,} {how}" for how, count in sorted(brought.outcomes.get(what, {}).items()))
        yield f"  {number:,} {what}{f' ({became})' if became else ''}"
    for name, ours in brought.renamed.items():
        yield f"  experiment {name!r} is called {ours!r} here: the name was taken"
    if brought.skipped:
        yield "not carried over:"
    for skip in brought.skipped:
        yield f"  {skip.count:,} {skip.kind}: {skip.reason}"
        yield from (f"    {example}" for example in skip.examples)
    if brought.problems:
        yield f"{counted(len(brought.problems), 'problem')}; everything else is here:"
    for problem in brought.problems:
        yield f"  {problem.what}: {problem.why}"
        if problem.remedy:
            yield f"    to go on: {problem.remedy}"
