"""Two documents of the client's calls side by side, field by field.

What may differ is named in `IGNORED`, each with its reason, and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["IGNORED", "Difference", "Ignored", "differences", "report"]


class Ignored(NamedTuple):
    """A place in an entry (`call` and `path` are regular expressions that must match in full) that is not compared."""

    call: str
    path: str
    reason: str


# A refusal in one place and not in the other shows in each of these.
_WHOLE = r"(answer|refused|requests|message).*"

IGNORED: tuple[Ignored, ...] = (
    Ignored(
        r"experiments: rename, deleted|registry: to None, others archived|wire: a list|"
        r"logged_models: (search metrics.acc = 'a'|a page that nobody gave)",
        _WHOLE,
        "MLflow answers 500 to a mistake of the caller, on which its client repeats for minutes; ours is a 400",
    ),
    Ignored(
        r"experiments: rename to a name that is taken",
        r"refused\.code",
        "MLflow says BAD_REQUEST, ours says what it is: RESOURCE_ALREADY_EXISTS; both are a 400",
    ),
    Ignored(
        r"experiments: a location with a query",
        _WHOLE,
        "MLflow takes mlflow-artifacts: with a query, although it refuses other locations with one; ours refuses all",
    ),
    Ignored(
        r"searching: tags.stage = 'a' AND|logged_models: search name = 3",
        _WHOLE,
        "MLflow drops an unfinished comparison, or compares a text with a number; ours says what is wrong",
    ),
    Ignored(
        r"wire: (an enum that is none|a truth value as number|a fraction of a step|a step beyond 64 bits)",
        _WHOLE,
        "MLflow takes a value that its type cannot hold and stores another one; ours refuses it",
    ),
    Ignored(r"wire: camelCase", _WHOLE, "MLflow takes camelCase in bodies only, ours in the query of a GET as well"),
    Ignored(
        r"metrics: odd (history [12]|values of the run)",
        r"answer.*",
        "MLflow turns infinities into the greatest finite number; ours keeps them",
    ),
    Ignored(r"artifacts: list folder", r"answer\[\d+\]\.file_size", "MLflow leaves out the size of an empty file"),
    Ignored(r"artifacts: get a folder", r"answer\.error_code", "MLflow's 400 has no code there, ours has one"),
    Ignored(r"wire: an unknown call", r"answer\.error_code", "MLflow's 404 is a page, ours is JSON with a code"),
    Ignored(
        r"wire: .*", r"answer\.json\..*workspace", "one server is one workspace here; clients add the same default"
    ),
)


class Difference(NamedTuple):
    call: str
    path: str
    theirs: Any
    ours: Any

    def __str__(self) -> str:
        return (
            f"{self.call} @ {self.path or 'answer'}\n    MLflow: {_short(self.theirs)}\n    ours:   {_short(self.ours)}"
        )


_ABSENT = "(absent)"


def differences(
    theirs: list[dict[str, Any]], ours: list[dict[str, Any]], used: set[Ignored] | None = None
) -> Iterator[Difference]:
    """Every field in which the two differ, those of `IGNORED` left out; which of them there were, goes into `used`."""
    if [entry["call"] for entry in theirs] != [entry["call"] for entry in ours]:
        yield from _order(theirs, ours)
    by_call = {entry["call"]: entry for entry in ours}
    for entry in theirs:
        call = entry["call"]
        for path, left, right in _walk("", entry, by_call.get(call, {})):
            ignored = [one for one in IGNORED if re.fullmatch(one.call, call) and re.fullmatch(one.path, path)]
            if ignored and used is not None:
                used.update(ignored)
            if not ignored:
                yield Difference(call, path, left, right)


def report(found: list[Difference]) -> str:
    """What a test prints: the ignored fields with their reasons, then what differs."""
    lines = ["fields that are not compared:"]
    lines += [f"  {each.call} @ {each.path}: {each.reason}" for each in IGNORED] or ["  none"]
    lines += [f"fields that differ: {len(found)}"] + [f"  {each}" for each in found]
    return "\n".join(lines)


def _order(theirs: list[dict[str, Any]], ours: list[dict[str, Any]]) -> Iterator[Difference]:
    names, other = {entry["call"] for entry in theirs}, {entry["call"] for entry in ours}
    for call in sorted(other - names):
        yield Difference(call, "call", _ABSENT, "called")


def _walk(path: str, left: Any, right: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(left, dict) and isinstance(right, dict):
        for name in sorted({*left, *right}):
            yield from _walk(f"{path}.{name}" if path else name, left.get(name, _ABSENT), right.get(name, _ABSENT))
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for at, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from _walk(f"{path}[{at}]", one, other)
    elif left != right or isinstance(left, bool) != isinstance(right, bool):
        yield path, left, right


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 300 else text[:300] + "..."
