"""Calls, what came back, and which requests each of them sent, as values that JSON can carry.

Ids, invented names and times are replaced by stable names in the order in which they appear, so that the documents of
two servers can be compared.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any
from urllib.parse import unquote, urlsplit

import requests

TIMEOUT_S = 60
_HEX = re.compile(r"\b(m-)?[0-9a-f]{32}\b|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?|\b1[6-9]\d{11}\b")
# Asked once a minute, not once a call, so the clock decides which call it belongs to.
_UNCOUNTED = ("/server-info", "/version")


class Unexpected(Exception):
    """A call that must work was refused, or the other way round; the rest of its section has no meaning."""


class Recorder:
    """Makes calls and keeps what came of them, in `entries`."""

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self.entries: list[dict[str, Any]] = []
        self._section = ""
        self._sent: list[str] = []
        self._names: dict[str, str] = {}
        self._counts: dict[str, int] = {}
        self._watch()

    def section(self, name: str, run: Callable[[Recorder], None]) -> bool:
        """Run the calls of a section; a call that goes the wrong way ends it and says so."""
        self._section = name
        try:
            run(self)
        except Unexpected:
            return False
        except Exception as error:
            self._note("(the script itself)", {"broken": f"{type(error).__name__}: {error}"})
            return False
        return True

    def __call__(self, name: str, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """A call that must work. Returns what it returned."""
        self._sent.clear()
        try:
            answer = call(*args, **kwargs)
        except Exception as error:
            self._note(name, {"refused": _told(error), "message": str(error)[:300]})
            raise Unexpected(name) from error
        self._note(name, {"answer": plain(answer)})
        return answer

    def refused(self, name: str, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """A call that must be refused: the code and the HTTP status count, the words do not."""
        self._sent.clear()
        try:
            answer = call(*args, **kwargs)
        except Exception as error:
            self._note(name, {"refused": _told(error)})
            return
        self._note(name, {"answer": plain(answer), "unexpected": "this was to be refused"})

    def either(self, name: str, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        """A call of which only the server knows whether it is a mistake."""
        try:
            self(name, call, *args, **kwargs)
        except Unexpected:
            self.entries[-1].pop("message")

    def rest(self, name: str, method: str, path: str, /, **options: Any) -> Any:
        """A plain request: status and JSON; of an error only its code."""
        self._sent.clear()
        token = os.environ.get("MLFLOW_TRACKING_TOKEN")
        headers = ({"Authorization": f"Bearer {token}"} if token else {}) | options.pop("headers", {})
        response = requests.request(method, self.uri + path, headers=headers, timeout=TIMEOUT_S, **options)
        try:
            body = response.json()
        except ValueError:
            body = None
        told: dict[str, Any] = {"status": response.status_code}
        if response.ok:
            told["json"] = plain(body)
        elif isinstance(body, dict):
            told["error_code"] = body.get("error_code")
        self._note(name, {"answer": told})
        return body

    def know(self, kind: str, value: Any) -> Any:
        """Call this value `kind-N` wherever it appears as a whole text or as a part of a path.

        A plain number, as experiments have it, is replaced in paths and in fields called `experiment_id` alone.
        """
        if (known := f"/{value}" if str(value).isdecimal() else str(value)) not in self._names:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._names[known] = f"{kind}-{self._counts[kind]}"
        return value

    def document(self) -> str:
        return json.dumps(self.entries, indent=1)

    def _note(self, name: str, told: Mapping[str, Any]) -> None:
        times = self._counts[f"call {self._section} {name}"] = self._counts.get(f"call {self._section} {name}", 0) + 1
        entry = {"call": f"{self._section}: {name}" + (f" ({times})" if times > 1 else "")} | dict(told)
        if self._sent:
            entry["requests"] = sorted(self._sent)  # uploads run side by side: their order is nobody's promise
        self.entries.append(self._stable(entry))
        self._sent.clear()

    def _stable(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {self._text(name): self._stable(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [self._stable(item, key) for item in value]
        if key.startswith("experiment_id"):
            return self._names.get(f"/{value}", value)
        if isinstance(value, int) and not isinstance(value, bool) and 1_600_000_000_000 < value < 2_000_000_000_000:
            return "time"
        return self._text(value) if isinstance(value, str) else value

    def _text(self, text: str) -> str:
        if text in self._names:
            return self._names[text]
        text = text.replace(self.uri, "server:")
        parts = text.split("/")
        text = "/".join([parts[0], *(self._names.get(part, self._names.get(f"/{part}", part)) for part in parts[1:])])
        return _TIME.sub("time", _HEX.sub(lambda found: self._names[self.know("id", found[0])], text))

    def _watch(self) -> None:
        """Look at what the client sends; nothing of it is changed."""
        original = requests.Session.send

        def send(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
            response = original(session, request, **options)
            path = unquote(urlsplit(str(request.url)).path)
            if not path.endswith(_UNCOUNTED):
                self._sent.append(f"{request.method} {path} {response.status_code}")
            return response

        requests.Session.send = send  # type: ignore[method-assign]


def plain(value: Any) -> Any:
    """Anything that a client answers, as JSON's values."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, (int, float)) or type(value).__module__ == "numpy":
        return _number(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (datetime.datetime, datetime.date)):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in sorted(value.items(), key=lambda pair: str(pair[0]))}
    if isinstance(value, (list, tuple)) or type(value).__name__.startswith("Repeated"):  # protocol buffers' lists
        items = [plain(item) for item in value]
        return {"page": items, "more": bool(value.token)} if hasattr(value, "token") else items
    if isinstance(value, (set, frozenset)):
        return sorted(str(item) for item in value)
    if hasattr(value, "to_dict") and type(value).__module__.startswith("pandas"):
        return {"columns": {str(name): plain(list(value[name])) for name in sorted(value.columns)}}
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    try:
        return {str(name): plain(item) for name, item in sorted(dict(value).items())}  # MLflow's entities
    except (TypeError, ValueError):
        return f"<{type(value).__name__}>"


def _number(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
        if isinstance(value, list):
            return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _told(error: Exception) -> dict[str, Any]:
    status = getattr(error, "get_http_status_code", lambda: None)()
    return {"kind": type(error).__name__, "code": getattr(error, "error_code", None), "status": status}
