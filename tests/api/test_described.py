"""Random requests out of the API's own description: those that fit it, and those that break it in one place."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.core.transport import USER_AGENT

from perennial.api import openapi

from .conftest import Served

SCHEMA = schemathesis.openapi.from_dict(json.loads(openapi.describe()))
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}
ALL = pytest.mark.parametrize("label", OPERATIONS)
FEW, MANY = 2, 100  # of each kind, for each call


@pytest.fixture(scope="module")
def session() -> Any:
    with requests.Session() as session:
        session.headers["user-agent"] = USER_AGENT
        yield session


@ALL
def test_no_described_call_fails_for_the_owner(served: Served, session: requests.Session, label: str) -> None:
    _sweep(served, session, label, FEW, {"authorization": f"Bearer {served.token}"})


@ALL
def test_no_described_call_fails_for_somebody_unknown(served: Served, session: requests.Session, label: str) -> None:
    _sweep(served, session, label, 1, {})


@pytest.mark.long
@pytest.mark.parametrize("known", [True, False])
@ALL
def test_no_described_call_fails_in_many_tries(
    served: Served, session: requests.Session, label: str, known: bool
) -> None:
    _sweep(served, session, label, MANY, {"authorization": f"Bearer {served.token}"} if known else {})


def _sweep(served: Served, session: requests.Session, label: str, examples: int, headers: dict[str, str]) -> None:
    operation = OPERATIONS[label]
    modes = [GenerationMode.POSITIVE]
    if operation.method != "get" or operation.query:  # a text in the path is always one
        modes.append(GenerationMode.NEGATIVE)
    for mode in modes:
        strategy = operation.as_strategy(generation_mode=mode)

        @settings(
            max_examples=examples,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
            database=None,
        )
        @given(case=strategy)
        def send(case: Any) -> None:
            asked = case.as_transport_kwargs(base_url=f"http://127.0.0.1:{served.port}", headers=headers)
            answer = session.request(**asked, timeout=60)
            _check(answer, case)

        send()


def _check(answer: requests.Response, case: Any) -> None:
    shown = f"{case.as_curl_command()[:1000]} -> {answer.status_code} {answer.text[:500]}"
    assert answer.status_code < 500 or answer.status_code == 501, shown
    if answer.status_code == 405 or (answer.status_code == 400 and answer.headers["content-type"].startswith("text/")):
        return  # another address, or none: what was put into the path or query is no HTTP
    assert answer.headers["content-type"] == "application/json", shown
    told = json.loads(answer.content, parse_constant=_no_json)
    if answer.status_code != 200:
        assert isinstance(told["error_code"], str), shown
        assert isinstance(told["message"], str), shown
        assert told["error_code"], shown
        assert told["message"], shown


def _no_json(text: str) -> NoReturn:
    raise AssertionError(f"{text} is no JSON")
