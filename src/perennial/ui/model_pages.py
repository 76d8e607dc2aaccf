"""The pages of models: all of them, one with its versions, one version to decide on, its card.

The card is made here from recorded facts; no model is loaded. It has a policy of its own, tighter than that of other
pages: its style sheet is within it, and nothing else is let in.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from perennial.api.auth import Caller
from perennial.api.dispatch import Dispatcher
from perennial.api.server import Door
from perennial.errors import Invalid, NotFound
from perennial.registry.card.facts import Card
from perennial.registry.card.html import html, policy
from perennial.store.decoding import ready
from perennial.ui.making import Asking, door, here, page

__all__ = ["doors"]

LIMIT = 2**31  # more than versions are counted to


def doors(dispatcher: Dispatcher) -> list[Door]:
    """The routes of these pages."""
    pages = _Pages(Asking(dispatcher))
    return [
        door("GET", "/models", "read", pages.models, "All models, with what people say of them."),
        door("GET", "/models/{name}", "read", pages.model, "One model and its versions."),
        door("POST", "/models/{name}", "write", pages.describe, "Say what a model is for."),
        door("GET", "/models/{name}/{version:int}", "read", pages.version, "One model version and its requirements."),
        door("POST", "/models/{name}/{version:int}", "decide", pages.decide, "Approve or reject a version."),
        door("GET", "/models/{name}/{version:int}/card", "read", pages.card, "The card of a model version."),
    ]


class _Pages:
    def __init__(self, ask: Asking) -> None:
        self._ask = ask

    def models(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        return page("models.html", caller, models=self._ask(caller, "models.inventory"))

    def model(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        name = request.path_params["name"]
        facts = self._ask(caller, "models.about", name=name)
        aliases = self._ask(caller, "models.aliases", name=name)
        versions = self._ask(caller, "models.list", name=name)
        pointing = {
            version["version"]: [alias for alias, number in aliases.items() if number == version["version"]]
            for version in versions
        }
        return page(
            "model.html",
            caller,
            facts=facts,
            versions=versions[::-1],
            pointing=pointing,
            is_served=any(version["package"] for version in versions) and "live" in aliases,
            here=here(request),
        )

    def describe(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        said = {fact: form[fact] for fact in _SAID if fact in form}
        self._ask(caller, "models.describe", name=request.path_params["name"], **said)
        return RedirectResponse(here(request), 303)

    def version(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        asked = _asked(request)
        version = self._ask(caller, "models.get", **asked)
        lineage = self._ask(caller, "models.lineage", **asked)
        return page("version.html", caller, version=version, lineage=lineage, here=here(request))

    def decide(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        decision = form.get("decision", "")
        if decision not in ("approve", "reject"):
            raise Invalid("the decision is approve or reject", where="decision")
        about: dict[str, object] = {**_asked(request), "comment": form.get("comment", "")}
        if decision == "approve":  # exactly the bytes that the page showed
            about["package"] = form.get("package") or None
        self._ask(caller, f"models.{decision}", **about)
        return RedirectResponse(here(request), 303)

    def card(self, request: Request, caller: Caller, form: Mapping[str, str]) -> Response:
        card = msgspec.convert(self._ask(caller, "cards.get", **_asked(request)), ready(Card))
        sealed = {"content-security-policy": f"{policy()}; frame-ancestors 'none'"}
        return Response(html(card), headers=sealed, media_type="text/html")


_SAID = ("description", "purpose", "owner", "risk", "data", "limits", "review_by", "retire_by")


def _asked(request: Request) -> dict[str, object]:
    asked = dict(request.path_params)
    if asked["version"] >= LIMIT:
        raise NotFound(f"there is no model {asked['name']} version {asked['version']}", remedy="/models lists them")
    return asked
