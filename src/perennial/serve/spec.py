"""What the prediction service shall run (`serving/spec.json`) and what it does run (`serving/status.json`).

The spec is written by the owner alone and the status by the service alone, each as one atomic file, so neither waits
for the other. A spec is taken as a whole or refused as a whole, with a reason.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from perennial.errors import Invalid
from perennial.store.decoding import ready

__all__ = ["Arm", "EndpointSpec", "EndpointStatus", "ServingStatus", "Spec", "key_of", "read_spec", "read_status"]


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One model version, by the digest of its package.

    `trusted`: code in exactly these bytes may run, because a loop of this workspace made them or a person approved
    them; what does not say so is loaded only as far as no code runs.
    """

    version: int
    package: str
    trusted: bool = False


def key_of(arm: Arm) -> str:
    """What names the model of an arm among the processes of the service: its package, and whether its code may run."""
    return arm.package if arm.trusted else f"{arm.package}?"


class EndpointSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How one endpoint answers.

    `canary` gets the `share` of entities that the salted hash picks; `shadow` answers as well, unseen by the caller;
    `fallback` takes over when the live version keeps failing; `spare` is a version that the chain of fallbacks names.
    `stopped` says why a person stopped it; "" answers. `capture`: what is done to columns before they are written down
    ("mask", "hash", "drop"; others are kept). `failsafe`: guards, fallbacks and intervals, as
    `models.guards.spec.FailSafe` in JSON values.
    """

    name: str
    task: str
    signature: dict[str, object]
    live: Arm | None = None
    canary: Arm | None = None
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    shadow: Arm | None = None
    fallback: Arm | None = None
    spare: Arm | None = None
    salt: str = ""
    stopped: str = ""
    capture: dict[str, str] = {}
    failsafe: dict[str, object] = {}

    def arms(self) -> dict[str, Arm]:
        named = {"live": self.live, "canary": self.canary, "shadow": self.shadow, "fallback": self.fallback,
                 "spare": self.spare}  # fmt: skip
        return {name: arm for name, arm in named.items() if arm is not None}


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """The desired state. `revision` grows with every change; 0 is a workspace without endpoints."""

    revision: int = 0
    endpoints: list[EndpointSpec] = []


class EndpointStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The versions that an endpoint really runs; `problem` says why that is not what the spec asks for.

    `broken`: arms that keep failing, for which others answer; `breakers`: those that are not closed, by arm ("open",
    "half-open", or "crashing" where its worker dies again and again); `stopped`: why a person stopped it; `lost`: what
    accelerators said that failed, by arm.
    """

    live: int | None = None
    canary: int | None = None
    shadow: int | None = None
    fallback: int | None = None
    spare: int | None = None
    problem: str | None = None
    broken: list[str] = []
    breakers: dict[str, str] = {}
    stopped: str = ""
    lost: dict[str, str] = {}


class ServingStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The observed state. Rows since the process started: received = stored + dropped + pending, always.

    `revision` is the newest spec that runs in full; `seen` is the newest that was read. `shadow_pending` counts
    requests whose shadow answer is still owed. `grpc`: where it listens for gRPC, "" where it does not.
    """

    revision: int
    seen: int
    pid: int
    address: str
    ready: bool
    endpoints: dict[str, EndpointStatus]
    received: int
    stored: int
    dropped: int
    pending: int
    shadow_pending: int
    problem: str | None = None
    grpc: str = ""


_spec = msgspec.json.Decoder(ready(Spec))
_status = msgspec.json.Decoder(ready(ServingStatus))


def read_spec(path: Path) -> Spec:
    """The spec in this file; without a file the empty spec.

    Raises:
        Invalid: The file is no spec.
    """
    try:
        return _spec.decode(path.read_bytes())
    except FileNotFoundError:
        return Spec()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(
            f"this is not a serving spec: {error}", where=str(path), remedy="let the owner write it anew"
        ) from error


def read_status(path: Path) -> ServingStatus | None:
    """What the service last said of itself; None before it ever ran. Whether it still runs is for `pid` to tell."""
    try:
        return _status.decode(path.read_bytes())
    except FileNotFoundError:
        return None
