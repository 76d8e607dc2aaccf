"""`perennial data push`: send dataset versions to a remote."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from perennial.cli.names import dataset_at
from perennial.cli.output import counted, emit, progress

if TYPE_CHECKING:
    from perennial.data.datasets import Datasets, DatasetVersion

__all__ = ["arguments", "run"]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("datasets", metavar="NAME[@VERSION]", nargs="*", help="default: the newest of each dataset")
    parser.add_argument("--remote", metavar="NAME|URL", help="default: the only one, or origin")
    parser.add_argument("--all-versions", action="store_true", help="all that are accepted, not only the newest")
    parser.add_argument("--dry-run", action="store_true", help="say what would be sent, and send nothing")


def run(options: argparse.Namespace) -> int:
    import msgspec

    from perennial.api.connect import open as open_workspace
    from perennial.cli.data.add import size
    from perennial.data.remote.push import push
    from perennial.data.remotes import address_of

    with open_workspace(options.home, origin="cli") as ws, progress("pushing") as tell:
        url = address_of(ws.remotes, options.remote)
        versions = _chosen(ws.datasets, options.datasets, all_versions=options.all_versions)
        pushed = push(ws.data, versions, url, tell=tell, dry_run=options.dry_run)
    sent = "would send" if options.dry_run else "sent"
    says = f"{sent} {counted(pushed.objects, 'object')}, {size(pushed.bytes)}; {pushed.skipped:,} were there already"
    would = "would be" if options.dry_run else "are"
    new = f"{pushed.versions} of {counted(len(versions), 'version')} {would} new at {url}"
    emit(options, msgspec.to_builtins(pushed) | {"url": url}, [new, says])
    return 0


def _chosen(datasets: Datasets, named: list[str], *, all_versions: bool) -> list[DatasetVersion]:
    """The versions that are meant, each once, oldest first."""
    asked = [dataset_at(text) for text in named]
    there = [version for version in datasets.list(limit=1_000_000) if version.manifest and version.state == "accepted"]
    if all_versions:
        names = {name for name, _ in asked} or {version.name for version in there}
        for name, which in asked:
            datasets.get(name=name, version=which)  # so that a name that does not exist is told
        found = [version for version in there if version.name in names]
    elif asked:
        found = [datasets.get(name=name, version=which) for name, which in asked]
    else:
        found = list({version.name: version for version in reversed(there)}.values())
    return sorted({(one.name, one.version): one for one in found}.values(), key=lambda one: (one.name, one.version))
