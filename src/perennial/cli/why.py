"""From one prediction back to everything that it rests on: version, run, code, data, decision and approval."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from perennial.api.connect import Calls
from perennial.cli.output import moment

__all__ = ["reasons", "told"]


def reasons(owner: Calls, prediction_id: str) -> dict[str, Any]:
    """The prediction and what led to it, as plain JSON values.

    Raises:
        NotFound: No such prediction was stored.
    """
    prediction = owner.call("predictions.find", prediction_id=prediction_id)
    name = prediction["endpoint"]
    version = owner.call("models.get", name=name, version=prediction["version"])
    run = owner.call("runs.get", run_id=version["run_id"]) if version["run_id"] else None
    data = None
    if version["dataset"]:
        data = owner.call("datasets.get", name=version["dataset"], version=version["dataset_version"])
    decisions = owner.call("renew.decisions", endpoint=name)
    events = owner.call("events.list", subject=f"model/{name}/{version['version']}")
    return {
        "prediction": prediction,
        "version": version,
        "run": run,
        "data": data,
        "decision": next((decision for decision in decisions if decision["job"] == version["run_id"]), None),
        "events": events,
    }


def told(found: dict[str, Any]) -> Iterable[str]:
    """The same for people."""
    prediction, version, run, data = found["prediction"], found["version"], found["run"], found["data"]
    yield f"prediction {prediction['id']}: {prediction['prediction']}"
    yield f"  asked {moment(prediction['at'])} of {prediction['endpoint']}, answered by its {prediction['arm']} arm"
    yield f"  model version: {version['name']}@{version['version']}, package {version['package'][:12]}"
    who = version["decided_by"] or "nobody yet"
    yield f"    {version['state']}, decided by {who} ({moment(version['decided_at'])})"
    for verdict in version["verdicts"]:
        mark = {True: "passed", False: "FAILED", None: "n/a"}[verdict["passed"]]
        yield f"    {mark}: {verdict['sentence']}: {verdict['says']}"
    if run:
        yield f"  run: {run['id']}"
        yield f"  code: bundle {str(version['bundle'])[:12]}, git {run.get('git_commit') or 'none'}"
    if data:
        yield f"  data: {data['name']} version {data['version']}, {data['rows']} rows, digest {data['logical'][:12]}"
    if found["decision"]:
        yield f"  trained because: {found['decision']['reason']}"
    for event in found["events"]:
        yield f"  {moment(event['at'])}  {event['kind']}  ({event['actor']})"
