"""What a process that loads a model may have and do: defence in depth around code that somebody vouched for, or not.

Its environment holds what toolkits need to start, and no secrets. Files that it makes are for this user alone, it
leaves no memory image behind, its memory can be limited, and Python code in it reaches no network. This is no wall: a
library in C, or a program that the model starts, asks the operating system directly, and the process runs as the user
who serves. What keeps code of strangers out is that it is not loaded (`Predictor.load`).
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping

import msgspec

from perennial.config import Settings
from perennial.models.accelerator import DEVICE
from perennial.models.policy import allow_types, types_in

__all__ = ["Rules", "confine", "environment", "rules_of"]

OPEN_FILES = 4096
_NAMES = frozenset(
    {
        "DYLD_LIBRARY_PATH",
        "HOME",
        "JAVA_HOME",
        "KERAS_BACKEND",
        "KERAS_HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "LOGNAME",
        "PATH",
        DEVICE,
        "POLARS_MAX_THREADS",
        "RENV_PATHS_CACHE",
        "SYSTEMROOT",
        "TEMP",
        "TMP",
        "TMPDIR",
        "TZ",
        "TZDIR",
        "USER",
        "VIRTUAL_ENV",
        "XDG_CACHE_HOME",
    }
)
_BEGINNINGS = ("CUDA_", "KMP_", "LC_", "MKL_", "NUMBA_", "NVIDIA_", "OMP_", "OPENBLAS_", "PYTHON", "R_", "TF_")
_NETWORK = frozenset(
    {
        "socket.bind",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyaddr",
        "socket.gethostbyname",
        "socket.getnameinfo",
        "socket.sendto",
    }
)


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker is confined: the settings worker_network, worker_memory_bytes (0 is no limit), trusted_types."""

    network: bool = False
    memory_bytes: int = 0
    types: list[str] = []


def rules_of(settings: Settings) -> Rules:
    """How a workspace confines who loads its models."""
    return Rules(
        network=settings.worker_network,
        memory_bytes=settings.worker_memory_bytes,
        types=types_in(settings.trusted_types),
    )


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """What of an environment a worker gets; one thread for each library unless the environment says otherwise."""
    kept = {name: value for name, value in given.items() if name in _NAMES or name.startswith(_BEGINNINGS)}
    return {"OMP_NUM_THREADS": "1", **kept}


def confine(rules: Rules) -> None:
    """Bind this process to the rules, for good. Call it first, in a process that was started for this.

    What the operating system does not have is left out: on macOS a limit of memory is taken and not enforced.
    """
    os.umask(0o077)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    if rules.memory_bytes:
        # Of what it writes to; address space that a JVM or a GPU library only reserves does not count.
        _limit(resource.RLIMIT_DATA, rules.memory_bytes)
    # Byte code beside a package's sources is in no manifest: none is written, and none of another's is taken.
    sys.dont_write_bytecode = True
    allow_types(rules.types)
    if not rules.network:
        sys.addaudithook(_no_network)


def _no_network(event: str, arguments: tuple[object, ...]) -> None:
    if event in _NETWORK:
        raise PermissionError(f"{event}: there is no network in a model's worker (setting worker_network)")


def _limit(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (bound, bound))
