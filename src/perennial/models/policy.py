"""Which types a model file may name without anybody having vouched for it: the policy of this process.

What a file says of itself changes nothing here. skops knows which types of scikit-learn, numpy and scipy are plain
data; the setting `trusted_types` adds names for all processes of a workspace. It is applied once, when one starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from perennial.errors import ConfigError

__all__ = ["allow_types", "allowed_types", "types_in"]

_TYPE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
# To build one of these runs code, whatever it is given; no setting makes them safe.
_NEVER = ("builtins.", "os.", "posix.", "subprocess.", "sys.", "importlib.", "runpy.", "pickle.", "ctypes.")

_allowed: set[str] = set()


def allow_types(names: Iterable[str]) -> None:
    """Allow further types in model files that this process reads."""
    _allowed.update(names)


def allowed_types() -> frozenset[str]:
    """What was allowed beyond the list of the flavor that reads the file."""
    return frozenset(_allowed)


def types_in(setting: str) -> list[str]:
    """The names in the setting `trusted_types`, separated by commas.

    Raises:
        ConfigError: One of them is no type's full name, or is of a module that nobody can vouch for.

    >>> types_in("mypackage.models.Scorer, other.Kind")
    ['mypackage.models.Scorer', 'other.Kind']
    """
    names = [name for part in setting.split(",") if (name := part.strip())]
    for name in names:
        if not _TYPE.fullmatch(name) or name.startswith(_NEVER):
            raise ConfigError(
                f"{name!r} cannot be a trusted type", where="setting trusted_types", remedy="write module.Class"
            )
    return names
