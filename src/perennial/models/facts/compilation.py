"""How a model was compiled and proven, as it is stored in its package (without timings) and its evaluation (with)."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["Compilation", "Proof", "Timing"]


class Proof(Struct, frozen=True, kw_only=True):
    """Compiled beside native: rows of the test set and inputs made at the boundaries; what differed at most.

    `labels`: rows whose label differed; 0 is demanded. `tolerance`: of probabilities or numbers, relative to the
    spread of the answers; `difference` is the largest found, in the same unit.
    """

    rows: int
    boundary_rows: int
    labels: int
    difference: float
    tolerance: float


class Timing(Struct, frozen=True, kw_only=True):
    """Microseconds, medians of several rounds, one thread: native and compiled, 1 and 1,000 rows, arrays in.

    `columns_us`: turning one row of columns into the array, apart.
    """

    native_1_us: float
    compiled_1_us: float
    native_1000_us: float
    compiled_1000_us: float
    columns_us: float


class Compilation(Struct, frozen=True, kw_only=True):
    """`form`: "onnx-float32" | "onnx-float64" | None for native, with `reason` in words.

    `tried`: each form that was tried before, with why it was not taken. `main`: the compiled file in the package.
    """

    form: str | None
    reason: str
    tried: dict[str, str] = {}
    main: str | None = None
    proof: Proof | None = None
    timing: Timing | None = None
