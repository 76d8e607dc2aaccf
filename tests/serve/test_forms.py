"""The same models in the forms that they are served in: compiled in the fronts and native in workers; and what else the
front door answers."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import socket
import time
from typing import Any

import polars as pl
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from perennial.models.preparation import learn

PIXELS = [f"p{at:02}" for at in range(64)]
ROW = {"person": "p", "x": 1.0}
SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? ([0-9.e+-]+|\+Inf|NaN)')


def pairs_of(service: Any, endpoint: str, rows: list[dict[str, Any]]) -> tuple[Any, Any]:
    told = []
    for name in (endpoint, f"{endpoint}_native"):
        reply = service.predict(*rows, endpoint=name)
        assert reply.status == 200, reply.body
        told.append(reply.json["predictions"])
    return told[0], told[1]


def test_digits_are_read_the_same_compiled_and_native(place: Any, digits: pl.DataFrame) -> None:
    known = digits.head(1200).to_arrow()
    preparation = learn(known, target="digit")
    x, y = preparation.x(preparation.raw(known)), preparation.y(known)
    forest = RandomForestClassifier(20, random_state=0).fit(x, y)
    service = place.answering(
        place.real_endpoint("digits", place.real(1, forest, preparation, known)),
        place.real_endpoint("digits_native", place.real(2, forest, preparation, known, compiles=False)),
    )
    assert len(service.workers()) == 1  # the native one
    unseen = digits.tail(597)
    compiled, native = pairs_of(service, "digits", unseen.select(PIXELS).to_dicts())
    assert [row["prediction"] for row in compiled] == [row["prediction"] for row in native]
    expected = forest.predict_proba(unseen.select(PIXELS))
    for one, other, row in zip(compiled, native, expected, strict=True):
        assert list(one["probabilities"].values()) == pytest.approx(row.tolist(), abs=1e-6)
        assert list(other["probabilities"].values()) == pytest.approx(row.tolist(), abs=1e-12)
    right = [row["prediction"] == digit for row, digit in zip(compiled, unseen["digit"], strict=True)]
    assert sum(right) / len(right) > 0.85


@pytest.mark.parametrize("kind", ["linear", "trees"])
def test_wages_are_told_the_same_compiled_and_native(place: Any, wages: pl.DataFrame, kind: str) -> None:
    known = wages.head(2000).to_arrow()
    preparation = learn(known, target="wage")
    texts = ["ethnicity", "smsa", "region", "parttime"]
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts), remainder="passthrough"
    )
    last = LinearRegression() if kind == "linear" else HistGradientBoostingRegressor(max_iter=40, random_state=0)
    x, y = preparation.x(preparation.raw(known)).to_pandas(), preparation.y(known)
    model = make_pipeline(encode, last).fit(x, y)
    preparation = type(preparation)(replaced(preparation.signature))
    service = place.answering(
        place.real_endpoint("wages", place.real(1, model, preparation, known)),
        place.real_endpoint("wages_native", place.real(2, model, preparation, known, compiles=False)),
    )
    assert len(service.workers()) == 1
    unseen = wages.tail(1000).drop("wage")
    rows = [*unseen.to_dicts(), unseen.row(0, named=True) | {"region": "south"}]
    compiled, native = pairs_of(service, "wages", rows)
    values = [row["prediction"] for row in compiled]
    assert values == pytest.approx([row["prediction"] for row in native], rel=1e-5, abs=1e-3)
    frame = pl.DataFrame(rows).to_pandas()
    assert values[:-1] == pytest.approx(model.predict(frame)[:-1].tolist(), rel=1e-5, abs=1e-3)
    columns = json.dumps({"columns": {name: unseen[name].to_list() for name in unseen.columns}}).encode()
    by_column = service.send("POST", "/predict/wages", columns).json["predictions"]
    assert [row["prediction"] for row in by_column] == values[:-1]
    ones = [service.predict(row, endpoint="wages").json["predictions"][0]["prediction"] for row in rows[:10]]
    assert ones == pytest.approx(values[:10], rel=1e-6)
    # Why: what each column adds to the answer of nobody in particular is the answer. Whichever form answers, the
    # explainer is a process with the toolkit's own model, so one form of each kind is asked.
    explained = "/explain/wages" if kind == "trees" else "/explain/wages_native"
    reply = service.send("POST", explained, json.dumps({"records": rows[:3]}).encode())
    assert reply.status == 200, reply.body
    assert len(reply.json["explanations"]) == 3
    for why, value in zip(reply.json["explanations"], values, strict=False):
        assert why["base"] + sum(why["contributions"].values()) == pytest.approx(why["explained"], rel=1e-6)
        assert why["prediction"] == pytest.approx(value, rel=1e-5, abs=1e-3)
        assert why["contributions"].keys() == {*unseen.columns}
    many = service.send("POST", explained, json.dumps({"records": [rows[0]] * 101}).encode())
    assert (many.status, many.json["where"]) == (422, "records")


def replaced(signature: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(signature, model_frame="pandas")


@pytest.fixture(scope="module")
def service(shared: Any) -> Any:
    """Two fronts that answer x + 1 themselves, and x + 2 after half a second in a worker."""
    endpoints = (shared.endpoint(live=shared.linear(1)), shared.endpoint("slow", live=shared.arm(2, slow_s=0.5)))
    return shared.answering(*endpoints, options=("--fronts", "2", "--max-body-bytes", "100000"))


def test_the_metrics_are_in_the_text_format_and_add_up_over_the_fronts(place: Any) -> None:
    service = place.answering(place.endpoint(live=place.linear(1)), options=("--fronts", "2"))
    for at in range(40):
        assert service.predict(ROW, {"person": 'q"\\\n', "x": at}).status == 200
    service.predict({"person": "p"})
    families: dict[str, str] = {}
    samples: dict[str, float] = {}
    reply = service.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in reply.body.decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            assert name not in families
            families[name] = kind
        elif not line.startswith("# HELP "):
            found = SAMPLE.fullmatch(line)
            assert found, line
            family = re.sub(r"_(bucket|sum|count)$", "", found[1]) if found[1] not in families else found[1]
            assert families[family] in ("counter", "gauge", "histogram")
            assert line.rpartition(" ")[0] not in samples
            samples[line.rpartition(" ")[0]] = float(found[3])
    assert samples["perennial_predictions_stored_total"] == samples["perennial_predictions_received_total"] == 80
    assert samples['perennial_requests_total{endpoint="wage",protocol="plain",code="200"}'] == 40
    assert samples["perennial_fronts"] == 2
    buckets = [value for name, value in samples.items() if name.startswith("perennial_request_seconds_bucket")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == 40


def test_a_caller_may_shorten_the_deadline_and_not_lengthen_it(service: Any) -> None:
    body = json.dumps({"records": [ROW]}).encode()
    began = time.monotonic()
    late = service.send("POST", "/predict/slow", body, X_Request_Timeout_Ms="100")
    assert (late.status, late.json["error_code"]) == (504, "DEADLINE_EXCEEDED")
    assert time.monotonic() - began < 5
    assert service.send("POST", "/predict/slow", body, X_Request_Timeout_Ms="9999999999").status == 200
    for wrong in ("0", "-1", "soon", "nan", "inf"):
        assert service.send("POST", "/predict/slow", body, X_Request_Timeout_Ms=wrong).status == 400, wrong


def test_head_is_get_without_a_body(service: Any) -> None:
    for path in ("/livez", "/readyz", "/status", "/metrics", "/openapi.json"):
        head, get = service.send("HEAD", path), service.get(path)
        assert (head.status, head.body) == (get.status, b"")
        assert head.headers["content-type"] == get.headers["content-type"]
    assert service.send("HEAD", "/predict/wage").status == 405


def test_requests_sent_ahead_on_one_connection_are_answered_in_their_order(service: Any) -> None:
    def request(endpoint: str, x: int) -> bytes:
        body = json.dumps({"records": [{"person": "p", "x": x}]}).encode()
        head = f"POST /predict/{endpoint} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    with socket.create_connection(("127.0.0.1", service.port), timeout=120) as client:
        client.sendall(b"".join(request("slow" if x == 3 else "wage", x) for x in range(12)))
        found: list[float] = []
        reading = client.makefile("rb")
        while len(found) < 12:
            assert reading.readline() == b"HTTP/1.1 200 OK\r\n"
            headers = dict(line.split(b": ") for line in iter(reading.readline, b"\r\n"))
            told = json.loads(reading.read(int(headers[b"content-length"])))
            found.append(told["predictions"][0]["prediction"])
    assert found == pytest.approx([x + (2 if x == 3 else 1) for x in range(12)])


def test_a_connection_is_kept_for_as_many_requests_as_the_client_has(service: Any) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)
    connection.connect()
    mine = connection.sock
    for at in range(50):
        connection.request("POST", "/predict/wage", json.dumps({"records": [{"person": "p", "x": at}]}))
        reply = connection.getresponse()
        assert json.loads(reply.read())["predictions"][0]["prediction"] == pytest.approx(at + 1)
        assert connection.sock is mine
    connection.request("POST", "/predict/wage", b"{")  # a refusal is an answer, too
    assert (connection.getresponse().read() != b"", connection.sock is mine) == (True, True)
    connection.close()


def test_bodies_that_are_compressed_or_come_in_chunks(service: Any) -> None:
    body = json.dumps({"records": [ROW] * 20}).encode()
    packed = service.send("POST", "/predict/wage", gzip.compress(body), Content_Encoding="gzip")
    assert (packed.status, len(packed.json["predictions"])) == (200, 20)
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 100_000
    assert service.send("POST", "/predict/wage", bomb, Content_Encoding="gzip").status == 413
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)
    connection.request("POST", "/predict/wage", iter([body[:7], body[7:100], body[100:]]), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})  # fmt: skip
    reply = connection.getresponse()
    assert (reply.status, len(json.loads(reply.read())["predictions"])) == (200, 20)
    connection.close()


@pytest.mark.parametrize(
    "headers, status",
    [
        ({"Host": "localhost"}, 200),
        ({"Host": "127.0.0.1:1"}, 200),
        ({"Host": "[::1]:80"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": "localhost", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost", "Origin": "null"}, 403),
        ({"Host": "localhost", "Origin": "http://localhost"}, 200),
        ({"Host": "localhost", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_C05_only_programs_and_our_own_pages_may_ask(service: Any, headers: dict[str, str], status: int) -> None:
    assert service.send("GET", "/livez", **headers).status == status


def test_paths_are_taken_literally(service: Any) -> None:
    body = json.dumps({"records": [ROW]}).encode()
    assert service.send("POST", "/predict/w%61ge", body).status == 200
    for path in (
        "/predict/",
        "/predict/wage/",
        "/predict/..%2fwage",
        "/predict/wage%00",
        "//predict/wage",
        "/%2e%2e/etc",
    ):
        told = service.send("POST", path, body)
        assert told.status in (404, 405), path
        assert "Traceback" not in told.body.decode()
    assert service.get("/docs/../../etc/passwd").status == 404


def test_F14_a_key_is_one_prediction_whichever_front_is_reached(place: Any) -> None:
    service = place.answering(place.endpoint(live=place.linear(1)), options=("--fronts", "2"))
    replies = [service.predict({"person": "p", "x": 5.0}, key="once") for _ in range(30)]
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1
    assert [frame.key for frame in place.predicted()] == ["once"]
    other = service.predict({"person": "p", "x": 6.0}, key="once")
    assert (other.status, "another request" in other.json["message"]) == (409, True)
    many = {key: service.predict({"person": "p", "x": 5.0}, key=key).json["predictions"][0]["id"] for key in "abcdefgh"}
    again = {key: service.predict({"person": "p", "x": 5.0}, key=key).json["predictions"][0]["id"] for key in many}
    assert again == many
    # It is the same after a restart.
    assert service.stop() == 0
    service = place.serve("--fronts", "1")
    place.applied()
    assert service.predict({"person": "p", "x": 5.0}, key="once").body == replies[0].body


def test_F14_a_key_that_is_sent_by_several_clients_at_once_is_one_prediction(shared: Any, service: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    before = len(shared.predicted())
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(service.predict, ROW, endpoint="slow", key="together") for _ in range(12)]
        bodies = {told.result().body for told in asked}
    assert len(bodies) == 1
    (written,) = shared.predicted()[before:]
    assert written.key == "together"
