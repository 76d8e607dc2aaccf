"""Where a model computes, and how it is known that an accelerator gave out: which is no fault of the rows it was asked.

Toolkits have no common error for it, and importing one to look costs seconds, so errors are known by name and text.
After most of these errors a process can use the device no more: what helps is a new process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from perennial.errors import Unavailable

__all__ = [
    "DEVICE",
    "AcceleratorFailed",
    "asks_for_accelerator",
    "failure_of_accelerator",
    "is_out_of_memory",
    "without_accelerators",
]

DEVICE = "PERENNIAL_DEVICE"  # "cuda": answer on the graphics card where there is one; anything else: on the CPU
_CHOOSE = frozenset({"pytorch"})  # flavors whose native model computes where `DEVICE` says
_HIDDEN = {DEVICE: "cpu", "CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
_NAMES = frozenset(
    {
        "AcceleratorError",  # torch
        "CUDADriverError",  # cupy
        "CUDARuntimeError",  # cupy
        "CudaAPIError",  # numba
        "CudaDriverError",  # numba
        "OutOfMemoryError",  # torch, cupy
        "ResourceExhaustedError",  # tensorflow
    }
)
_SAYS = re.compile(
    r"""\bCUDA\ (?:error|failure|out\ of\ memory|driver\ error)|\bcuda(?:Error|Malloc|Launch)|\bCUDA_ERROR
    |\bCU(?:BLAS|DNN|SOLVER|SPARSE|FFT)(?:_STATUS|\ error|\ failure)|\bNCCL\ error|\bdevice-side\ assert
    |\bHIP\ (?:error|out\ of\ memory)|\bhipError|\bMPS\ backend\ out\ of\ memory|\bRESOURCE_EXHAUSTED\b""",
    re.VERBOSE | re.IGNORECASE,
)
_MEMORY = re.compile(r"out of memory|memory ?allocation|\bALLOC_FAILED\b|RESOURCE_EXHAUSTED", re.IGNORECASE)
_DEPTH = 10  # errors behind an error that are looked at


class AcceleratorFailed(Unavailable):
    """The device that a model computes on is lost or out of memory."""


def asks_for_accelerator(kind: str) -> bool:
    """Whether a model of this flavor shall answer on an accelerator: its native form, as the compiled one does not."""
    return kind in _CHOOSE and os.environ.get(DEVICE) == "cuda"


def failure_of_accelerator(error: BaseException) -> str | None:
    """What an accelerator said, if this error, or one that led to it, is an accelerator's; None if none is.

    >>> failure_of_accelerator(RuntimeError("CUDA error: an illegal memory access was encountered"))
    'RuntimeError: CUDA error: an illegal memory access was encountered'
    >>> failure_of_accelerator(ValueError("cuda is a word"))
    """
    at: BaseException | None = error
    for _ in range(_DEPTH):
        if at is None:
            return None
        text = at.what if isinstance(at, AcceleratorFailed) else str(at)
        if isinstance(at, AcceleratorFailed):
            return text
        if any(kind.__name__ in _NAMES for kind in type(at).__mro__) or _SAYS.search(text):
            first = text.strip().partition("\n")[0]
            return f"{type(at).__name__}: {first}"[:300]
        at = at.__cause__ or at.__context__
    return None


def is_out_of_memory(said: str) -> bool:
    """Whether that is what the accelerator said: fewer rows may still fit.

    >>> is_out_of_memory("OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB.")
    True
    """
    return _MEMORY.search(said) is not None


def without_accelerators(environment: Mapping[str, str]) -> dict[str, str]:
    """The same environment for a process that shall see no accelerator."""
    return {**environment, **_HIDDEN}
