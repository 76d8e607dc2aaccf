"""The types of an operation's request and answer, read off the method that does it.

So a method is written once, with keyword arguments and annotations, and the route, the checks, the OpenAPI page and
the remote client follow. Anything that JSON can carry may be annotated; the rest is refused here, at first use.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import msgspec

from perennial.api.operations import OPERATIONS
from perennial.errors import Invalid
from perennial.store.decoding import ready
from perennial.workspace import SERVICES

__all__ = ["Signature", "decode_request", "depth_exceeds", "signature_of"]

_RECURSIVE = {"JSON": Any, "JSONObject": dict[str, Any]}  # msgspec cannot follow an alias that names itself
MAX_DEPTH = 64
_TEXTS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


class Signature(NamedTuple):
    """What an operation takes (a struct with one field for each argument) and gives."""

    request: type[msgspec.Struct]
    response: Any


@cache
def signature_of(operation: str) -> Signature:
    """The types of this operation; imports the service's module at first use.

    Raises:
        TypeError: The method has arguments without an annotation, positional or variable ones.
    """
    if operation not in OPERATIONS:
        raise TypeError(f"{operation} is not an operation")
    noun, _, verb = operation.partition(".")
    module, _, name = SERVICES[noun].partition(":")
    return _signature(operation, getattr(getattr(import_module(module), name), verb))


def _signature(operation: str, method: Callable[..., object]) -> Signature:
    hints = typing.get_type_hints(method, localns=_RECURSIVE)
    fields: list[Any] = []
    for parameter in list(inspect.signature(method).parameters.values())[1:]:
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise TypeError(f"{operation}: {parameter.name} must be a keyword argument")
        if parameter.name not in hints:
            raise TypeError(f"{operation}: {parameter.name} has no annotation")
        default = () if parameter.default is parameter.empty else (_default(parameter.default),)
        fields.append((parameter.name, hints[parameter.name], *default))
    if "return" not in hints:
        raise TypeError(f"{operation}: the answer has no annotation")
    title = "".join(part.title() for part in operation.replace("_", ".").split(".")) + "Request"
    request = msgspec.defstruct(title, fields, kw_only=True, forbid_unknown_fields=True)
    return Signature(request, hints["return"])


def _default(value: Any) -> Any:
    return msgspec.field(default_factory=lambda: value) if isinstance(value, list | dict | set | tuple) else value


def decode_request(operation: str, body: bytes) -> dict[str, Any]:
    """The keyword arguments in this body, checked against the method's annotations.

    Raises:
        Invalid: Not JSON, nested too deeply, or an argument is unknown, missing or of the wrong type; names it.
    """
    request = signature_of(operation).request
    if depth_exceeds(body, MAX_DEPTH):
        raise Invalid(f"the JSON is nested deeper than {MAX_DEPTH} levels", where=f"request of {operation}")
    try:
        asked = msgspec.json.decode(body or b"{}", type=ready(request))
    except msgspec.ValidationError as error:
        says, _, path = str(error).partition(" - at ")
        names = ", ".join(request.__struct_fields__) or "none"
        raise Invalid(
            says, where=path.strip("`").removeprefix("$.") or f"request of {operation}", remedy=f"arguments: {names}"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"this is not JSON: {error}", where=f"request of {operation}") from error
    return {name: getattr(asked, name) for name in request.__struct_fields__}


def depth_exceeds(body: bytes, limit: int) -> bool:
    """Whether the JSON in this body is nested deeper than so many levels."""
    if body.count(b"[") + body.count(b"{") <= limit:  # the usual case costs two scans at memory speed
        return False
    body = _TEXTS.sub(b"", body)  # JSON within a text has brackets by the thousand: ten times as quick as the loop
    depth, in_string, escaped = 0, False, False
    for byte in body:
        if in_string:
            in_string, escaped = escaped or byte != 0x22, not escaped and byte == 0x5C
        elif byte == 0x22:
            in_string = True
        elif byte in b"[{":
            depth += 1
            if depth > limit:
                return True
        elif byte in b"]}":
            depth -= 1
    return False
