"""An accelerator that is lost, or out of memory: a new process goes on with the CPU where it may, and nobody hangs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from perennial.models.accelerator import failure_of_accelerator, is_out_of_memory, without_accelerators

# Computes on a device that gives out when a row says so, as PyTorch tells it; on the CPU it answers everything.
ON_DEVICE = """
import os

class OutOfMemoryError(RuntimeError):
    pass

class OnDevice:
    lost = False

    def predict(self, frame):
        if os.environ.get("PERENNIAL_DEVICE") == "cuda":
            if len(frame) > 8:
                raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 1 GiB free")
            if self.lost or (frame["x"] == 10013).any():
                OnDevice.lost = True  # as with a real one: every call fails from now on
                raise RuntimeError("CUDA error: an illegal memory access was encountered\\nCUDA kernel errors ...")
        elif "PERENNIAL_DEVICE" in os.environ and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
            raise ValueError("the device is still to be seen")
        return [x + 1.0 for x in frame["x"]]
"""


@pytest.fixture
def arm(place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A version whose model computes on a device."""
    (tmp_path / "on_device.py").write_text(ON_DEVICE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("PERENNIAL_DEVICE", raising=False)
    import on_device  # type: ignore[import-not-found]

    return place.probe(1, on_device.OnDevice(), {"on_device.py": ON_DEVICE.encode()})


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: device-side assert triggered"),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 2.00 GiB"),
        type("ResourceExhaustedError", (Exception,), {})("OOM when allocating tensor with shape[1000,1000]"),
        type("XlaRuntimeError", (RuntimeError,), {})("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"),
        RuntimeError("CUDNN_STATUS_EXECUTION_FAILED: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory ; GPU=0"),
        RuntimeError("cudaErrorMemoryAllocation: out of memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    ],
)
def test_F20_errors_of_accelerators_are_known_without_their_toolkits(error: Exception) -> None:
    try:
        raise ValueError("the model failed") from error
    except ValueError as outer:
        said = failure_of_accelerator(outer)
    assert said is not None
    assert str(error)[:30] in said


@pytest.mark.parametrize(
    "error", [ValueError("this row is cursed"), MemoryError(), KeyError("cuda"), RuntimeError("shape [1, 2] at GPU")]
)
def test_F20_an_error_of_a_row_is_not_taken_for_one(error: Exception) -> None:
    assert failure_of_accelerator(error) is None


def test_F20_who_is_to_do_without_sees_no_device() -> None:
    seen = without_accelerators({"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "0", "PERENNIAL_DEVICE": "cuda"})
    assert seen["CUDA_VISIBLE_DEVICES"] == ""
    assert seen["PERENNIAL_DEVICE"] == "cpu"
    assert seen["PATH"] == "/bin"
    assert is_out_of_memory("OutOfMemoryError: CUDA out of memory.")
    assert not is_out_of_memory("RuntimeError: CUDA error: an illegal memory access was encountered")


def test_F20_a_lost_device_is_replaced_by_the_CPU_and_its_request_is_answered(place: Any, arm: Any) -> None:
    place.desire(place.endpoint(live=arm))
    service = place.serve("--device", "cuda")
    place.applied()
    assert service.predict({"person": "p", "x": 1.0}).json["predictions"][0]["prediction"] == 2.0
    many = service.predict(*({"person": f"p{i}", "x": float(i)} for i in range(20, 60))).json["predictions"]
    assert [row["prediction"] for row in many] == [1.0 + i for i in range(20, 60)]  # in parts that fit
    (before,) = service.workers()
    began = time.monotonic()
    lost = service.predict({"person": "p", "x": 10013.0})
    assert lost.status == 200
    assert lost.json["predictions"][0]["prediction"] == 10014.0
    assert time.monotonic() - began < 30.0  # the time of a request, which it may take for the new process
    place.until(lambda: service.workers() not in ([], [before]))
    assert service.predict({"person": "p", "x": 2.0}).json["predictions"][0]["prediction"] == 3.0
    told = service.status()["endpoints"]["wage"]
    assert "illegal memory access" in told["lost"]["live"]
    assert told["problem"] is None
    assert "perennial_accelerators_lost 1" in service.get("/metrics").body.decode()


def test_F20_without_leave_to_fall_back_it_is_503_and_the_fallback_answers_when_it_keeps_failing(
    place: Any, arm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.desire(place.endpoint(live=arm, fallback=place.arm(2)))
    monkeypatch.setenv("PERENNIAL_DEVICE", "cuda")  # holds for a service that is started by itself, too
    service = place.serve("--no-device-fallback")
    place.applied()
    assert service.predict({"person": "p", "x": 1.0}).json["predictions"][0]["prediction"] == 2.0
    lost = service.predict({"person": "p", "x": 10013.0})
    assert lost.status == 503
    assert lost.headers["retry-after"]
    place.until(lambda: _lose(service) or service.status()["endpoints"]["wage"]["breakers"].get("live") == "crashing")
    answered = service.predict({"person": "p", "x": 10013.0})
    assert answered.status == 200
    assert answered.json["predictions"][0]["version"] == 2


def _lose(service: Any) -> None:
    service.predict({"person": "p", "x": 10013.0})
