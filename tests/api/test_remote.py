"""The remote client: the same call gives the same answer, here and from another process."""

from __future__ import annotations

import inspect
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest

from perennial.api import connect
from perennial.api.client import Address, Connection, parse_address
from perennial.api.operations import OPERATIONS
from perennial.api.signatures import signature_of
from perennial.errors import ConfigError, Conflict, Invalid, NotFound, Unavailable
from perennial.models.facts.verdict import Verdict
from perennial.registry.versions import ModelVersion
from perennial.store.workspace_folder import create_folder
from perennial.types import Micros
from perennial.workspace import SERVICES

from .conftest import Served, serving

PACKAGE = "0" * 64


def test_the_same_call_gives_the_same_answer_here_and_there(fresh: Served) -> None:
    here = fresh.owned.workspace
    verdict = Verdict(kind="latency", sentence="p99 below 5 ms", passed=True, says="2 ms", evidence={"p99_ms": 2.0})
    with connect.join(fresh.folder) as there:
        made = there.models.register(name="salary", package=PACKAGE, origin="loop", verdicts=[verdict], trained_until=7)
        assert isinstance(made, ModelVersion)
        assert made == here.models.get(name="salary") == there.models.get(name="salary", version=1)
        assert there.models.approve(name="salary", version=1, comment="good").comment == "good"
        assert there.events.list() == here.events.list()
        assert there.system.clock().simulated is False


def test_errors_come_back_as_what_they_were(served: Served) -> None:
    with connect.join(served.folder) as there:
        with pytest.raises(NotFound, match="there is no model nothing") as caught:
            there.models.get(name="nothing")
        assert caught.value.remedy == "perennial models list shows what there is"
        with pytest.raises(Invalid, match="Expected"):
            there.models.get(name=3)  # type: ignore[arg-type]


def test_a_method_that_is_no_operation_says_so(served: Served) -> None:
    there = connect.join(served.folder)
    with pytest.raises(AttributeError, match="models has: list, get"):
        there.models.explode()  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="a workspace has no 'modles'"):
        _ = there.modles  # type: ignore[attr-defined]


def test_every_public_method_of_every_service_is_an_operation_and_the_other_way_round() -> None:
    for noun, reference in SERVICES.items():
        module, _, name = reference.partition(":")
        service = getattr(import_module(module), name)
        methods = {verb for verb, _ in inspect.getmembers(service, inspect.isfunction) if not verb.startswith("_")}
        assert {f"{noun}.{verb}" for verb in methods} == {op for op in OPERATIONS if op.startswith(f"{noun}.")}


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_every_operation_has_types_a_sentence_and_says_what_it_writes(operation: str) -> None:
    asked = OPERATIONS[operation]
    assert signature_of(operation).request.__struct_config__.forbid_unknown_fields
    assert asked.says.endswith(".")
    assert asked.permission != "decide" or asked.audit, "what a person answers for leaves an event"
    assert asked.permission != "read" or not asked.audit, "a read changes nothing"


def test_a_write_that_lost_its_answer_happens_once(fresh: Served) -> None:
    """A server that dies after the commit and before the answer: the client asks again, with the same key."""
    with lossy(fresh.port) as port, Connection(lambda: Address("127.0.0.1", port, fresh.token), origin="t") as there:
        made = there.call("models.register", name="salary", package=PACKAGE, origin="imported")
        assert (made["version"], len(there.call("models.list"))) == (1, 1)


@contextmanager
def lossy(port: int) -> Generator[int]:
    """A way to the server on which the first answer gets lost."""

    def carry() -> None:
        for is_cut in (True, False):
            near, _ = entry.accept()
            with near, socket.create_connection(("127.0.0.1", port)) as far:
                while data := (source := select.select([near, far], [], [])[0][0]).recv(65536):
                    if source is far and is_cut:
                        break
                    (near if source is far else far).sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as entry:
        carrier = threading.Thread(target=carry)
        carrier.start()
        yield entry.getsockname()[1]
        carrier.join(10)


def test_a_call_waits_for_an_owner_that_restarts(tmp_path: Path) -> None:
    folder = tmp_path / ".perennial"
    answers: list[int] = []
    with connect.join(create_folder(folder, now=Micros(0))) as there:
        with serving(folder):
            assert there.events.head() == 0
        waiting = threading.Thread(target=lambda: answers.append(there.events.head()))
        waiting.start()
        with serving(folder):  # another port, another token
            waiting.join(20)
    assert answers == [0]


def test_no_owner_within_the_patience_is_unavailable(tmp_path: Path) -> None:
    folder = create_folder(tmp_path / ".perennial", now=Micros(0))
    there = connect.join(folder, patience_s=0.1)
    with pytest.raises(Unavailable, match="does not answer"):
        there.events.head()


def test_open_owns_when_nobody_does_and_lets_go(tmp_path: Path) -> None:
    folder = tmp_path / ".perennial"
    with connect.open(folder) as first:
        first.models.register(name="salary", package=PACKAGE, origin="imported")
    with connect.open(folder) as second:
        assert [version.name for version in second.models.list()] == ["salary"]


def test_open_asks_the_owner_when_there_is_one(served: Served) -> None:
    with connect.open(served.folder.root) as there:
        assert there.system.info().pid == os.getpid()
        assert not hasattr(there, "records")
        assert type(there.models).__name__ == "RemoteService"
    with connect.open(f"http://127.0.0.1:{served.port}") as there:
        assert there.folder.id == served.folder.id


def test_an_owner_that_does_not_listen_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "PATIENCE_S", 0.1)
    with connect.open(tmp_path / ".perennial"), pytest.raises(Conflict, match=f"process {os.getpid()}"):
        connect.open(tmp_path / ".perennial")


@pytest.mark.parametrize(
    "text", ["https://127.0.0.1:5000", "http://", "http://h:99999999", "http://h:1/path", "ftp://h"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not the address of a workspace"):
        parse_address(text)


def test_asking_an_owner_by_name_imports_no_database_and_no_server(served: Served) -> None:
    code = (
        "import sys; from perennial.api.connect import calls\n"
        f"with calls({str(served.folder.root)!r}) as owner: print(owner.call('system.info')['id'])\n"
        "print(sorted({'sqlalchemy', 'starlette', 'jinja2', 'polars', 'numpy', 'sklearn'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == [served.folder.id, "[]"]
