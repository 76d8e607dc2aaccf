"""Whatever a request carries, it is answered or refused: never a failure of ours, and nothing is stored by halves."""

from __future__ import annotations

import json
import random
import secrets
import sqlite3
import string
from collections.abc import Iterator
from typing import Any, get_args
from urllib.parse import quote, urlencode

import msgspec
import pytest
import sqlalchemy as sa

from perennial.api.mlflow.endpoint import Endpoint
from perennial.api.mlflow.surface import endpoints
from perennial.store.tables import metadata
from tests.api.mlflow.wire import AT, JSON, Wire, checked

CALLS = endpoints()
ALL = pytest.mark.parametrize(
    "call", CALLS, ids=[f"{call.method} {call.path.partition('/mlflow/')[2]}" for call in CALLS]
)

PARTS = 8  # the usual run sends one in so many hostile values to each place
NOISE = "".join(random.Random(4).choices(string.ascii_letters + string.digits, k=10_000))  # nothing can make it shorter

# As they stand in JSON, where many have no Python value that would be written this way.
HOSTILE = [
    "null", "true", "0", "-1", "1.5", "-0.0", "9223372036854775807", "9223372036854775808", "-9223372036854775809",
    "9999999999999999999", "99999999999999999999", "1e308", "1e999", "-1e999", "9" * 5_000, "0." + "9" * 5_000,
    "NaN", "Infinity", "-Infinity", '""', '" "', '"NaN"', '"Infinity"', '"9223372036854775808"', '"1e999"', '"1_0"',
    '"' + "9" * 5_000 + '"', '"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\udfff\\ud800"', '"\\ufffe"',
    '"\xe4"', '"%"', '"%00"', '"../.."', '"//["', '"s3://["', '"\'"', '"`"', '"true"', '"' + "x" * 10_000 + '"',
    f'"{NOISE}"', f'["{NOISE}"]', f'[{{"key":"{NOISE}","value":"{NOISE}"}}]', '"\\ud83d\\ude00"',
    "[]", "{}", "[[]]", "[{}]", "[null]", '["\\ud800"]', '["\\u0000"]', '[""]', '{"key":"a","value":"b"}', '{"":0}',
    "[" * 60 + "]" * 60, "[" * 100 + "]" * 100, '{"a":' * 60 + "0" + "}" * 60,
    '[{"key":"a","value":"b"},{"key":"a","value":"c"}]', '[{"key":"a\\ud800","value":"b"}]',
    '[{"key":"a","value":"b\\u0000"}]', '[{"key":["a"],"value":{}}]',
    '[{"key":"a","value":1e999,"timestamp":1},{"key":"b","value":NaN,"timestamp":1}]',
    '[{"key":"a","value":1,"timestamp":1,"step":9223372036854775808}]',
    '[{"model_id":"m-x","step":9223372036854775808}]',
    '[{"dataset":{"name":"\\u0000","digest":"d","source":"s","source_type":"t"}}]',
]  # fmt: skip
BODIES = [
    b"", b"null", b"[]", b"[{}]", b'"x"', b"0", b"{", b"}", b"{}}", b"\xff\xfe", b"\xef\xbb\xbf{}", b"NaN", b"\x00",
    b'"\xed\xa0\x80"', b"{} {}", b'{"":1}', b'{"a":1,"a":2}', b"[" * 100_000, b'{"a":' * 100, b'{"\\ud800":1}',
    "{}".encode("utf-16"),
]  # fmt: skip
KINDS = ["", "text/plain", "application/jsonx", "application/x-www-form-urlencoded", "multipart/form-data", ";", "json"]


@pytest.fixture(scope="module")
def things(wire: Wire) -> dict[str, Any]:
    """One of each, that requests can name."""
    experiment = wire.made("experiments/create", name="fuzzed")["experiment_id"]
    run = wire.made("runs/create", experiment_id=experiment)["run"]["info"]["run_id"]
    model = wire.made("logged-models", experiment_id=experiment)["model"]["info"]["model_id"]
    wire.made("registered-models/create", name="registered")
    wire.made("model-versions/create", name="registered", source="s3://bucket/model")
    return {"experiment_id": experiment, "run_id": run, "model_id": model, "name": "registered"}


def plain(call: Endpoint, things: dict[str, Any]) -> dict[str, Any]:
    """A request that is in order, or nearly."""
    known = things | {
        "run_ids": [things["run_id"]], "experiment_ids": [things["experiment_id"]], "experiment_name": "fuzzed",
        "new_name": "x" + secrets.token_hex(8), "key": "k", "tag_key": "k", "metric_key": "k", "value": "1",
        "version": "1", "alias": "best", "stage": "Staging", "source": "s3://bucket/model", "max_results": 5,
        "timestamp": 1, "step": 1, "model_json": '{"artifact_path":"a","flavors":{},"utc_time_created":"","run_id":""}',
    }  # fmt: skip
    if call.path.endswith("/create"):
        known |= {"name": "x" + secrets.token_hex(8)} if "model-versions" not in call.path else {}
    if call.path.endswith("logged-models/{model_id}") and call.method == "PATCH":
        known |= {"status": "LOGGED_MODEL_READY"}
    if call.path.endswith("log-metric"):
        known.pop("model_id")
    if call.path.endswith("get-history-bulk"):
        known |= {"run_id": [things["run_id"]]}
    return {
        field.encode_name: known[field.encode_name] if field.encode_name in known else _sample(field.type)
        for field in msgspec.structs.fields(call.request)
        if field.encode_name in known or _holds_structs(field.type)
    }


def _holds_structs(kind: Any) -> bool:
    item = (*get_args(kind), None)[0]
    return isinstance(item, type) and issubclass(item, msgspec.Struct)


def _sample(kind: Any) -> Any:
    (item,) = get_args(kind)
    samples: dict[str, Any] = {"model_id": "", "key": "a", "value": "1", "timestamp": 1}
    dataset = {"name": "d", "digest": "d", "source": "s", "source_type": "t"}
    told: dict[str, Any] = {}
    for field in msgspec.structs.fields(item):
        if field.name == "dataset":
            told[field.name] = dataset
        elif field.name in samples:
            told[field.name] = samples[field.name]
        elif field.required:
            told[field.name] = "metrics.a"
    return [told]


def addressed(call: Endpoint, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    path, left = call.path, dict(given)
    for name in list(left):
        if "{" + name + "}" in path:
            path = path.replace("{" + name + "}", quote(str(left.pop(name)), safe=""))
    return path, left


def chosen(number: int, part: int | None) -> list[str]:
    """Some of the hostile values, others for each place; without a part all."""
    return HOSTILE if part is None else HOSTILE[(number + part) % PARTS :: PARTS]


def variants(given: Any, part: int | None) -> Iterator[str]:
    """The same request as JSON, with one value at a time, at any depth, replaced by each hostile one."""
    marker = "\N{WHITE SQUARE}"

    def places(value: Any) -> Iterator[Any]:
        yield marker
        if isinstance(value, dict):
            for name, inner in value.items():
                for changed in places(inner):
                    yield value | {name: changed}
        elif isinstance(value, list):
            for changed in places(value[0]) if value else ():
                yield [changed, *value[1:]]

    changes = [given | {name: changed} for name, inner in given.items() for changed in places(inner)]
    for number, changed in enumerate(changes):
        text = json.dumps(changed, ensure_ascii=False)
        for hostile in chosen(number, part):
            yield text.replace(f'"{marker}"', hostile)


def kept(wire: Wire) -> dict[str, list[Any]]:
    """Everything in the records."""

    def rows(connection: sa.Connection) -> dict[str, list[Any]]:
        return {
            table.name: sorted(map(repr, connection.execute(sa.select(table)).all()))
            for table in metadata.sorted_tables
            if table.name not in ("owner_epoch", "idempotency")
        }

    return wire.served.owned.records.read(rows)


class Watch:
    """Whether anything was stored since it was last asked. SQLite tells by itself when nothing was written at all."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        path = wire.served.owned.records.path
        self._file = None if path is None else sqlite3.connect(path)
        self.renew()

    def renew(self) -> None:
        self._version, self._kept = self._writes(), kept(self._wire)

    def is_changed(self) -> bool:
        version = self._writes()
        if version is not None and version == self._version:
            return False
        self._version, before, self._kept = version, self._kept, kept(self._wire)
        return before != self._kept

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _writes(self) -> int | None:
        return None if self._file is None else self._file.execute("PRAGMA data_version").fetchone()[0]


@ALL
def test_values_of_every_field_are_taken_or_refused(wire: Wire, things: dict[str, Any], call: Endpoint) -> None:
    _check_values(wire, things, call, CALLS.index(call) % PARTS)


@pytest.mark.long
@ALL
def test_every_value_of_every_field_is_taken_or_refused(wire: Wire, things: dict[str, Any], call: Endpoint) -> None:
    _check_values(wire, things, call, None)


def _check_values(wire: Wire, things: dict[str, Any], call: Endpoint, part: int | None) -> None:
    given = plain(call, things)
    path, left = addressed(call, given)
    if call.method == "GET":
        for number, name in enumerate(msgspec.structs.fields(call.request)):
            for hostile in chosen(number, part):
                value = json.loads(hostile) if hostile.startswith('"') else hostile
                value = value.encode(errors="surrogatepass") if isinstance(value, str) else value
                query = urlencode(left | {name.encode_name: value}, doseq=True)
                checked(wire.send("GET", f"{path}?{query}", headers={}), (call.path, query))
        return
    watch = Watch(wire)
    for text in variants(left, part):
        answer = wire.send(call.method, path, text.encode("utf-8", "surrogatepass"))
        checked(answer, (call.path, text))
        is_changed = (answer.status == 200 or wire.is_sqlite or part is None) and watch.is_changed()
        assert answer.status == 200 or not is_changed, (call.path, text, answer.body)
    watch.close()


@ALL
def test_what_is_no_request_is_refused(wire: Wire, things: dict[str, Any], call: Endpoint) -> None:
    path, left = addressed(call, plain(call, things))
    if call.method == "GET":
        for query in ("%FF", "%00=%00", "a=%ED%A0%80", "=", "&&&", "x=" * 3_000, "a&" * 3_000, "[]", "%", "\xe4"):
            checked(wire.send("GET", f"{path}?{quote(query, safe='%=&')}", headers={}), (call.path, query))
        return
    for body in BODIES if left else ():  # some are answered where nothing is required
        checked(wire.send(call.method, path, body), (call.path, body))
    watch = Watch(wire)
    for kind in KINDS:
        answer = wire.send(call.method, path, json.dumps(left).encode(), {"content-type": kind} if kind else {})
        assert answer.status == 400, (call.path, kind)
        checked(answer, (call.path, kind))
    for name in left:
        camel = name.split("_")[0] + "".join(part.title() for part in name.split("_")[1:])
        if camel != name:
            answer = wire.send(call.method, path, json.dumps(left | {camel: left[name]}).encode())
            assert checked(answer, (call.path, camel))["error_code"] == "INVALID_PARAMETER_VALUE"
    assert not watch.is_changed()
    watch.close()


@ALL
def test_a_body_over_the_limit_is_413(wire: Wire, things: dict[str, Any], call: Endpoint) -> None:
    if call.method == "GET":
        return
    path, left = addressed(call, plain(call, things))
    body = json.dumps(left | {"filling": "x" * call.max_body}).encode()
    one = Wire(wire.served)
    answer = one.send(call.method, path, body)
    one.close()
    assert answer.status == 413
    checked(answer, call.path)


@ALL
def test_every_text_in_an_address_is_taken_or_refused(wire: Wire, things: dict[str, Any], call: Endpoint) -> None:
    if "{" not in call.path:
        return
    given = plain(call, things)
    for name in [name for name in given if "{" + name + "}" in call.path]:
        for text in ("%00", "%ED%A0%80", "%FF", "%2e%2e", "a%2Fb", "9" * 5_000, "%F0%9F%98%80", "'", "%25", "%E4"):
            path, left = addressed(call, given | {name: "\N{WHITE SQUARE}"})
            path = path.replace(quote("\N{WHITE SQUARE}"), text)
            body = b"" if call.method == "GET" else json.dumps(left).encode()
            answer = wire.send(call.method, path, body, {} if call.method == "GET" else JSON)
            if answer.status != 405 or answer.headers["content-type"] == "application/json":
                checked(answer, path)


def test_a_batch_for_a_model_that_is_not_there_stores_nothing(wire: Wire, things: dict[str, Any]) -> None:
    point = {"key": "half", "value": 1, "timestamp": 1}
    metrics = [point | {"model_id": things["model_id"]}, point | {"step": 1, "model_id": "m-none"}]
    watch = Watch(wire)
    answer = wire.post(
        AT + "runs/log-batch", run_id=things["run_id"], metrics=metrics, tags=[{"key": "t", "value": ""}]
    )
    assert (answer.status, checked(answer, metrics)["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert not watch.is_changed()
    watch.close()
    wire.made("runs/log-batch", run_id=things["run_id"], metrics=metrics[:1])
    model = wire.get(f"{AT}logged-models/{things['model_id']}").json["model"]
    assert [(metric["key"], metric["value"]) for metric in model["data"]["metrics"] if metric["key"] == "half"] == [
        ("half", 1.0)
    ]


HISTORY = "mlflow.log-model.history"


@pytest.mark.parametrize("before", ["no JSON", "5", "{}", "[", "[" * 5_000, '[{"a":1}]', '"' + "x" * 7_990 + '"'])
def test_old_clients_note_models_whatever_the_tag_held(wire: Wire, things: dict[str, Any], before: str) -> None:
    run = wire.made("runs/create", experiment_id=things["experiment_id"])["run"]["info"]["run_id"]
    wire.made("runs/set-tag", run_id=run, key=HISTORY, value=before)
    for number in range(3):
        # Three of them are longer than a tag: the oldest goes, and what is left can be read.
        model = {"artifact_path": f"{number}", "flavors": {"x": "y" * 3_000}, "utc_time_created": "", "run_id": run}
        wire.made("runs/log-model", run_id=run, model_json=json.dumps(model))
    tags = wire.get(AT + "runs/get", run_id=run).json["run"]["data"]["tags"]
    (held,) = [json.loads(tag["value"]) for tag in tags if tag["key"] == HISTORY]
    assert [model["artifact_path"] for model in held] == ["1", "2"]


@pytest.mark.parametrize(
    "text", ["[" * 10_000, '{"a":' * 100, "5", "null", "[]", "{}", "{", '"\\ud800"', '{"a":1e999}']
)
def test_a_model_that_is_none_is_refused(wire: Wire, things: dict[str, Any], text: str) -> None:
    answer = wire.post(AT + "runs/log-model", run_id=things["run_id"], model_json=text)
    assert checked(answer, text)["error_code"] == "INVALID_PARAMETER_VALUE"
