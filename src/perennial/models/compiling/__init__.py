"""Turn a fitted model into a form that answers in microseconds, and use it only where it is proven equal and faster.

`compile_model` converts, proves and times (`compiler`); `load_compiled` runs the result and imports neither the
toolkit nor what converted it. What was chosen, and what was measured: docs/decisions/0022-compiled-and-proven.md.
"""

from __future__ import annotations

from perennial.models.compiling.compiler import Compiled, compile_model
from perennial.models.compiling.scorer import CompiledScorer, load_compiled

__all__ = ["Compiled", "CompiledScorer", "compile_model", "load_compiled"]
