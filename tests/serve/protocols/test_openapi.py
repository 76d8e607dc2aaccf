"""The OpenAPI document is valid, its schemas say what the intake does, and the page is made from the same signature."""

from __future__ import annotations

import html
import json
import re
import shlex
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from perennial.errors import Invalid, NotFound
from perennial.models.signature import Field, Signature
from perennial.serve.intake import Intake
from perennial.serve.protocols.openapi import Described, describe, example_row, schema_of
from perennial.serve.protocols.plain import Plain
from perennial.serve.protocols.protocol import HttpRequest
from perennial.serve.protocols.try_page import PAGE_HEADERS, asset, page
from tests.serve.protocols.asking import FIRED, IMAGES, MARRIED, ROW, WAGES, answered, intake
from tests.serve.protocols.browser import Browser

NASTY = "</script><img src=x onerror=alert(1)>\"'&"
WAGE = Described(name="wage", signature=WAGES, examples=({**ROW, "wage": 5.1}, {**ROW, "union": False}), version=3)
HOSTILE = Signature(
    inputs=[Field(name=NASTY, type="string", categories=[NASTY, "b"], unit=NASTY), Field(name="x", type="float64")],
    columns=[Field(name="x", type="float64")],
    output=Field(name=NASTY, type="string"),
    task="classification",
    classes=[NASTY, "b"],
)


def document(*endpoints: Described) -> dict[str, Any]:
    return json.loads(describe(endpoints))


def test_the_document_is_valid_openapi_whatever_the_names_are() -> None:
    hostile = Described(name=NASTY, signature=HOSTILE)
    found = document(WAGE, Described(name="digit", signature=IMAGES), hostile, Described(name="a b", signature=MARRIED))
    OpenAPIV31SpecValidator(found).validate()
    operations = [
        one["operationId"] for path in found["paths"].values() for one in path.values() if "operationId" in one
    ]
    assert len(operations) == len(set(operations))
    OpenAPIV31SpecValidator(document()).validate()


# fmt: off
ADDRESSES = [
    "/predict/wage", "/explain/wage", "/feedback/{model}", "/answers/{id}", "/v2/models/{model}/infer",
    "/v1/models/{model}:predict", "/invocations", "/livez", "/readyz", "/metrics", "/ping", "/version", "/docs",
    "/openapi.json",
]
# fmt: on


@pytest.mark.parametrize("path", ADDRESSES)
def test_each_address_is_in_it(path: str) -> None:
    assert path in document(WAGE)["paths"]


def test_examples_fit_the_schema_and_the_intake() -> None:
    for endpoint in (WAGE, Described(name="digit", signature=IMAGES), Described(name="a b", signature=MARRIED)):
        found = document(endpoint)
        (told,) = (found["paths"][path] for path in found["paths"] if path.startswith("/predict/"))
        asked = told["post"]["requestBody"]["content"]["application/json"]
        validator = jsonschema.Draft202012Validator({**asked["schema"], "components": found["components"]})
        assert len(asked["examples"]) >= 2
        for example in asked["examples"].values():
            validator.validate(example["value"])
            assert Intake(endpoint.signature).decode(json.dumps(example["value"]).encode()).height == 1


BODIES: list[tuple[Any, bool]] = [
    ({"records": [ROW]}, True),
    ({"records": [{**ROW, "person": "p1"}]}, True),
    ({"records": [{**ROW, "wage_before": None}]}, True),
    ({"columns": {name: [value, value] for name, value in ROW.items()}}, True),
    ({"records": []}, False),
    ({"records": [{**ROW, "age": 3}]}, False),
    ({"records": [{**ROW, "education": 12.5}]}, False),
    ({"records": [{**ROW, "education": None}]}, False),
    ({"records": [{**ROW, "union": "yes"}]}, False),
    ({"records": [{name: value for name, value in ROW.items() if name != "union"}]}, False),
    ({"rows": [ROW]}, False),
    ({}, False),
]


@pytest.mark.parametrize("body, fits", BODIES)
def test_the_schema_takes_what_the_intake_takes(body: Any, fits: bool) -> None:
    found = document(WAGE)
    reference = {"$ref": "#/components/schemas/wage.Request", "components": found["components"]}
    assert jsonschema.Draft202012Validator(reference).is_valid(body) is fits
    try:
        intake().decode(json.dumps(body).encode())
    except Invalid:
        assert not fits
    else:
        assert fits


def test_answers_fit_their_schema() -> None:
    plain = Plain()
    made = [
        (WAGES, answered(flags=FIRED, intervals=[[1.0, 9.0], None], errors=[None, "it failed"])),
        (
            MARRIED,
            answered(
                values=["yes", None], classes=["no", "yes"], probabilities=[[0.2, 0.8], None], sets=[["yes"], None]
            ),
        ),
    ]
    for signature, answer in made:
        found = document(Described(name="wage", signature=signature))
        schema = found["paths"]["/predict/wage"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        asked = HttpRequest(method="POST", path="/predict/wage", headers={}, body=b"")
        told = json.loads(plain.encode(answer, asked, Intake(signature)).body)
        jsonschema.Draft202012Validator({**schema, "components": found["components"]}).validate(told)
        refused = json.loads(plain.refuse(422, "INVALID_PARAMETER_VALUE", "no", "records[0].union", "r1").body)
        jsonschema.Draft202012Validator(found["components"]["schemas"]["Error"]).validate(refused)


def test_a_row_can_be_made_of_every_type() -> None:
    kinds = ("float64", "int64", "bool", "string", "binary", "datetime", "date")
    inputs = [Field(name=kind, type=kind) for kind in kinds]  # type: ignore[arg-type]
    signature = Signature(inputs=inputs, columns=inputs, output=Field(name="y", type="float64"), task="regression")
    row = example_row(signature)
    assert Intake(signature).of_records([row]).height == 1
    for field in inputs:
        jsonschema.Draft202012Validator(schema_of(field)).validate(row[field.name])
    assert schema_of(Field(name="x", type="float64", unit="metres"))["description"] == "in metres"


def test_the_page_has_a_field_for_each_column_with_the_example_in_it() -> None:
    text = page([WAGE], "wage", origin="http://10.0.0.1:9000").body.decode()
    assert re.findall(r'data-name="(\w+)"', text) == [field.name for field in WAGES.inputs]
    assert 'value="4.95"' in text
    assert "answers the number wage · version 3<" in text
    assert '<option value="south"></option>' in text
    command = html.unescape(re.search(r'<pre id="curl">(.*?)</pre>', text, re.DOTALL)[1])  # type: ignore[index]
    words = shlex.split(command)
    assert words[:2] == ["curl", "http://10.0.0.1:9000/predict/wage"]
    assert rows_of(words[-1]) == [ROW]


def rows_of(body: str) -> list[dict[str, Any]]:
    found = intake().decode(body.encode()).records()
    return [{name: value for name, value in row.items() if value is not None} for row in found]


def test_C07_texts_of_a_signature_are_never_markup() -> None:
    text = page([Described(name=NASTY, signature=HOSTILE)], NASTY).body.decode()
    assert "<img" not in text
    assert text.count("<script") == 1
    assert "onerror" in html.unescape(text)


def test_the_page_may_load_nothing_from_elsewhere_and_has_no_inline_script_or_style() -> None:
    reply = page([WAGE])
    policy = dict(reply.headers)[b"content-security-policy"].decode()
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    text = reply.body.decode()
    assert re.findall(r"<script[^>]*>", text) == ['<script src="/docs.js" defer>']
    assert not re.search(r"\bstyle=|<style|\son\w+=|javascript:", text)
    for path in ("/docs.css", "/docs.js"):
        found = asset(path)
        assert found is not None
        assert found.headers == PAGE_HEADERS
        assert b"http://" not in found.body
        assert b"https://" not in found.body
    assert asset("/docs.map") is None


def test_a_page_without_endpoints_and_one_that_is_not_there() -> None:
    assert b"No endpoint yet" in page([]).body
    with pytest.raises(NotFound):
        page([WAGE], "income")


class _Door(BaseHTTPRequestHandler):
    """The page with the real intake behind it: what the form sends is what a client's request is."""

    got: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        reply = asset(self.path) or page([WAGE], "wage", origin=f"http://{self.headers['host']}")
        self._send(reply.status, reply.body, reply.kind, reply.headers)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            asked = intake().decode(body)
        except Invalid as error:
            refused = Plain().refuse(422, error.code, str(error), error.where, "r1")
            self._send(422, refused.body, refused.kind, [])
            return
        type(self).got.extend(asked.records())
        answer = answered(values=[7.25], versions=[3], arms=["live"], flags=FIRED[:1])
        reply = Plain().encode(answer, HttpRequest(method="POST", path=self.path, headers={}, body=body), intake())
        self._send(200, reply.body, reply.kind, [])

    def _send(self, status: int, body: bytes, kind: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.send_response(status)
        for name, value in [*headers, (b"content-type", kind), (b"content-length", b"%d" % len(body))]:
            self.send_header(name.decode(), value.decode())
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def door() -> Iterator[str]:
    _Door.got.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Door)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    browser = Browser(tmp_path)
    yield browser
    browser.close()


ANSWERED = "document.querySelector('#answer .value') !== null"
PRESS = "document.querySelector('#ask button').click()"


def test_a_browser_sends_the_form_and_shows_the_answer(door: str, browser: Browser) -> None:
    browser.open(f"{door}/docs/wage")
    browser.run(PRESS)
    browser.until(ANSWERED)
    assert got() == [ROW]
    assert browser.run("document.querySelector('#answer .value').textContent") == "7.25"
    shown = browser.run("document.getElementById('answer').innerText")
    assert "range on education: flag (beyond 18)" in shown
    assert "version 3, live" in shown
    assert browser.console == []


def test_a_browser_takes_changes_examples_and_shows_the_command(door: str, browser: Browser) -> None:
    browser.open(f"{door}/docs/wage")
    browser.run(
        "const say = (name, text) => { const one = document.querySelector(`[data-name=${name}]`); one.value = text;"
        " one.dispatchEvent(new Event('input', {bubbles: true})); };"
        " say('education', '9007199254740993'); say('wage_before', ''); say('region', \"it's new\");"
    )
    command = shlex.split(browser.run("document.getElementById('curl').textContent"))
    assert command[:2] == ["curl", f"{door}/predict/wage"]
    changed = {**ROW, "education": 9007199254740993, "region": "it's new"}
    del changed["wage_before"]
    assert rows_of(command[-1]) == [changed]
    browser.run(PRESS)
    browser.until(ANSWERED)
    assert got() == [changed]  # digits that a number of JavaScript does not have
    browser.run(
        "(() => { const one = document.getElementById('example'); one.value = '1';"
        " one.dispatchEvent(new Event('change')); })()"
    )
    command = shlex.split(browser.run("document.getElementById('curl').textContent"))
    assert rows_of(command[-1]) == [{**ROW, "union": False}]


def test_a_browser_says_which_field_is_wrong_and_sends_nothing(door: str, browser: Browser) -> None:
    browser.open(f"{door}/docs/wage")
    browser.run("document.querySelector('[data-name=education]').value = '12.5'")
    browser.run(PRESS)
    wrong = "document.querySelector('[data-name=education]').closest('.field').querySelector('.wrong').textContent"
    assert browser.run(wrong) == "a whole number is needed"
    assert browser.run("document.activeElement.dataset.name") == "education"
    # A value that only the service can refuse: its message stands at the field that it points at.
    browser.run("document.querySelector('[data-name=education]').value = '99999999999999999999'")
    browser.run(PRESS)
    browser.until(f"{wrong}.startsWith('column')")
    assert browser.run("document.querySelector('#answer .problem').textContent").startswith("422")
    assert got() == []


def got() -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if value is not None} for row in _Door.got]
