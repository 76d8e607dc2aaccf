"""`perennial up` as a real process tree: found, refused a second time, killed at will, stopped in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from perennial.api import connect
from perennial.store.owner import find_owner
from perennial.store.workspace_folder import open_folder
from perennial.supervise.upfile import Up, read_up, tree_is_up

COMMAND = [sys.executable, "-m", "perennial"]
FREE = ["--port", "0", "--serving-port", "0"]


def until(claim: Callable[[], Any], within_s: float = 120.0) -> Any:
    ends = time.monotonic() + within_s
    while not (found := claim()):
        assert time.monotonic() < ends, "it did not become true in time"
        time.sleep(0.02)
    return found


class Tree:
    """A `perennial up` in a project folder."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.home = project / ".perennial"
        self.process: subprocess.Popen[str] | None = None

    def up(self) -> dict[str, Any]:
        with (self.project / "up.err").open("ab") as err:
            self.process = subprocess.Popen(
                [*COMMAND, "up", "--json", *FREE], cwd=self.project, stdout=subprocess.PIPE, stderr=err, text=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (self.project / "up.err").read_text()
        return json.loads(line)

    @property
    def running(self) -> Up:
        return until(lambda: read_up(self.home))

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*COMMAND, *words], cwd=self.project, capture_output=True, text=True, timeout=120)

    def end(self) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        self.process.stdout.close()
        return code


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    one = Tree(tmp_path)
    yield one
    if one.process is not None:
        one.end()


def is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_up_serves_is_found_by_commands_and_goes_down(tree: Tree) -> None:
    told = tree.up()
    assert json.load(urllib.request.urlopen(f"{told['address']}/health")) == {"status": "ok"}
    assert urllib.request.urlopen(f"{told['serving']}/health").status == 200
    assert b"Who are you?" in urllib.request.urlopen(told["link"]).read()
    running = tree.running
    assert list(running.children) == ["owner", "serve", "jobs", "reconcile"]
    status = json.loads(tree.command("status", "--json").stdout)
    assert status["up"] == {"pid": running.pid, "address": told["address"], "serving": told["serving"]}
    listening = {
        held.laddr.ip
        for pid in [running.pid, *running.children.values()]
        for held in psutil.Process(pid).net_connections()
        if held.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}, "C03: only this machine can reach it"
    began = time.monotonic()
    second = tree.command("up", *FREE)
    assert second.returncode == 2
    assert str(running.pid) in second.stderr
    assert told["address"] in second.stderr
    assert time.monotonic() - began < 10  # the promise is two seconds; the machine may be busy
    assert tree.command("down").returncode == 0
    assert not tree_is_up(tree.home)
    assert find_owner(tree.home) is None
    assert all(is_gone(pid) for pid in running.children.values())
    assert tree.end() == 0
    assert json.loads(tree.command("down", "--json").stdout) == {"stopped": None}


def test_F01_each_killed_process_comes_back_and_the_workspace_goes_on(tree: Tree) -> None:
    told = tree.up()
    with connect.join(open_folder(tree.home)) as ws:
        for name in ("owner", "serve", "jobs", "reconcile"):
            before = tree.running.children[name]
            os.kill(before, signal.SIGKILL)
            until(lambda name=name, before=before: tree.running.children[name] != before)
            ws.models.register(name=name, package="0" * 64, origin="imported")
        assert {version.name for version in ws.models.list()} == set(tree.running.children)
        assert ws.events.verify() == []
    assert tree.running.address == told["address"]
    until(lambda: _answers(f"{told['serving']}/health"))
    assert tree.end() == 0, "Ctrl-C stops it in order"


def test_P6_after_a_killed_root_nothing_is_left_and_the_next_up_goes_on(tree: Tree) -> None:
    tree.up()
    children = tree.running.children
    with connect.join(open_folder(tree.home)) as ws:
        ws.models.register(name="salary", package="0" * 64, origin="imported")
    assert tree.process is not None
    tree.process.kill()
    tree.end()
    tree.up()  # at once: it waits for what the killed one left behind
    assert all(is_gone(pid) for pid in children.values())
    with connect.join(open_folder(tree.home)) as ws:
        assert [version.name for version in ws.models.list()] == ["salary"]


def test_F12_a_busy_port_is_2_and_named(tree: Tree) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for option, other in (("--port", "--serving-port"), ("--serving-port", "--port")):
            said = tree.command("up", option, str(port), other, "0")
            assert said.returncode == 2
            assert f"port {port} is in use" in said.stderr
            assert option in said.stderr
    assert not tree_is_up(tree.home)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.7.7"])
def test_C03_up_refuses_an_address_that_others_can_reach(host: str, tree: Tree) -> None:
    said = tree.command("up", "--host", host, *FREE)
    assert said.returncode == 2
    assert "other machines" in said.stderr


def _answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(address, timeout=60).status == 200
    except OSError:
        return False
