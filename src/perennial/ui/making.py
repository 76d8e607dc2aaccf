"""What every page is made with: its door, its form, its questions to the dispatcher, its template.

A page asks through the dispatcher with the visitor's own permissions, so it can show and do only what they may. All
text is escaped by the templates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, quote

import msgspec
from jinja2 import Environment, PackageLoader
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from perennial.api.auth import Caller
from perennial.api.dispatch import Dispatcher
from perennial.api.guard import check_content_type, is_from_our_page
from perennial.api.operations import Permission
from perennial.api.server import Door, read_body
from perennial.api.statuses import status_of
from perennial.errors import Failure, Forbidden, Invalid, PerennialError
from perennial.ui import words

__all__ = ["Asking", "Show", "door", "here", "page"]

FORM_BYTES = 16 * 1024

Show = Callable[[Request, Caller, Mapping[str, str]], Response]


class Asking:
    """Performs an operation in the name of a visitor and gives back what it answers."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def __call__(self, caller: Caller, operation: str, /, **arguments: object) -> Any:
        return msgspec.json.decode(self._dispatcher.call(operation, msgspec.json.encode(arguments), caller))


def door(method: str, path: str, permission: Permission, show: Show, says: str) -> Door:
    """A door that shows a page; an error becomes a page too."""

    async def enter(request: Request, caller: Caller) -> Response:
        try:
            form = await _form(request) if method == "POST" else {}
            return await run_in_threadpool(show, request, caller, form)
        except PerennialError as error:
            status = status_of(error)
            told = Failure("this page cannot be made now; the owner's log says why") if status == 500 else error
            return page("sorry.html", caller, status, error=told, status=status)

    return Door(method, path, permission, enter, says)


def page(
    template: str,
    caller: Caller,
    status_code: int = 200,
    /,
    *,
    headers: Mapping[str, str] | None = None,
    **values: object,
) -> Response:
    """A page made from a template."""
    text = _templates.get_template(template, globals=_FUNCTIONS).render(caller=caller, **values)
    return Response(text, status_code, headers, media_type="text/html")


def here(request: Request) -> str:
    """The path of this page, never an address: a redirect cannot lead away from here."""
    return quote(request.scope["path"])


async def _form(request: Request) -> Mapping[str, str]:
    check_content_type(request.headers, "application/x-www-form-urlencoded")
    if not is_from_our_page(request.headers):
        raise Forbidden("a form counts only when a browser sends it from our own page")
    body = await read_body(request, FORM_BYTES)
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=20)
    except ValueError as error:
        raise Invalid("this is not a form") from error
    return {name: values[-1] for name, values in fields.items()}


_templates = Environment(loader=PackageLoader("perennial.ui"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
_FUNCTIONS = {name: getattr(words, name) for name in words.__all__}
