"""What is sent and what must come back: rendered requests, each with the predictions that are right for its rows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["ANSWERS", "Checker", "render"]

MAX_KNOWN = 200_000  # different answers remembered; beyond, each is parsed again


def render(wanted: Mapping[str, Any]) -> list[bytes]:
    """One request for each body. `{n}` in a header becomes the number of the body."""
    names = {"content-type": "application/json"} | wanted.get("headers", {})
    lines = [f"{wanted.get('method', 'POST')} {wanted['path']} HTTP/1.1", f"host: {wanted['host']}:{wanted['port']}"]
    head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in names.items()), ""])
    made = list[bytes]()
    for number, text in enumerate(wanted["bodies"]):
        body = text.encode()
        made.append(b"%scontent-length: %d\r\n\r\n%s" % (head.replace("{n}", str(number)).encode(), len(body), body))
    return made


# How each protocol says what was predicted: the parsed body to (values, version or None).
Reading = tuple[Sequence[Any], Any]


def _plain(told: Any) -> Reading:
    rows = told["predictions"]
    return [row["prediction"] for row in rows], rows[0].get("version")


def _inference(told: Any) -> Reading:
    return told["outputs"][0]["data"], told.get("model_version")


def _listed(told: Any) -> Reading:
    return told["predictions"], None


def _bare(told: Any) -> Reading:
    return told, None


ANSWERS: Mapping[str, Callable[[Any], Reading]] = {
    "plain": _plain,  # POST /predict/{endpoint}: {"predictions": [{"prediction": 1, "version": 3, ...}]}
    "inference": _inference,  # Open Inference Protocol v2
    "listed": _listed,  # {"predictions": [1]}: MLflow's /invocations, and what people write by hand
    "bare": _bare,  # [1]
}


class Checker:
    """Says whether an answer is right for the sample it was sent for, and which version gave it.

    `expected` holds a list of values for each sample, or is a mapping of such lists by version. What varies from one
    answer to the next stands before `marker` (an id); what follows is parsed once and known from then on.
    """

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        self._read = ANSWERS[wanted.get("answer", "plain")]
        self._expected = wanted.get("expected")
        self._marker = wanted.get("marker", '"prediction":').encode()
        self._tolerance = float(wanted.get("tolerance", 0.0))
        self._known: dict[tuple[int, bytes], tuple[bool, Any]] = {}
        self.example = ""

    def check(self, sample: int, body: bytes) -> tuple[bool, Any]:
        at = body.find(self._marker)
        told = (sample, body[at:] if at >= 0 else body)
        found = self._known.get(told)
        if found is None:
            found = self._parse(sample, body)
            if len(self._known) < MAX_KNOWN:
                self._known[told] = found
        return found

    def _parse(self, sample: int, body: bytes) -> tuple[bool, Any]:
        try:
            values, version = self._read(json.loads(body))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            self.example = self.example or f"no predictions in {body[:300]!r}"
            return False, None
        if self._expected is None:
            return True, version
        every = self._expected[str(version)] if isinstance(self._expected, dict) else self._expected
        wanted = every[sample]
        is_right = len(values) == len(wanted) and all(map(self._same, values, wanted))
        if not is_right:
            self.example = self.example or f"{values[:3]} instead of {wanted[:3]} from version {version}"
        return is_right, version

    def _same(self, value: Any, wanted: Any) -> bool:
        if isinstance(wanted, float):
            return isinstance(value, (int, float)) and math.isclose(
                value, wanted, rel_tol=self._tolerance, abs_tol=self._tolerance
            )
        return value == wanted
