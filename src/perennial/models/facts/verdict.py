"""What one requirement found: a row of the traceability table."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

__all__ = ["Verdict"]


class Verdict(Struct, frozen=True, kw_only=True):
    """`sentence`: what is required. `passed`: None where it does not apply. `says`: what was found.

    Machine timings stand under "timing" in the evidence, because they differ from run to run.
    """

    kind: str
    sentence: str
    passed: bool | None
    says: str
    evidence: dict[str, Any] = {}
