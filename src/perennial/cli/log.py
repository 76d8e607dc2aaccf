"""`perennial log`: the time line; `--prediction` shows one prediction, `--why` leads to everything behind it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from perennial.cli.output import common, emit, moment

__all__ = ["arguments", "lines", "run"]

PAGE = 1000


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument("subject", nargs="?", help="only about this, for example endpoint/salary or model/salary/3")
    parser.add_argument("--limit", type=int, default=50, help="how many, newest last (default: 50; 0 is all)")
    parser.add_argument("--prediction", metavar="ID", help="what was asked, the answer, guards that fired, labels")
    parser.add_argument("--why", metavar="PREDICTION_ID", help="model version, run, code, data and approval behind it")


def run(options: argparse.Namespace) -> int:
    from perennial.api.connect import calls

    with calls(options.home) as owner:
        if options.prediction:
            prediction = owner.call("predictions.find", prediction_id=options.prediction)
            emit(options, prediction, _prediction(prediction))
            return 0
        if options.why:
            from perennial.cli.why import reasons, told

            found = reasons(owner, options.why)
            emit(options, found, told(found))
            return 0
        events = list(_events(owner, options.subject))[-options.limit :]
    emit(options, events, (line for event in events for line in lines(event)))
    return 0


def lines(event: Mapping[str, Any]) -> Iterator[str]:
    """One event for people: when, what, about what, who; then what it says and the numbers behind it."""
    yield f"{moment(event['at'])}  {event['kind']}  {event['subject']}  ({event['actor']})"
    payload: Mapping[str, Any] = event["payload"]
    for key, value in payload.items():
        if key == "evidence" and value:
            yield f"    {', '.join(_numbers(value))}"
        elif value not in (None, "", [], {}):
            yield f"    {key}: {_short(value)}"


def _prediction(found: Mapping[str, Any]) -> Iterator[str]:
    """One prediction for people."""
    yield f"prediction {found['id']}, asked {moment(found['at'])} of {found['endpoint']}"
    yield f"  answer: {_short(found['prediction'])}, by version {found['version']} ({found['arm']})"
    for name in ("probabilities", "interval", "label_set", "error", "entity", "shadow_prediction", "source"):
        if found[name] not in (None, ""):
            yield f"  {name.replace('_', ' ')}: {_short(found[name])}"
    for flag in found["flags"]:
        yield f"  guard {flag['guard']}: {flag['action']} {flag.get('column', '')} {flag.get('says', '')}".rstrip()
    for name, value in found["input"].items():
        policy = found["policy"].get(name)
        yield f"  {name} = {_short(value)}" + (f"  ({policy})" if policy else "")
    for label in found["labels"]:
        yield f"  label {_short(label['value'])}, {moment(label['at'])} {label['source']}".rstrip()
    if (asked := found["question"]) is not None:
        said = f"{asked['value']}, by {asked['by']}" if asked["answered"] else "nobody answered yet"
        yield f"  left to a person by {asked['guard']}: {said}"


def _events(owner: Any, subject: str | None) -> Iterator[dict[str, Any]]:
    after = 0
    while True:
        page: list[dict[str, Any]] = owner.call("events.list", after=after, limit=PAGE, subject=subject)
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1]["seq"]


def _numbers(evidence: object, name: str = "") -> Iterable[str]:
    if isinstance(evidence, dict):
        for key, value in evidence.items():  # pyright: ignore[reportUnknownVariableType]  JSON of any shape
            yield from _numbers(value, f"{name}.{key}" if name else str(key))  # pyright: ignore[reportUnknownArgumentType]
    elif not isinstance(evidence, list):
        yield f"{name} {_short(evidence)}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
