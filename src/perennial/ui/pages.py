"""The pages of a workspace: what needs a person, model versions, endpoints, one run, the time line; log in and out.

Every page asks through the dispatcher, with the visitor's own permissions, so it can show and do only what they may.
All text from the records is escaped; there is no script. A part or record that cannot be read is named on the page,
and the rest is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import msgspec
from jinja2 import Environment, PackageLoader
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from perennial.api.auth import SESSION_LIFE_S, Auth, Caller
from perennial.api.dispatch import Dispatcher
from perennial.api.guard import check_content_type, is_from_our_page
from perennial.api.operations import Permission
from perennial.api.server import Door, read_body
from perennial.api.statuses import status_of
from perennial.clock import iso
from perennial.errors import Failure, Forbidden, Invalid, PerennialError
from perennial.store.actor import system_user
from perennial.types import Micros

__all__ = ["doors"]

FORM_BYTES = 16 * 1024
EVENTS_A_PAGE = 100

Show = Callable[[Request, Caller, Mapping[str, str]], Response]


def doors(dispatcher: Dispatcher, auth: Auth) -> list[Door]:
    """The routes of all pages."""
    pages = _Pages(dispatcher, auth)
    return [
        _door("GET", "/", "read", pages.now, "What needs a person now, and what is live."),
        _door("GET", "/log", "read", pages.log, "The time line, newest first."),
        _door("GET", "/models/{name}/{version:int}", "read", pages.version, "One model version and its requirements."),
        _door("POST", "/models/{name}/{version:int}", "decide", pages.decide, "Approve or reject a version."),
        _door("GET", "/endpoints/{name}", "read", pages.endpoint, "One endpoint, its versions and rollouts."),
        _door("POST", "/endpoints/{name}", "decide", pages.roll_back, "Go back to the version before."),
        _door("GET", "/runs/{id}", "read", pages.run, "One run."),
        _door("GET", "/login", "read", pages.ask_name, "Who opened the one-time link?"),
        _door("POST", "/login", "read", pages.log_in, "Use up the one-time link."),
        _door("POST", "/logout", "read", pages.log_out, "End the session."),
        _door("GET", "/style.css", "read", _style, "The style sheet."),
    ]


class _Pages:
    def __init__(self, dispatcher: Dispatcher, auth: Auth) -> None:
        self._dispatcher = dispatcher
        self._auth = auth

    def now(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        status = self._ask(caller, "system.status")
        return _page("now.html", caller, **status)

    def log(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        newest = self._ask(caller, "events.head")
        asked = request.query_params.get("before", "")
        last = min(newest, int(asked) - 1) if asked.isdecimal() and len(asked) < 19 else newest
        after = max(0, last - EVENTS_A_PAGE)
        events, problems = self._events(caller, after, last)
        return _page("log.html", caller, events=events[::-1], problems=problems, older=after + 1 if after else 0)

    def version(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        asked = dict(request.path_params)
        return _page("version.html", caller, version=self._ask(caller, "models.get", **asked), here=_here(request))

    def decide(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        decision = form.get("decision", "")
        if decision not in ("approve", "reject"):
            raise Invalid("the decision is approve or reject", where="decision")
        self._ask(caller, f"models.{decision}", **request.path_params, comment=form.get("comment", ""))
        return RedirectResponse(_here(request), 303)

    def endpoint(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        name = request.path_params["name"]
        return _page(
            "endpoint.html",
            caller,
            endpoint=self._ask(caller, "endpoints.get", name=name),
            versions=self._ask(caller, "models.list", name=name),
            rollouts=self._ask(caller, "endpoints.history", name=name),
            here=_here(request),
        )

    def roll_back(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        self._ask(caller, "endpoints.rollback", name=request.path_params["name"], reason=form.get("reason", ""))
        return RedirectResponse(_here(request), 303)

    def run(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        return _page("run.html", caller, run=self._ask(caller, "runs.get", run_id=request.path_params["id"]))

    def ask_name(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        # Only looked at: whatever previews links must not use this one up.
        return _page("login.html", caller, code=request.query_params.get("code", ""), person=system_user())

    def log_in(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        value = self._auth.log_in(form.get("code", ""), form.get("person", ""))
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self._auth.cookie, value, max_age=SESSION_LIFE_S, httponly=True, samesite="strict", path="/")
        return answer

    def log_out(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        self._auth.log_out(request.headers)
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(self._auth.cookie, path="/", httponly=True, samesite="strict")
        return answer

    def _ask(self, caller: Caller, operation: str, **arguments: object) -> Any:
        return msgspec.json.decode(self._dispatcher.call(operation, msgspec.json.encode(arguments), caller))

    def _events(self, caller: Caller, after: int, last: int) -> tuple[list[Any], list[str]]:
        try:
            return self._ask(caller, "events.list", after=after, limit=last - after) if last > after else [], []
        except Exception:  # noqa: BLE001  one of them is damaged: it is found and named below, the others are shown
            events: list[Any] = []
            problems: list[str] = []
            for number in range(after, last):
                try:
                    events += self._ask(caller, "events.list", after=number, limit=1)
                except Exception as error:  # noqa: BLE001  the boundary of one record: named on the page
                    problems.append(f"event {number + 1} cannot be read: {error}")
            return events, problems


def _door(method: str, path: str, permission: Permission, show: Show, says: str) -> Door:
    async def enter(request: Request, caller: Caller) -> Response:
        try:
            form = await _form(request) if method == "POST" else {}
            return await run_in_threadpool(show, request, caller, form)
        except PerennialError as error:
            status = status_of(error)
            shown = Failure("this page cannot be made now; the owner's log says why") if status == 500 else error
            return _page("sorry.html", caller, status, error=shown, status=status)

    return Door(method, path, permission, enter, says)


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


def _page(template: str, caller: Caller, status_code: int = 200, /, **values: object) -> Response:
    text = _templates.get_template(template, globals=_FUNCTIONS).render(caller=caller, **values)
    return Response(text, status_code, media_type="text/html")


def _style(request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
    return Response(_STYLE, media_type="text/css", headers={"cache-control": "max-age=3600"})


def _here(request: Request) -> str:
    return quote(request.scope["path"])  # a path, never an address: a redirect cannot lead away from here


def _moment(value: object) -> str:
    if not isinstance(value, int):
        return "-"
    try:
        return f"{datetime.fromisoformat(iso(Micros(value))):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError):
        return f"? ({value})"


def _shown(value: object) -> str:
    return "-" if value is None or value == "" else str(value)


def _version_path(subject: str) -> str:
    name, _, version = subject.rpartition("@")
    return f"/models/{quote(name, safe='')}/{quote(version, safe='')}"


def _subject_path(subject: str) -> str:
    kind, _, rest = subject.partition("/")
    known = {"model": "/models/", "endpoint": "/endpoints/", "run": "/runs/"}
    if kind == "model" and "/" not in rest:
        return f"/endpoints/{quote(rest)}"
    return known[kind] + quote(rest) if kind in known else "/log"


_STYLE = (Path(__file__).parent / "style.css").read_bytes()
_templates = Environment(loader=PackageLoader("perennial.ui"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
_FUNCTIONS = {"moment": _moment, "shown": _shown, "version_path": _version_path, "subject_path": _subject_path}
