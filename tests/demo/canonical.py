"""The outcome of a demo as canonical JSON: versions, aliases, decisions and findings with their numbers, label counts.

Left out is what names a run of the program rather than what it found: random ids, machine timings ("timing"), real
time, and the digests of objects that hold one of these.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from perennial.api import connect
from perennial.types import canonical_json

NAME = "salary"


def canonical(project: Path) -> bytes:
    with connect.open(project / ".perennial") as ws:
        counts = msgspec.to_builtins(ws.predictions.counts(endpoint=NAME))
        told = {
            "versions": [version_of(found) for found in ws.models.list(name=NAME)],
            "aliases": ws.models.aliases(name=NAME),
            "data": [
                {"name": found.name, "version": found.version, "logical": found.logical, "rows": found.rows}
                for found in sorted(ws.datasets.list(), key=lambda found: (found.name, found.version))
            ],
            # How long answers took is the machine's affair, and not the life's.
            "findings": [stripped(found) for found in ws.monitor.list(endpoint=NAME) if found.kind != "latency"],
            "decisions": [stripped(found, "job") for found in ws.renew.decisions(endpoint=NAME)],
            "rollouts": [stripped(found, "id") for found in ws.endpoints.history(name=NAME)],
            "counts": {name: counts[name] for name in sorted(counts) if name not in {"latest_prediction_at"}},
            "jobs": [
                {"state": job.state, "loop": job.loop, "reason": job.reason, "created": job.created}
                for job in ws.renew.jobs()
            ],
        }
    return canonical_json(told)


def version_of(found: Any) -> dict[str, Any]:
    kept = ("version", "state", "origin", "dataset", "dataset_version", "bundle", "trained_until", "reason", "at")
    return {name: getattr(found, name) for name in kept} | {
        "verdicts": [without_timing(msgspec.to_builtins(verdict)) for verdict in found.verdicts],
        "decided_by": found.decided_by,
    }


def stripped(found: Any, *names: str) -> dict[str, Any]:
    values = msgspec.to_builtins(found)
    return without_timing({name: value for name, value in values.items() if name not in names})


def without_timing(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_timing(item) for key, item in value.items() if key != "timing"}
    return [without_timing(item) for item in value] if isinstance(value, list) else value
