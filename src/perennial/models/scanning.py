"""Look for code in the files of a model, without running or loading any of it.

What is found is a warning for the person who decides, and nothing more: a scan that finds nothing proves nothing, and
a file that cannot be read to its end counts as unsafe. No decision here or elsewhere rests on a scan.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["scan"]

MAX_BYTES = 256 << 20  # of one file that is looked into; a larger one is told as not looked into
MAX_NAMES = 12
_PICKLES = frozenset({".pkl", ".pickle", ".joblib", ".pth", ".pt", ".bin", ".dill"})
_CODE = frozenset({".py", ".pyc", ".so", ".dylib", ".dll", ".jar", ".sh", ".R", ".r"})


def scan(files: Mapping[str, Path]) -> list[str]:
    """One sentence for each thing that is or may be code, in files by name."""
    return [sentence for name, path in sorted(files.items()) for sentence in _found(name, path)]


def _found(name: str, path: Path) -> Iterator[str]:
    suffix = Path(name).suffix
    if suffix in _CODE:
        yield f"{name} is code"
        return
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4)
    is_pickle = head[:1] == b"\x80" or suffix in _PICKLES
    if head == b"PK\x03\x04":
        yield from _in_zip(name, path)
    elif head[:2] == b"\x1f\x8b" and suffix.lower() == ".rds":
        yield f"{name} is an object of R, which is code"
    elif is_pickle and size > MAX_BYTES:
        yield f"{name} is a pickle too large to look into, so take it for unsafe"
    elif is_pickle:
        yield _in_pickle(name, path.read_bytes())


def _in_zip(name: str, path: Path) -> Iterator[str]:
    try:
        with zipfile.ZipFile(path) as opened:
            for member in opened.infolist():
                inner = f"{name}:{member.filename}"
                suffix = Path(member.filename).suffix
                if suffix in _CODE:
                    yield f"{inner} is code"
                elif suffix in _PICKLES and member.file_size > MAX_BYTES:
                    yield f"{inner} is a pickle too large to look into, so take it for unsafe"
                elif suffix in _PICKLES:
                    yield _in_pickle(inner, opened.read(member))
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        yield f"{name} is a zip that cannot be read ({error}), so take it for unsafe"


def _in_pickle(name: str, data: bytes) -> str:
    names: dict[str, None] = {}
    texts: list[str] = []
    try:
        for code, argument, _ in pickletools.genops(data):
            if code.name in ("GLOBAL", "INST"):
                names[str(argument).replace(" ", ".")] = None
            elif code.name == "STACK_GLOBAL":
                names[".".join(texts[-2:])] = None
            elif isinstance(argument, str):
                texts.append(argument)
    except Exception as error:  # noqa: BLE001  # an attacker wrote it: whatever it makes the reader raise is the finding
        return f"{name} cannot be read to its end as a pickle ({type(error).__name__}), so take it for unsafe"
    shown = sorted(names)
    more = f" and {len(shown) - MAX_NAMES} more" if len(shown) > MAX_NAMES else ""
    return f"{name} is a pickle, which is code; it names {_joined(shown[:MAX_NAMES])}{more}"


def _joined(names: list[Any]) -> str:
    return ", ".join(ascii(name)[1:-1][:100] for name in names) or "nothing"
