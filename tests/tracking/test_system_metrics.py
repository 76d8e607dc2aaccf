"""The machine is measured beside a run, GPUs through what answers like NVIDIA's library, and no part costs another."""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perennial.clock import SystemClock
from perennial.config import Settings
from perennial.store.workspace_folder import create_folder
from perennial.tracking.about import shown_command
from perennial.tracking.system_metrics import Gpus, Machine, SystemMetrics, find_gpus
from perennial.workspace import Owned


class NVMLError(Exception):
    pass


class FakeNvml:
    """Two GPUs, the second of which has no sensor of power."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0

    def nvmlInit(self) -> None: ...
    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        return SimpleNamespace(gpu=40 + handle, memory=5)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(used=20_000_000_000, total=80_000_000_000)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        if handle == 1:
            raise NVMLError("Not Supported")
        return 250_500

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return 60 + handle


def test_gpus_are_told_in_the_fields_units() -> None:
    assert Gpus(FakeNvml()).measure() == {
        "gpu_0_utilization_percent": 40.0,
        "gpu_0_memory_used_gb": 20.0,
        "gpu_0_memory_percent": 25.0,
        "gpu_0_power_w": 250.5,
        "gpu_0_temperature_c": 60.0,
        "gpu_1_utilization_percent": 41.0,
        "gpu_1_memory_used_gb": 20.0,
        "gpu_1_memory_percent": 25.0,
        "gpu_1_temperature_c": 61.0,
    }


def test_without_the_library_or_a_driver_there_are_no_gpus() -> None:
    assert find_gpus("no_such_library_of_nvidia") is None
    assert find_gpus("json") is None  # a module that does not answer like it


def test_the_machine_is_measured_within_its_bounds(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.measure()
    found = machine.measure()
    for name, value in found.items():
        assert value >= 0, name
        if name.endswith("_percent") and not name.startswith("process"):
            assert value <= 100, name
    assert found["memory_used_gb"] > found["process_memory_gb"] > 0
    assert found["process_threads"] >= 1


def test_a_part_that_fails_is_told_once_and_costs_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    seen: queue.Queue[tuple[dict[str, float], int]] = queue.Queue()

    def broken() -> dict[str, float]:
        raise RuntimeError("the driver went away")

    def sound() -> dict[str, float]:
        return {"cpu_percent": 5.0}

    metrics = SystemMetrics(lambda *told: seen.put(told), every_s=0.01, parts=lambda: [broken, sound])
    told = [seen.get(timeout=60) for _ in range(3)]
    metrics.stop()
    assert told == [({"system/cpu_percent": 5.0}, step) for step in range(3)]
    assert capsys.readouterr().err.count("the driver went away") == 1


def test_a_run_is_measured_until_its_end(tmp_path: Path) -> None:
    folder = create_folder(tmp_path / "ws", now=SystemClock().now())
    with Owned(folder, Settings()).workspace as ws:
        arrived = threading.Event()
        with ws.runs.start("x", code=False, system_every_s=0.02) as run:
            while run.counts.received < 20:
                arrived.wait(0.01)
            run.log(loss=1.0)  # its step is not counted together with those
        found = ws.runs.get(run_id=run.id).metrics
        assert {"system/cpu_percent", "system/memory_used_gb", "system/disk_used_percent"} <= set(found)
        assert found["loss"].step == 0
        assert found["system/cpu_percent"].step >= 1


def test_C19_a_command_is_shown_without_what_is_secret() -> None:
    words = ["python", "train.py", "--password", "hunter2", "--wandb-api-key=abc", "--depth", "3", "pg://u:p@host/db"]
    assert shown_command(words) == "python train.py --password *** --wandb-api-key=*** --depth 3 pg://***@host/db"
