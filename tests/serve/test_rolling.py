"""Fronts are replaced while clients ask, and none of them notices."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from perennial.serve.protocols.grpc_messages import SERVICE, message
from perennial.store.files import LocalFiles

ROW = {"person": "p", "x": 1.0}


class Kept:
    """Clients that keep their connections and ask on them again and again, each with a number of its own."""

    def __init__(self, service: Any, clients: int, *, pause_s: float = 0.0, keys: bool = False) -> None:
        self.answers: list[tuple[float, dict[str, Any]]] = []
        self.errors: list[str] = []
        self._service, self._pause_s, self._keys = service, pause_s, keys
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(client,)) for client in range(clients)]
        for thread in self._threads:
            thread.start()

    def _ask(self, client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._service.port, timeout=60.0)
        count = 0
        while not self._ending.is_set():
            count += 1
            x = client * 1e6 + count
            headers = {"Idempotency-Key": f"{client}-{count}-{self._pause_s}"} if self._keys else {}
            body = json.dumps({"records": [{"person": "p", "x": x}]}).encode()
            for _ in range(2 if self._keys else 1):  # the repetition is the same prediction
                try:
                    connection.request("POST", "/predict/wage", body, headers)
                    response = connection.getresponse()
                    told = response.read()
                except (OSError, http.client.HTTPException) as error:
                    self.errors.append(repr(error))
                    return
                if response.status != 200:
                    self.errors.append(told.decode())
                    continue
                self.answers.append((x, json.loads(told)["predictions"][0]))
            time.sleep(self._pause_s)
        connection.close()

    def end(self) -> list[tuple[float, dict[str, Any]]]:
        self._ending.set()
        for thread in self._threads:
            thread.join()
        return self.answers


def rolled(place: Any, service: Any, before: list[int]) -> list[int]:
    """Restart the fronts; the process ids of the new ones, when none of those `before` is left."""
    service.process.send_signal(signal.SIGHUP)

    def done() -> list[int]:
        now = service.fronts()
        return now if len(now) == len(before) and not set(now) & set(before) else []

    return place.until(done, "fronts that are all new")


def test_S10_three_rolling_restarts_lose_no_request_on_kept_and_fresh_connections(place: Any) -> None:
    place.desire(place.endpoint(live=place.linear(1)))
    service = place.serve("--fronts", "2")
    place.applied()
    fresh, busy = place.load(service, 3), Kept(service, 3)
    # These are between two requests most of the time, and the connections are given away then.
    idle, keyed = Kept(service, 4, pause_s=0.05), Kept(service, 2, pause_s=0.01, keys=True)
    fronts = service.fronts()
    for _ in range(3):
        said = len(busy.answers)
        place.until(lambda said=said: len(busy.answers) > said + 50, "progress of the clients")
        fronts = rolled(place, service, fronts)
    said = len(idle.answers)
    place.until(lambda: len(idle.answers) > said + 20, "progress of the clients")
    replies = fresh.end()
    kept = [*busy.end(), *idle.end(), *keyed.end()]
    assert [*fresh.failures, *busy.errors, *idle.errors, *keyed.errors] == []
    assert [reply.body for _, reply in replies if reply.status != 200] == []
    answers = kept + [(x, reply.json["predictions"][0]) for x, reply in replies]
    assert all(answer["prediction"] == pytest.approx(x + 1) for x, answer in answers)
    written = {frame.id: frame.outputs[0]["prediction"] for frame in place.predicted()}
    assert written == {answer["id"]: answer["prediction"] for _, answer in answers}
    # Each key was sent twice, and is one prediction, also where another front answered the repetition.
    assert len({answer["id"] for _, answer in keyed.answers}) * 2 == len(keyed.answers)
    status = service.status()
    assert (status["received"], status["stored"], status["dropped"]) == (len(written), len(written), 0)
    assert b"perennial_fronts 2" in service.get("/metrics").body
    assert service.stop() == 0


def test_S10_a_connection_goes_from_process_to_process_between_two_requests(place: Any) -> None:
    place.desire(place.endpoint(live=place.linear(1)))
    service = place.serve("--fronts", "1")
    place.applied()
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60.0)
    connection.request("GET", "/livez")
    assert connection.getresponse().read() == b'{"status":"ok"}'
    ours = connection.sock.getsockname()
    fronts = service.fronts()
    for _ in range(3):
        fronts = rolled(place, service, fronts)
        connection.request("POST", "/predict/wage", json.dumps({"records": [ROW]}))
        response = connection.getresponse()
        assert (response.status, response.getheader("connection")) == (200, None)
        assert json.loads(response.read())["predictions"][0]["prediction"] == pytest.approx(2.0)
        assert connection.sock.getsockname() == ours
    connection.close()


def test_S10_half_a_request_and_a_slow_answer_are_finished_by_the_front_that_has_them(place: Any) -> None:
    place.desire(place.endpoint("wage", live=place.arm(1, slow_s=1.0)))
    service = place.serve("--fronts", "1")
    place.applied()
    body = json.dumps({"records": [ROW]}).encode()
    half, slow = (http.client.HTTPConnection("127.0.0.1", service.port, timeout=60.0) for _ in range(2))
    half.putrequest("POST", "/predict/wage")
    half.putheader("content-length", str(len(body)))
    half.endheaders()
    half.send(body[:10])
    slow.request("POST", "/predict/wage", body)
    before = service.fronts()
    service.process.send_signal(signal.SIGHUP)
    place.until(lambda: len(service.fronts()) == 2, "a second front")
    time.sleep(0.3)
    half.send(body[10:])
    assert [connection.getresponse().status for connection in (half, slow)] == [200, 200]
    place.until(lambda: len(now := service.fronts()) == 1 and now != before, "the new front alone")
    for connection in (half, slow):
        connection.close()


def test_S10_shadow_answers_that_a_front_owes_are_given_by_the_next_one(place: Any) -> None:
    place.desire(place.endpoint(live=place.linear(1), shadow=place.arm(2, slow_s=0.1)))
    service = place.serve("--fronts", "1")
    place.applied()
    ids = [service.predict(ROW).json["predictions"][0]["id"] for _ in range(30)]
    assert service.status()["shadow_pending"] > 0
    rolled(place, service, service.fronts())
    place.until(lambda: service.status()["shadow_pending"] == 0, "shadow answers")
    assert sorted(told.id for told in place.shadowed()) == sorted(ids)


def test_S10_settings_that_have_changed_hold_after_a_rolling_restart_and_wrong_ones_change_nothing(
    place: Any, tmp_path: Path
) -> None:
    settings = tmp_path / "pyproject.toml"

    def write(text: str) -> None:
        LocalFiles().write_atomic(settings, f"[tool.perennial]\n{text}\n".encode())

    write("max_predict_rows = 2")
    place.desire(place.endpoint(live=place.linear(1)))
    service = place.serve("--fronts", "1", "--max-rows", "2", "--project", str(tmp_path))
    place.applied()
    assert [service.predict(*[ROW] * rows).status for rows in (2, 3)] == [200, 422]
    write("max_predict_rows = 3")
    fronts = rolled(place, service, service.fronts())
    assert [service.predict(*[ROW] * rows).status for rows in (3, 4)] == [200, 422]
    write("max_predict_rows = 'many'")
    service.process.send_signal(signal.SIGHUP)
    place.until(lambda: "the fronts are not restarted" in service.log(), "a word about it")
    assert service.fronts() == fronts
    assert service.predict(*[ROW] * 3).status == 200


@pytest.mark.long  # clients of gRPC go over within ten seconds, front by front
def test_S10_rolling_restarts_lose_no_call_of_grpc(place: Any) -> None:
    place.desire(place.endpoint(live=place.linear(1)))
    service = place.serve("--fronts", "2", "--grpc-port", "0")
    address = place.applied().grpc
    errors: list[str] = []
    got: list[float] = []
    ending = threading.Event()

    def ask(client: int, *, is_fresh: bool) -> None:
        channel = grpc.insecure_channel(address)
        count = 0
        while not ending.is_set():
            count += 1
            x = client * 1e6 + count
            asked = message("ModelInferRequest")(model_name="wage")
            asked.inputs.add(name="person", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"p")
            asked.inputs.add(name="x", datatype="FP64", shape=[1]).contents.fp64_contents.append(x)
            infer = channel.unary_unary(f"/{SERVICE}/ModelInfer", None, message("ModelInferResponse").FromString)
            try:
                got.append(infer(asked.SerializeToString(), timeout=60.0).outputs[0].contents.fp64_contents[0] - x)
            except grpc.RpcError as error:
                errors.append(str(error))
            if is_fresh:
                channel.close()
                # Without the pool of connections that channels of one process share.
                channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        channel.close()

    threads = [threading.Thread(target=ask, args=(at,), kwargs={"is_fresh": at % 2 == 1}) for at in range(4)]
    for thread in threads:
        thread.start()
    fronts = service.fronts()
    for _ in range(3):
        said = len(got)
        place.until(lambda said=said: len(got) > said + 300, "progress of the clients")
        fronts = rolled(place, service, fronts)
    ending.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert got == pytest.approx([1.0] * len(got))
    assert service.status()["received"] == len(got)


def test_S09_a_front_that_is_killed_while_it_retires_leaves_its_keys_in_the_segments(place: Any) -> None:
    place.desire(place.endpoint(live=place.linear(1)), place.endpoint("slow", live=place.arm(2, slow_s=2.0)))
    service = place.serve("--fronts", "1")
    place.applied()
    first = service.predict(ROW, key="k1").body
    (old,) = service.fronts()
    asking = threading.Thread(target=_ignored(lambda: service.predict(ROW, endpoint="slow", key="k2")))
    asking.start()
    time.sleep(0.5)
    service.process.send_signal(signal.SIGHUP)
    place.until(lambda: len(service.fronts()) == 2, "a second front")
    place.until(lambda: b"perennial_fronts 2" in service.get("/metrics").body, "a front that tells")
    os.kill(old, signal.SIGKILL)
    asking.join()
    place.until(lambda: len(now := service.fronts()) == 1 and now != [old], "the new front alone")
    assert service.predict(ROW, key="k1").body == first
    assert service.predict(ROW | {"x": 3.0}, key="k1").status == 409


def _ignored(ask: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        try:
            ask()
        except (OSError, http.client.HTTPException):
            pass  # its front was killed

    return run
