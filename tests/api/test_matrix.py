"""Every route times everybody who may come: generated from the table of routes, so that none is forgotten."""

from __future__ import annotations

import re

import pytest

from perennial.api.auth import Auth
from perennial.api.operations import OPERATIONS
from perennial.api.server import Door

from .conftest import Served

KNOWN = {"read", "track", "write", "decide", "system"}


def doors_of(served: Served) -> list[Door]:
    return served.app.doors  # type: ignore[attr-defined]


def path_of(door: Door) -> str:
    return re.sub(r"\{\w+(:int)?[^}]*\}", lambda found: "1" if found[1] else "nothing", door.path)


def headers_for(door: Door) -> dict[str, str]:
    kind = "application/json" if is_api(door) else "application/x-www-form-urlencoded"
    return {} if door.method == "GET" else {"content-type": kind}


def status(served: Served, door: Door, **headers: str) -> int:
    given = headers_for(door) | {name.replace("_", "-"): value for name, value in headers.items()}
    body = None if door.method == "GET" else b"{}" if is_api(door) else b""
    return served.ask(door.method, path_of(door), body, given).status


def test_C02_every_route_has_a_known_permission(served: Served) -> None:
    doors = doors_of(served)
    assert {door.permission for door in doors} <= KNOWN
    ours = {door.path for door in doors if is_api(door) and "mlflow" not in door.path}
    assert ours == {"/api/link"} | {"/api/" + name.replace(".", "/") for name in OPERATIONS}


def test_C02_nobody_may_read_and_no_more(served: Served) -> None:
    for door in doors_of(served):
        came_in = status(served, door) not in (401, 403)
        may = door.permission in ("read", "track")
        assert came_in == (may and not (door.method == "POST" and not is_api(door))), door


def test_C02_where_a_token_is_required_nobody_logs_either(served: Served) -> None:
    strict = Auth(token=served.token, cookie="x", require_token=True)
    assert strict.caller({}, "POST").permissions == {"read"}
    assert "track" in strict.caller({"authorization": f"Bearer {served.token}"}, "POST").permissions


def test_C02_the_token_opens_every_operation(served: Served) -> None:
    for door in doors_of(served):
        if is_api(door):
            assert status(served, door, authorization=f"Bearer {served.token}") not in (401, 403), door


def test_C02_a_person_decides_and_leaves_the_machinery_alone(served: Served) -> None:
    cookie, origin = served.log_in(), f"http://127.0.0.1:{served.port}"
    for door in doors_of(served):
        if door.path in ("/logout", "/login"):
            continue  # they have a test of their own
        came_in = status(served, door, cookie=cookie, origin=origin) not in (401, 403)
        assert came_in == (door.permission != "system"), door


@pytest.mark.parametrize("token", ["wrong", "Bearer", "Bearer ", "Bearer wrong", "Basic dTpw"])
def test_C02_a_wrong_token_opens_nothing(served: Served, token: str) -> None:
    for door in doors_of(served):
        assert status(served, door, authorization=token) == 401, door


@pytest.mark.parametrize(
    "foreign",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:1"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
    ids=lambda foreign: "-".join(foreign.values()),
)
def test_C05_a_page_of_another_site_opens_nothing_even_with_token_and_cookie(
    served: Served, foreign: dict[str, str]
) -> None:
    cookie = served.log_in()
    for door in doors_of(served):
        assert status(served, door, authorization=f"Bearer {served.token}", cookie=cookie, **foreign) == 403, door


@pytest.mark.parametrize(
    "host, expected",
    [
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:80", 403),
        ("192.168.0.1", 403),
        ("[::2]", 403),
        ("", 400),
        ("127.0.0.1/", 400),
        ("a b", 400),
        ("127.0.0.1@evil.example", 400),
    ],
)
def test_C05_C06_a_foreign_or_malformed_host_opens_nothing(served: Served, host: str, expected: int) -> None:
    for door in doors_of(served):
        assert status(served, door, authorization=f"Bearer {served.token}", host=host) == expected, door


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1", "127.8.8.8:5000", "[::1]:5000"])
def test_C05_every_name_of_this_machine_is_served_at_any_port(served: Served, host: str) -> None:
    assert served.ask("GET", "/health", headers={"host": host}).status == 200


def test_C05_a_cookie_without_a_page_of_ours_behind_it_decides_nothing(served: Served) -> None:
    cookie = served.log_in()
    for door in doors_of(served):
        if door.permission == "decide":
            assert status(served, door, cookie=cookie) in (401, 403), door


def is_api(door: Door) -> bool:
    return door.path.startswith(("/api/", "/ajax-api/"))
