"""Every error that Perennial raises on purpose, as one tree.

    PerennialError
    |- Mistake                    the caller can mend it: exit 2, a 4xx answer
    |  |- LoopError               the loop file or its wiring
    |  |- DataError               a table that breaks its schema or contract
    |  |- ConfigError             a setting, a port, a folder
    |  |- Invalid                 a request that does not parse or fit its schema
    |  |- TooLarge                over a stated limit
    |  |- NotFound                no such thing
    |  |- Conflict                the state changed meanwhile
    |  |  `- AlreadyExists        the name is taken
    |  `- Forbidden               not allowed for this caller
    |- Refused                    the answer is no (a gate failed): exit 1
    `- Failure                    we failed: exit 3, a 5xx answer
       |- StoreError              the disk or database would not do it
       |  |- Corrupt              stored bytes differ from their digest or checksum
       |  `- ReadOnly             writing is off until somebody mends the cause
       |- Unavailable             not now: try again
       `- UserCodeError           the user's function raised: theirs to mend, so exit 2 and 422

An error says what happened, where, and what to do next; the three are fields, the sentence is built here.
Status codes belong to `api`, exit codes to `cli`.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AlreadyExists",
    "ConfigError",
    "Conflict",
    "Corrupt",
    "DataError",
    "Failure",
    "Forbidden",
    "Invalid",
    "LoopError",
    "Mistake",
    "NotFound",
    "PerennialError",
    "ReadOnly",
    "Refused",
    "StoreError",
    "TooLarge",
    "Unavailable",
    "UserCodeError",
    "error_named",
]


class PerennialError(Exception):
    """What happened (`what`), where (`where`, may be empty) and what to do next (`remedy`, may be empty)."""

    code: ClassVar[str] = "INTERNAL_ERROR"

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what, where, remedy)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.remedy:
            lines.append(f"  to go on: {self.remedy}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.where, self.remedy))


def _rebuild(kind: type[PerennialError], what: str, where: str, remedy: str) -> PerennialError:
    return kind(what, where=where, remedy=remedy)


class Mistake(PerennialError):
    """The caller can mend it."""

    code = "INVALID_PARAMETER_VALUE"


class LoopError(Mistake):
    """The loop file does not import, or its steps do not fit together."""


class DataError(Mistake):
    """A table breaks its schema or a contract such as row-by-row features."""


class ConfigError(Mistake):
    """A setting, port or folder cannot be used."""


class Invalid(Mistake):
    """A request does not parse or does not fit its schema."""


class TooLarge(Mistake):
    """A request is over a stated limit."""

    code = "REQUEST_TOO_LARGE"


class NotFound(Mistake):
    """There is no such thing."""

    code = "RESOURCE_DOES_NOT_EXIST"


class Conflict(Mistake):
    """The state is no longer what the caller expected."""

    code = "RESOURCE_CONFLICT"


class AlreadyExists(Conflict):
    """There is something of this name already."""

    code = "RESOURCE_ALREADY_EXISTS"


class Forbidden(Mistake):
    """This caller may not do this."""

    code = "PERMISSION_DENIED"


class Refused(PerennialError):
    """The answer is no: a requirement failed, a check found something."""

    code = "REFUSED"


class Failure(PerennialError):
    """We failed, not the caller."""


class StoreError(Failure):
    """The disk, object store or database would not do it."""


class Corrupt(StoreError):
    """Stored bytes differ from their digest or checksum."""

    code = "DATA_LOSS"


class ReadOnly(StoreError):
    """Writing is off until somebody mends the cause that is named."""

    code = "TEMPORARILY_UNAVAILABLE"


class Unavailable(Failure):
    """Not now; a retry may succeed."""

    code = "TEMPORARILY_UNAVAILABLE"


class UserCodeError(Failure):
    """The user's own function raised; `where` names its file and line."""

    code = "USER_CODE_ERROR"


def _tree(kind: type[PerennialError]) -> dict[str, type[PerennialError]]:
    found = {kind.__name__: kind}
    for child in kind.__subclasses__():
        found |= _tree(child)
    return found


def error_named(kind: str) -> type[PerennialError]:
    """The class with this name, so that an error can travel between processes and stay what it was."""
    return _tree(PerennialError).get(kind, Failure)
