"""Only this machine, and a port that is free."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from perennial.errors import ConfigError, Conflict
from perennial.supervise.addresses import check_bind_address, free_port, listen
from perennial.supervise.upfile import Up, UpLock, read_up, tree_is_up


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.org", "127.0.0.1.example.org", ""])
def test_C03_an_address_that_others_can_reach_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="other machines"):
        listen(host, 0, "--port")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.9.9.9", "::1"])
def test_C03_addresses_of_this_machine_are_fine(host: str) -> None:
    check_bind_address(host)


def test_F12_a_busy_port_is_named_with_the_option_that_chooses_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} is in use") as caught:
            free_port("127.0.0.1", port, "--serving-port")
        assert "--serving-port" in caught.value.remedy


@pytest.mark.parametrize("port", [-1, 65536])
def test_F12_what_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(ConfigError, match=f"port {port} cannot be used"):
        listen("127.0.0.1", port, "--port")


def test_F11_a_second_tree_on_a_workspace_is_refused_and_named(tmp_path: Path) -> None:
    assert not tree_is_up(tmp_path)
    up = Up(pid=1234, address="http://127.0.0.1:5000", serving="http://127.0.0.1:8080", children={"owner": 1})
    with UpLock(tmp_path) as first:
        assert first.acquire() is None
        first.tell(up)
        assert read_up(tmp_path) == up
        with pytest.raises(Conflict, match="process 1234 at http"):
            UpLock(tmp_path).acquire()
    assert read_up(tmp_path) is None


def test_what_a_killed_tree_left_behind_is_given_to_the_next(tmp_path: Path) -> None:
    up = Up(pid=1234, address="a", serving="s")
    killed = UpLock(tmp_path)
    killed.acquire()
    killed.tell(up)
    assert killed._lock is not None
    killed._lock.close()  # what the kernel does
    with UpLock(tmp_path) as following:
        assert following.acquire() == up
