"""How busy the machine and this process are while a run goes on: processor, memory, disk, network and GPUs.

Measured on a thread of its own. A metric's name holds its unit: `system/cpu_percent`, `system/gpu_0_power_w`. Rates are
means since the measurement before. GPUs are measured when NVIDIA's library is there (`pip install nvidia-ml-py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil

from perennial.tracking.spool import complain

__all__ = ["EVERY_S", "Gpus", "Machine", "SystemMetrics", "find_gpus"]

EVERY_S = 10.0
PREFIX = "system/"
_MB, _GB = 1e6, 1e9


class Machine:
    """Measures processor, memory, disk and network, of the whole machine and of this process. For one thread."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path.cwd()
        self._process = psutil.Process()
        psutil.cpu_percent()  # the first answer means nothing
        self._process.cpu_percent()
        self._before = (time.monotonic(), *self._traffic())

    def measure(self) -> dict[str, float]:
        """Everything now; rates since the last time."""
        memory, process = psutil.virtual_memory(), self._process
        with process.oneshot():
            found = {
                "cpu_percent": psutil.cpu_percent(),
                "memory_percent": memory.percent,
                "memory_used_gb": memory.used / _GB,
                "process_cpu_percent": process.cpu_percent(),  # of one processor, so it may be above 100
                "process_memory_gb": process.memory_info().rss / _GB,
                "process_threads": float(process.num_threads()),
            }
        found["disk_used_percent"] = psutil.disk_usage(str(self._folder)).percent
        before, now = self._before, (time.monotonic(), *self._traffic())
        self._before = now
        seconds = max(now[0] - before[0], 1e-6)
        names = ("disk_read_mb_per_s", "disk_write_mb_per_s", "network_received_mb_per_s", "network_sent_mb_per_s")
        for name, new, old in zip(names, now[1:], before[1:], strict=True):
            found[name] = max(0.0, new - old) / _MB / seconds  # a counter that began anew is no rate
        return found

    def _traffic(self) -> tuple[float, float, float, float]:
        disk, network = psutil.disk_io_counters(), psutil.net_io_counters()  # None where the system tells nothing
        read, written = (disk.read_bytes, disk.write_bytes) if disk else (0.0, 0.0)
        received, sent = (network.bytes_recv, network.bytes_sent) if network else (0.0, 0.0)
        return read, written, received, sent


class Gpus:
    """Measures NVIDIA's GPUs through its management library, or what answers like the module `pynvml`."""

    def __init__(self, nvml: Any) -> None:
        """Raises: Whatever the library raises when there is no driver."""
        nvml.nvmlInit()
        self._nvml = nvml
        self._handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]

    def measure(self) -> dict[str, float]:
        """What each GPU tells; what one does not tell is left out."""
        found: dict[str, float] = {}
        for index, handle in enumerate(self._handles):
            for read in (_utilization, _memory, _power, _temperature):
                try:
                    values = read(self._nvml, handle)
                except self._nvml.NVMLError:
                    continue  # not every GPU has every sensor, and one may be lost
                found |= {f"gpu_{index}_{name}": value for name, value in values.items()}
        return found


class SystemMetrics:
    """Measures until it is stopped. A part that fails is told once and not asked again; the others go on."""

    def __init__(
        self,
        log: Callable[[dict[str, float], int], None],
        *,
        every_s: float = EVERY_S,
        parts: Callable[[], list[Callable[[], dict[str, float]]]] | None = None,
    ) -> None:
        """
        Args:
            log: Is given what was measured, and the how manyth time it was.
            every_s: How often.
            parts: Gives what measures, on the thread that does; by default the machine and its GPUs.
        """
        self._log = log
        self._every_s = max(every_s, 0.01)
        self._find = parts or _parts
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="perennial-system-metrics", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Nothing is logged any more once this returns."""
        self._stopped.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(5.0)

    def _run(self) -> None:
        parts = self._find()
        step = 0
        while parts and not self._stopped.wait(self._every_s):
            found: dict[str, float] = {}
            for part in list(parts):
                try:
                    found |= part()
                except Exception as error:  # noqa: BLE001  # the boundary of the thread: told, and not asked again
                    parts.remove(part)
                    complain(f"a part of the system metrics ends: {type(error).__name__}: {error}")
            if found and not self._stopped.is_set():
                self._log({f"{PREFIX}{name}": value for name, value in found.items()}, step)
                step += 1


def find_gpus(module: str = "pynvml") -> Gpus | None:
    """The GPUs of this machine; None without NVIDIA's library, driver or GPU."""
    try:
        return Gpus(import_module(module))
    except Exception:  # noqa: BLE001  # each release raises something else where there is no driver
        return None


def _parts() -> list[Callable[[], dict[str, float]]]:
    gpus = find_gpus()
    return [Machine().measure, *([gpus.measure] if gpus is not None else [])]


def _utilization(nvml: Any, handle: Any) -> dict[str, float]:
    return {"utilization_percent": float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)}


def _memory(nvml: Any, handle: Any) -> dict[str, float]:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return {"memory_used_gb": memory.used / _GB, "memory_percent": 100.0 * memory.used / max(memory.total, 1)}


def _power(nvml: Any, handle: Any) -> dict[str, float]:
    return {"power_w": nvml.nvmlDeviceGetPowerUsage(handle) / 1000.0}  # told in milliwatts


def _temperature(nvml: Any, handle: Any) -> dict[str, float]:
    return {"temperature_c": float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))}
