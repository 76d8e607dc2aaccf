"""How one endpoint answers now: what its spec says, the models that answer for each of its arms, and who stands in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from perennial.errors import Invalid, NotFound
from perennial.models.guards.spec import Constant, FailSafe, Named, Person, Previous
from perennial.models.signature import Signature
from perennial.serve.guarding import Guarding, accepting
from perennial.serve.inline import InlineModel
from perennial.serve.intake import Intake
from perennial.serve.line import QUEUE_ROWS, Line
from perennial.serve.privacy import Privacy
from perennial.serve.routing import goes_to_canary
from perennial.serve.spec import EndpointSpec, key_of
from perennial.store.decoding import ready

__all__ = ["Gate", "Link", "Model", "Route", "Tally", "intake_of"]

Model: TypeAlias = "InlineModel | Line"


class Link(NamedTuple):
    """One of the chain of fallbacks."""

    kind: Literal["arm", "constant", "person"]
    arm: str
    value: Any = None
    probabilities: list[float] | None = None


class Gate:
    """Whether others answer for one of an endpoint's versions: where it `is_broken`; so many `probes` of it are due."""

    __slots__ = ("is_broken", "probes")

    def __init__(self) -> None:
        self.is_broken = False
        self.probes = 0

    def takes_probe(self) -> bool:
        """Whether it should be asked as well, to find out whether it is well again."""
        if not self.is_broken or self.probes <= 0:
            return False
        self.probes -= 1
        return True


class Tally:
    """What an endpoint answered in this process since it started."""

    __slots__ = ("failure_ns", "failures", "last_ms", "rows", "success_ns", "successes")

    def __init__(self) -> None:
        self.successes = self.failures = self.rows = self.success_ns = self.failure_ns = self.last_ms = 0

    def took(self, status: int, rows: int, seconds: float, at: int) -> None:
        if status == 200:
            self.successes += 1
            self.rows += rows
            self.success_ns += int(seconds * 1e9)
        else:
            self.failures += 1
            self.failure_ns += int(seconds * 1e9)
        self.last_ms = at // 1000


def intake_of(spec: EndpointSpec, signature: Any, *, max_rows: int) -> Intake:
    """What checks the requests of this endpoint: a missing value that a guard deals with passes."""
    return Intake(accepting(signature, FailSafe.read(spec.failsafe)), max_rows=max_rows)


class Route:
    """An endpoint with a model for each arm.

    Attributes:
        intake: Checks its requests.
        gates: Whether its arms are asked.
        keys: What the models of its arms are known by.
        versions: Those of its arms.
        classes: The labels of its answers, in the order of their probabilities.
        key: Position of the entity in a row, or None.
        share: Of the entities that the canary answers.
        layout: The number of the layout of its rows in the journal, once it is known.
        privacy: What is done to rows before they are written down; None keeps them.
        guarding: Guards before the models; None without.
        guardings: Guards behind them, by arm.
        chain: Who answers where the models do not.
        tally: What it answered.
        slow_s: An answer that takes longer counts as a failure for the breaker.
    """

    def __init__(
        self, spec: EndpointSpec, intake: Intake, models: Mapping[str, Model], *, privacy: Privacy | None,
        gates: Mapping[str, Gate] | None = None, tally: Tally | None = None,
    ) -> None:  # fmt: skip
        self.spec = spec
        self.name = spec.name
        self.intake = intake
        self.models = dict(models)
        self.gates = {name: Gate() for name in models} if gates is None else dict(gates)
        self.keys = {name: key_of(arm) for name, arm in spec.arms().items()}
        self.versions = {name: arm.version for name, arm in spec.arms().items()}
        signature = intake.signature
        self.key = intake.names.index(signature.key) if signature.key in intake.names else None
        self.share = spec.share if spec.canary is not None and "canary" in models else 0.0
        self.layout: int | None = None
        self.privacy = privacy
        self.tally = tally or Tally()
        failsafe = FailSafe.read(spec.failsafe)
        self.deadline_s = failsafe.deadline_s or float("inf")
        self.queue_rows = failsafe.queue_rows or QUEUE_ROWS
        breaker = failsafe.breaker
        self.slow_s = breaker.slow_ms / 1000 if breaker is not None and breaker.slow_ms is not None else float("inf")
        self.guardings: dict[str, Guarding] = {}
        self.problems: list[str] = []
        self._guard(failsafe)
        self.chain = self._chain(failsafe)

    @property
    def classes(self) -> list[Any] | None:
        if self.intake.signature.classes is not None:
            return self.intake.signature.classes
        model = self.models.get("live") or self.models.get("fallback")
        return model.classes if model is not None else None

    @property
    def examples(self) -> tuple[dict[str, Any], ...]:
        """Rows that the endpoint could be asked: the package's golden ones."""
        model = self.models.get("live") or self.models.get("fallback")
        return tuple(model.examples) if model is not None else ()

    def _guard(self, failsafe: FailSafe) -> None:
        self.guarding: Guarding | None = None
        if not failsafe.guards and failsafe.interval is None and not failsafe.fallbacks:
            return
        # As it was declared: that of the intake lets pass what the guards themselves deal with.
        signature = msgspec.convert(self.spec.signature, ready(Signature))
        for name in ("live", "canary", "fallback", "spare"):
            model = self.models.get(name)
            if model is not None:
                guarding = Guarding(signature, model.fitted, failsafe)
                if name == "live":  # the level follows the labels of this version alone
                    guarding.adapt(failsafe.alpha)
                self.guardings[name] = guarding
        self.guarding = self.guardings.get("live") or self.guardings.get("fallback")
        if self.guarding is not None:
            self.problems += self.guarding.problems

    def _chain(self, failsafe: FailSafe) -> list[Link]:
        chain: list[Link] = []
        for link in failsafe.fallbacks:
            if isinstance(link, Previous) and "fallback" in self.models:
                chain.append(Link("arm", "fallback"))
            elif isinstance(link, Named) and "spare" in self.models:
                chain.append(Link("arm", "spare"))
            elif isinstance(link, Constant) and self.guarding is not None:
                try:
                    value, probabilities = self.guarding.constant()
                except Invalid as error:
                    self.problems.append(str(error))
                else:
                    chain.append(Link("constant", "constant", value, probabilities))
            elif isinstance(link, Person):
                chain.append(Link("person", "person"))
        return chain

    def arm(self, name: str) -> str:
        """The arm that answers for `name`: where that one keeps failing, another one if there is one; "" leaves it to
        the chain of fallbacks."""
        models = self.models
        if name == "canary" and self.gates["canary"].is_broken:
            name = "live"
        if name == "live" and ("fallback" in models or self.chain):
            if "live" not in models:
                name = "fallback"
            elif self.gates["live"].is_broken:
                name = "" if self.chain else "fallback"
        return name

    def arm_of(self, version: str) -> str:
        """The arm of this version.

        Raises:
            NotFound: No arm that callers may ask has it.
        """
        for name in ("live", "canary", "fallback"):
            if name in self.models and str(self.versions[name]) == version:
                return name
        known = ", ".join(str(self.versions[name]) for name in ("live", "canary", "fallback") if name in self.models)
        raise NotFound(f"{self.name} has no version {version} here", remedy=f"versions that answer: {known}")

    def split(self, rows: list[tuple[Any, ...]], ids: list[str], chosen: list[int] | None) -> dict[str, list[int]]:
        """The rows of a request (or those `chosen`) by the arm that shall answer them; the same entity always meets
        the same arm."""
        parts: dict[str, list[int]] = {}
        salt, share = self.spec.salt, self.share
        for at in range(len(rows)) if chosen is None else chosen:
            entity = rows[at][self.key] if self.key is not None else None
            name = "canary" if goes_to_canary(salt, ids[at] if entity is None else str(entity), share) else "live"
            parts.setdefault(name, []).append(at)
        return parts
