"""How pages write values down: moments, durations, numbers, sizes, addresses of other pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from urllib.parse import quote, urlencode

from perennial.clock import iso
from perennial.types import Micros

__all__ = ["address", "column_spelled", "duration", "moment", "number", "shown", "size", "subject_path", "version_path"]

_SIZES = ("B", "KB", "MB", "GB", "TB")


def moment(value: object) -> str:
    """A time of microseconds, in UTC; what is none stays readable."""
    if not isinstance(value, int):
        return "-"
    try:
        return f"{datetime.fromisoformat(iso(Micros(value))):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError):
        return f"? ({value})"


def duration(started: object, ended: object) -> str:
    """How long something took, in the two largest units that say something."""
    if not isinstance(started, int) or not isinstance(ended, int):
        return "-"
    seconds = (ended - started) / 1e6
    if seconds < 0:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min {int(seconds % 60)} s"


def number(value: object) -> str:
    """A metric's value with six digits; the infinities and NaN by their names."""
    return f"{value:.6g}" if isinstance(value, int | float) else shown(value)


def size(value: object) -> str:
    """A number of bytes."""
    if not isinstance(value, int):
        return "-"
    amount = float(value)
    for unit in _SIZES:
        if amount < 1000 or unit == _SIZES[-1]:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("the last unit takes everything")


def shown(value: object) -> str:
    """A value, or a dash for none."""
    return "-" if value is None or value == "" else str(value)


def column_spelled(entity: str, key: str) -> str:
    """A metric, parameter or tag as the search language writes it: in whatever quotes its key leaves free."""
    return f"{entity}.`{key}`" if "`" not in key else f'{entity}."{key}"'


def address(path: str, query: Iterable[tuple[str, str]] = (), /, **changes: str | Sequence[str] | None) -> str:
    """A path with a query, in which `changes` stand instead of what was there; None takes a name out."""
    pairs = [(name, value) for name, value in query if name not in changes and value]
    for name, value in changes.items():
        pairs += [(name, one) for one in ([value] if isinstance(value, str) else value or ()) if one]
    return quote(path) + ("?" + urlencode(pairs) if pairs else "")


def version_path(subject: str) -> str:
    """The page of `model@version`."""
    name, _, version = subject.rpartition("@")
    return f"/models/{quote(name, safe='')}/{quote(version, safe='')}"


def subject_path(subject: str) -> str:
    """The page of what an event is about; the time line where it has none."""
    kind, _, rest = subject.partition("/")
    known = {"model": "/models/", "endpoint": "/endpoints/", "run": "/runs/", "incident": "/incidents/"}
    if kind == "model" and "/" not in rest:
        return f"/models/{quote(rest)}"
    return known[kind] + quote(rest) if kind in known else "/log"
