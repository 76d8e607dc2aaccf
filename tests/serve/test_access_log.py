"""The access log: off until it is asked for, a share of what went well and all of what did not, never an input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from perennial.clock import SystemClock
from perennial.serve.access_log import KEPT, AccessLog
from perennial.serve.protocols.grpc_messages import SERVICE, message
from perennial.serve.watching import Seen
from perennial.store.files import LocalFiles

SECRET = "Zaphod-Beeblebrox"
ROW = {"person": SECRET, "x": 1234567.5}


def lines(place: Any) -> list[dict[str, Any]]:
    files = sorted((place.serving / "access").glob("*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def test_without_the_setting_nothing_is_written(place: Any) -> None:
    place.desire(place.endpoint(live=place.linear(1)))
    service = place.serve()
    place.applied()
    assert service.predict(ROW).status == 200
    assert service.stop() == 0
    assert not (place.serving / "access").exists()


def test_each_line_says_who_answered_what_and_how_long_and_holds_no_input(place: Any) -> None:
    place.desire(place.endpoint(live=place.linear(1)), place.endpoint("fails", live=place.arm(2)))
    service = place.serve("--access-log", "--access-log-share", "1", "--fronts", "2", "--grpc-port", "0")
    place.applied()
    answered = service.predict(ROW, ROW)
    large = [{"person": SECRET + "w" * 400, "x": 1.0}] * 4000
    assert service.predict(*large).status == 200
    refused = service.predict(ROW | {"x": SECRET})
    failed = service.predict(ROW | {"x": -1.0}, endpoint="fails")
    with grpc.insecure_channel(place.status().grpc) as channel:
        infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        request = message("ModelInferRequest")(model_name="wage")
        request.inputs.add(name="person", datatype="BYTES", shape=[1]).contents.bytes_contents.append(SECRET.encode())
        request.inputs.add(name="x", datatype="FP64", shape=[1]).contents.fp64_contents.append(1234567.5)
        for at in range(4):
            assert infer(request.SerializeToString(), timeout=120, metadata=(("idempotency-key", f"k{at}"),))
    assert service.send("GET", f"/{SECRET}?{SECRET}").status == 404
    assert service.stop() == 0
    found = lines(place)
    assert len(found) == 9
    by_id = {line["request_id"]: line for line in found}
    first = by_id[answered.json["predictions"][0]["id"]]
    assert (first["endpoint"], first["version"], first["status"], first["rows"]) == ("wage", 1, 200, 2)
    assert 0 < first["decode_ms"] <= first["ms"]
    assert 0 < first["capture_ms"] < first["ms"]
    told = by_id[refused.json["request_id"]]
    assert (told["endpoint"], told["status"], told["rows"], told["version"]) == ("wage", 422, 0, None)
    told = by_id[failed.json["request_id"]]
    assert (told["endpoint"], told["version"], told["status"]) == ("fails", 2, 500)
    (told,) = [line for line in found if line["rows"] == 4000]  # once, by the front that answered it
    assert told["status"] == 200
    assert [line["status"] for line in found if line["protocol"] == "grpc"] == [200] * 4
    (told,) = [line for line in found if line["status"] == 404]
    assert told["endpoint"] is None
    text = "".join(path.read_text() for path in (place.serving / "access").iterdir())
    assert SECRET not in text
    assert "1234567" not in text


def test_of_what_goes_well_a_share_and_of_what_does_not_all(place: Any) -> None:
    place.desire(place.endpoint(live=place.linear(1)))
    service = place.serve("--access-log", "--access-log-share", "0.2", "--fronts", "1")
    place.applied()
    for _ in range(400):
        assert service.predict(ROW).status == 200
    for _ in range(20):
        assert service.predict({"person": SECRET}).status == 422
    assert service.stop() == 0
    statuses = [line["status"] for line in lines(place)]
    assert statuses.count(422) == 20
    # 80 expected of a binomial, standard deviation 8: five of them.
    assert 40 <= statuses.count(200) <= 120


@pytest.mark.parametrize("share", ["-0.1", "1.1", "much"])
def test_a_share_that_is_none_is_refused_at_start(tmp_path: Path, share: str) -> None:
    from perennial.serve.__main__ import main

    with pytest.raises(SystemExit) as ended:
        main(["--workspace", str(tmp_path), "--access-log-share", share])
    assert ended.value.code == 2


def test_full_files_are_turned_over_and_the_whole_is_bounded(tmp_path: Path) -> None:
    made = AccessLog(tmp_path, LocalFiles(), SystemClock(), name="front-0", share=1.0, max_bytes=2000)
    for at in range(400):
        made.saw(Seen("plain", "wage", 200, f"r{at}"))
        made.flush()
    made.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(["front-0.jsonl", *(f"front-0.{number}.jsonl" for number in range(1, KEPT + 1))])
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())
    kept = [
        json.loads(line)["request_id"]
        for name in [f"front-0.{number}.jsonl" for number in range(KEPT, 0, -1)] + ["front-0.jsonl"]
        for line in (tmp_path / name).read_text().splitlines()
    ]
    assert kept == [f"r{at}" for at in range(400 - len(kept), 400)]  # the newest, in order, none lost between files
    more = AccessLog(tmp_path, LocalFiles(), SystemClock(), name="front-0", share=1.0, max_bytes=2000)
    more.saw(Seen("plain", "wage", 200, "r400"))  # a process that comes after it goes on behind it
    more.close()
    text = (tmp_path / "front-0.jsonl").read_text().splitlines() + (
        tmp_path / "front-0.1.jsonl"
    ).read_text().splitlines()
    assert {"r399", "r400"} <= {json.loads(line)["request_id"] for line in text}


def test_a_disk_that_takes_no_lines_costs_lines_alone(tmp_path: Path) -> None:
    (tmp_path / "access").write_text("no folder")
    made = AccessLog(tmp_path / "access", LocalFiles(), SystemClock(), name="front-0", share=1.0)
    made.saw(Seen("plain", "wage", 200, "lost"))
    made.flush()
    (tmp_path / "access").unlink()
    made.saw(Seen("plain", "wage", 200, "kept"))
    made.close()
    assert [
        json.loads(line)["request_id"] for line in (tmp_path / "access" / "front-0.jsonl").read_text().splitlines()
    ] == ["kept"]
