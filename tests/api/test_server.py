"""What the owner's server answers: limits, errors, keys, headers."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from perennial.api.mlflow.surface import endpoints
from perennial.api.operations import OPERATIONS
from perennial.api.statuses import document, rebuilt, status_of
from perennial.errors import PerennialError, error_named

from .conftest import Served


def test_an_operation_answers_with_json(served: Served) -> None:
    answer = served.call("system.info")
    assert answer.status == 200
    assert answer.json["id"] == served.folder.id


@pytest.mark.parametrize(
    "arguments, names",
    [
        ({"name": 3, "version": 1}, "name"),
        ({"name": "x", "version": "1"}, "version"),
        ({"version": 1}, "name"),
        ({"name": "x", "version": 1, "colour": "red"}, "colour"),
        ([], "models.approve"),
        (b"{", "JSON"),
        (b'{"name":"\\ud800","version":1}', "JSON"),
        (b'{"name":"x","version":1e999}', "version"),
        (b'{"name":"x","version":' + b"9" * 5000 + b"}", "version"),
        (b'{"name":"x","version":NaN}', "JSON"),
        (b"[" * 100_0, "nested"),
        (b"\xff\xfe", "JSON"),
    ],
)
def test_a_request_that_does_not_fit_is_400_and_names_the_argument(
    served: Served, arguments: object, names: str
) -> None:
    answer = served.call("models.approve", arguments)
    assert answer.status == 400
    assert answer.json["error_code"] == "INVALID_PARAMETER_VALUE"
    assert names in answer.json["message"] + answer.json["where"]


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_no_malformed_body_makes_any_operation_fail_with_500(served: Served, operation: str) -> None:
    for body in (b"null", b"[]", b'"x"', b'{"":1}', b'{"name":null,"version":-1}', b'{"name":{"a":[]}}', b"0", b"{}}"):
        assert served.call(operation, body).status < 500, body


def test_a_body_over_the_limit_is_413_and_not_read(served: Served) -> None:
    limit = OPERATIONS["models.approve"].max_bytes
    body = b'{"name":"' + b"x" * limit + b'","version":1}'
    assert served.call("models.approve", body).status == 413
    just = json.dumps({"name": "x", "version": 1}).encode().ljust(limit)
    assert served.call("models.approve", just).status == 404


def test_a_chunked_body_over_the_limit_is_413(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as raw:
        head = (
            f"POST /api/models/approve HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {served.token}\r\n"
            "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        raw.sendall(head.encode())
        sender = threading.Thread(target=_send_without_end, args=(raw,), daemon=True)
        sender.start()
        assert raw.recv(100).startswith(b"HTTP/1.1 413")


def _send_without_end(raw: socket.socket) -> None:
    try:
        while True:
            raw.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")
    except OSError:
        return


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
def test_C05_only_json_is_taken_for_json(served: Served, kind: str) -> None:
    answer = served.call("system.info", content_type=kind)
    assert answer.status == 400
    assert "content type" in answer.json["message"]


@pytest.mark.parametrize("path", ["/nothing", "/api/models/nothing", "/api/models/_decide", "/api", "/..%2f..%2fetc"])
def test_what_is_not_there_is_404(served: Served, path: str) -> None:
    answer = served.ask("POST", path, b"{}", {"content-type": "application/json"})
    assert (answer.status, answer.json["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_another_method_is_405(served: Served) -> None:
    assert served.ask("GET", "/api/models/approve").status == 405


def test_C19_strangers_are_told_what_and_not_where(served: Served) -> None:
    answer = served.ask("POST", "/api/models/get", b'{"name":"x"}', {"content-type": "application/json"})
    assert set(answer.json) == {"error_code", "message", "request_id", "error"}
    assert "remedy" in served.call("models.get", {"name": "x"}).json


def test_C19_an_unforeseen_error_is_500_with_a_request_id_and_no_inside(
    fresh: Served, caplog: pytest.LogCaptureFixture
) -> None:
    fresh.owned.records.close()
    fresh.owned.workspace._services["models"] = None  # whatever it is, it is a bug of ours
    answer = fresh.call("models.list")
    assert answer.status == 500
    assert "NoneType" not in answer.body.decode()
    assert answer.json["request_id"] in caplog.text


def test_C22_every_answer_carries_the_strict_headers(served: Served) -> None:
    for path in ("/", "/health", "/nothing", "/log", "/login?code=x", "/style.css"):
        headers = served.ask("GET", path).headers
        assert "'unsafe" not in headers["content-security-policy"]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert len(headers["perennial-request-id"]) == 16


@pytest.mark.parametrize("kind", [
    "Mistake", "LoopError", "DataError", "ConfigError", "Invalid", "TooLarge", "NotFound", "Conflict", "Forbidden",
    "Refused", "Failure", "StoreError", "Corrupt", "ReadOnly", "Unavailable", "UserCodeError",
])  # fmt: skip
def test_an_error_travels_and_stays_what_it_was(kind: str) -> None:
    error = error_named(kind)("what", where="where", remedy="remedy")
    back = rebuilt(document(error, "1", trusted=True))
    assert (type(back), back.args) == (type(error), error.args)
    mistake = issubclass(error_named(kind), error_named("Mistake"))
    assert (status_of(error) < 500) == (mistake or kind in ("Refused", "UserCodeError"))


def test_only_our_bugs_and_damage_are_500() -> None:
    def below(kind: type[PerennialError]) -> set[type[PerennialError]]:
        return {kind}.union(*(below(child) for child in kind.__subclasses__()))

    assert {kind.__name__ for kind in below(PerennialError) if status_of(kind("")) == 500} == {
        "PerennialError",
        "Failure",
        "Corrupt",
    }


def test_F14_a_repeated_key_changes_nothing_and_answers_the_same(fresh: Served) -> None:
    asked = {"name": "salary", "bundle": "0" * 64, "declaration": {}, "project": "/p"}
    register = {"name": "salary", "package": "0" * 64, "origin": "imported"}
    first = fresh.call("models.register", register, idempotency_key="k1")
    again = fresh.call("models.register", register, idempotency_key="k1")
    assert first.status == again.status == 200
    assert first.json == again.json
    assert len(fresh.call("models.list").json) == 1
    assert fresh.call("models.register", register | {"reason": "other"}, idempotency_key="k1").status == 409
    assert fresh.call("renew.set_loop", asked, idempotency_key="k1").status == 409
    assert fresh.call("models.register", register, idempotency_key="k" * 129).status == 400


def test_decisions_are_recorded_by_name(fresh: Served) -> None:
    for _ in range(2):
        fresh.call("models.register", {"name": "salary", "package": "0" * 64, "origin": "imported"})
    origin = f"http://127.0.0.1:{fresh.port}"
    by_page = fresh.call(
        "models.approve", {"name": "salary", "version": 1}, authorization="", cookie=fresh.log_in("Ada"), origin=origin
    )
    by_token = fresh.call("models.approve", {"name": "salary", "version": 2}, perennial_origin="cli")
    assert by_page.json["decided_by"] == "Ada"
    actors = [event["actor"] for event in fresh.call("events.list", {"kind": "model.approved"}).json]
    assert actors == ["Ada via page", f"{by_token.json['decided_by']} via cli"]


def test_the_openapi_page_lists_every_operation(served: Served) -> None:
    paths = served.ask("GET", "/openapi.json").json["paths"]
    ours = {path: told["post"] for path, told in paths.items() if "/mlflow/" not in path}
    assert {told["operationId"] for told in ours.values()} == set(OPERATIONS)
    assert all(call["x-permission"] for told in paths.values() for call in told.values())


def test_the_openapi_page_lists_every_call_of_mlflow(served: Served) -> None:
    paths = served.ask("GET", "/openapi.json").json["paths"]
    told = {(method.upper(), path) for path, calls in paths.items() for method in calls if "/mlflow/" in path}
    assert told == {(call.method, call.path) for call in endpoints()}
    one = paths["/api/2.0/mlflow/logged-models/{model_id}"]["get"]
    assert [(given["name"], given["in"]) for given in one["parameters"]] == [
        ("model_id", "path"),
        ("allow_deleted", "query"),
    ]
    body = paths["/api/2.0/mlflow/runs/log-parameter"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["key"]


def test_the_clock_of_a_real_workspace_cannot_be_set(served: Served) -> None:
    assert served.call("system.set_clock", {"now": 1}).status == 403
