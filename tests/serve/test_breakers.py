"""Each endpoint has the breakers that it declares, whoever else is answered by the same package."""

from __future__ import annotations

import http.client
import json
import time
from typing import Any

import msgspec

from perennial.loop import fallback
from perennial.loop.failsafe import BreakerPolicy, FailSafePolicy
from perennial.models.guards.spec import FailSafe


def declared(**options: Any) -> dict[str, Any]:
    policy = FailSafePolicy(fallbacks=(fallback.constant(-1.0),), breaker=BreakerPolicy(**options))
    return FailSafe.of(policy).to_builtins()


def test_two_endpoints_of_one_package_are_left_alone_as_each_of_them_declares(place: Any) -> None:
    live = place.arm(2)
    strict = place.endpoint("strict", live=live, failsafe=declared(failures=0.5, of=4, open_s=600.0, probes=2))
    patient = place.endpoint("patient", live=live, failsafe=declared(failures=1.0, of=500, open_s=600.0, probes=2))
    place.desire(patient, strict)  # the one that is named first says nothing about the other
    service = place.serve()
    place.applied()

    def ask(endpoint: str, x: float) -> Any:
        return service.predict({"person": "p", "x": x}, endpoint=endpoint).json["predictions"][0]

    for _ in range(20):
        assert ask("patient", -1.0)["arm"] == "constant"  # its version fails, the chain answers this row
    assert ask("patient", 5.0)["arm"] == ask("strict", 5.0)["arm"] == "live"

    def is_open() -> bool:
        ask("strict", -1.0)
        return ask("strict", 5.0)["arm"] == "constant"

    place.until(is_open, "the breaker of one endpoint to open")
    assert ask("patient", 5.0)["arm"] == "live"
    told = service.status()["endpoints"]
    assert (told["strict"]["breakers"], told["strict"]["broken"]) == ({"live": "open"}, ["live"])
    assert (told["patient"]["breakers"], told["patient"]["broken"]) == ({}, [])
    # Declared anew, it begins anew; the model stays where it is.
    workers = service.workers()
    again = msgspec.structs.replace(strict, failsafe=declared(failures=1.0, of=400, open_s=600.0, probes=2))
    place.applied(place.desire(patient, again))
    place.until(lambda: ask("strict", 5.0)["arm"] == "live", "the new breaker")
    assert service.workers() == workers


def test_a_breaker_closes_though_all_callers_are_on_one_front(place: Any) -> None:
    failsafe = declared(failures=0.5, of=4, open_s=0.5, probes=5)
    place.desire(place.endpoint(live=place.arm(2), failsafe=failsafe))
    service = place.serve("--fronts", "3")
    place.applied()
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)

    def ask(x: float) -> str:
        connection.request("POST", "/predict/wage", json.dumps({"records": [{"person": "p", "x": x}]}))
        told: str = json.loads(connection.getresponse().read())["predictions"][0]["arm"]
        return told

    place.until(lambda: ask(-1.0) == "constant" and ask(5.0) == "constant", "the breaker to open")

    def is_closed() -> bool:
        return ask(5.0) == "live" and not service.status()["endpoints"]["wage"]["breakers"]

    place.until(is_closed, "the breaker to close")
    assert [ask(5.0) for _ in range(10)] == ["live"] * 10
    connection.close()


def test_F18_a_version_is_tried_again_behind_the_back_of_callers_who_are_answered_by_another(place: Any) -> None:
    policy = BreakerPolicy(failures=0.5, of=4, open_s=0.2, probes=3)
    failsafe = FailSafe.of(FailSafePolicy(breaker=policy)).to_builtins()
    place.desire(place.endpoint(live=place.arm(2), fallback=place.linear(1), failsafe=failsafe))
    service = place.serve()
    place.applied()

    def ask(x: float) -> tuple[int, str]:
        reply = service.predict({"person": "p", "x": x})
        return reply.status, reply.json["predictions"][0]["arm"] if reply.status == 200 else ""

    def states() -> dict[str, str]:
        told: dict[str, str] = service.status()["endpoints"]["wage"]["breakers"]
        return told

    place.until(lambda: ask(-1.0) == (200, "fallback"), "the breaker to open")
    # Again and again it is tried with rows on which it fails: no caller sees anything of it.
    began, seen = time.monotonic(), set[tuple[int, str]]()
    while time.monotonic() < began + 1.5:
        seen.add(ask(-1.0))
    assert seen == {(200, "fallback")}
    assert states() != {}
    place.until(lambda: ask(5.0) == (200, "live"), "the breaker to close, with rows on which it does well")
    assert states() == {}
