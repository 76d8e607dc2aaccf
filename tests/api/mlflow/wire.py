"""One connection to a served workspace that is kept, and what every answer on MLflow's surface must be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPConnection
from typing import Any, NoReturn
from urllib.parse import urlencode

from tests.api.conftest import Answer, Served

AT = "/api/2.0/mlflow/"
JSON = {"content-type": "application/json"}


class Wire:
    """Sends what no client library would, over one connection."""

    def __init__(self, served: Served, *, known: bool = True) -> None:
        self.served = served
        self._known = {"authorization": f"Bearer {served.token}"} if known else {}
        self.is_sqlite = served.owned.records.path is not None
        self._connection = HTTPConnection("127.0.0.1", served.port, timeout=60)

    def send(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = JSON) -> Answer:
        self._connection.request(method, path, body, {**self._known, **headers})
        response = self._connection.getresponse()
        told = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, told, response.read())

    def get(self, path: str, **arguments: Any) -> Answer:
        return self.send("GET", f"{path}?{urlencode(arguments, doseq=True)}", headers={})

    def post(self, path: str, **arguments: Any) -> Answer:
        return self.send("POST", path, json.dumps(arguments).encode())

    def made(self, path: str, **arguments: Any) -> Any:
        """The answer to what must succeed."""
        answer = self.post(AT + path, **arguments)
        assert answer.status == 200, answer.body
        return answer.json

    def close(self) -> None:
        self._connection.close()


def checked(answer: Answer, asked: object) -> Any:
    """What was answered: never a failure of ours, and JSON that every reader takes.

    Only what the surface does not have may be 501.
    """
    shown = f"{asked!r:.500} -> {answer.status} {answer.body[:500]!r}"
    assert answer.status < 500 or answer.status == 501, shown
    assert answer.headers["content-type"] == "application/json", shown
    told = json.loads(answer.body, parse_constant=_no_json)
    assert isinstance(told, dict), shown
    if answer.status != 200:
        assert answer.status >= 400, shown
        for name in ("error_code", "message"):
            assert isinstance(told[name], str), shown
            assert told[name], shown
    return told


def _no_json(text: str) -> NoReturn:
    raise AssertionError(f"{text} is no JSON")
