"""A notice goes where the settings say and nowhere else: names, addresses, redirects, certificates, time."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial.errors import ConfigError, Forbidden, Invalid, PerennialError, Unavailable
from perennial.monitor.incidents import outgoing
from perennial.monitor.incidents.outgoing import Allowed, connect, context_of, look_up, post
from tests.monitor.receivers import Hook, Papers, papers, web_server

NOBODY = Allowed()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture
def hook(own: Papers) -> Iterator[Hook]:
    with web_server(own.context()) as one:
        yield one


def send(url: str, own: Papers | None = None, *, allow: str = "localhost, 127.0.0.1") -> int:
    context = context_of(str(own.authority) if own else "")
    return post(url, b"{}", {"content-type": "application/json"}, allowed=Allowed.of(allow), context=context)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",  # the same in other spellings, which the resolver understands
        "0x7f.1",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.9.9",
        "192.168.1.1",
        "169.254.169.254",  # what clouds tell their machines
        "100.64.0.1",
        "224.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
def test_C12_an_inside_address_is_not_reached_unless_it_is_allowed(host: str) -> None:
    with pytest.raises((Forbidden, Unavailable)) as refused:  # a machine without IPv6 has no such address at all
        look_up(host, 443, NOBODY)
    if host in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "2130706433", "localhost"):
        assert isinstance(refused.value, Forbidden)
        assert "outbound_allow" in refused.value.where


@pytest.mark.parametrize("host", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_C12_a_public_address_needs_no_entry(host: str) -> None:
    try:
        assert look_up(host, 443, NOBODY) == host
    except Unavailable:
        pytest.skip("this machine has no IPv6")


def test_C12_every_address_of_a_name_is_looked_at_and_the_one_that_was_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A resolver that answers as an attacker's would: another address each time."""
    asked: list[str] = []

    def resolver(*addresses: str) -> None:
        def answer(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
            asked.append(host)
            inner = addresses if len(asked) == 1 else ("127.0.0.1",)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in inner]

        asked.clear()
        monkeypatch.setattr(outgoing.socket, "getaddrinfo", answer)

    resolver("93.184.215.14", "10.0.0.1")  # one of two is inside
    with pytest.raises(Forbidden, match=r"hook\.example is 10\.0\.0\.1"):
        look_up("hook.example", 443, NOBODY)
    reached: list[tuple[str, int]] = []

    def create_connection(address: tuple[str, int], **_: object) -> socket.socket:
        reached.append(address)
        raise ConnectionRefusedError(111, "refused")

    resolver("93.184.215.14")
    monkeypatch.setattr(outgoing.socket, "create_connection", create_connection)
    with pytest.raises(Unavailable, match="nobody answers"):
        connect("hook.example", 443, NOBODY)
    assert (asked, reached) == (["hook.example"], [("93.184.215.14", 443)])  # asked once
    with pytest.raises(Forbidden, match=r"127\.0\.0\.1"):  # and again at the next attempt
        connect("hook.example", 443, NOBODY)


def test_C12_what_is_allowed_is_reached_over_https(hook: Hook, own: Papers) -> None:
    for host, allow in (("localhost", "localhost"), ("127.0.0.1", "127.0.0.0/8"), ("localhost", "127.0.0.0/8, ::1")):
        assert send(f"https://{host}:{hook.port}/path?a=b", own, allow=allow) == 200
    assert [path for path, _, _ in hook.posts] == ["/path?a=b"] * 3
    assert hook.posts[0][1]["host"] == f"localhost:{hook.port}"


def test_C12_a_certificate_that_nobody_vouches_for_is_refused(hook: Hook, own: Papers) -> None:
    with pytest.raises(Unavailable, match="certificate of localhost is not valid"):
        send(f"https://localhost:{hook.port}/")
    assert hook.posts == []


def test_C12_a_certificate_of_another_name_is_refused(tmp_path: Path) -> None:
    others = papers(tmp_path, "hook.example")
    with web_server(others.context()) as hook, pytest.raises(Unavailable, match="certificate of localhost is not"):
        send(f"https://localhost:{hook.port}/", others)
    assert hook.posts == []


def test_C12_plain_http_goes_only_to_who_is_named(own: Papers) -> None:
    with web_server() as hook:
        assert send(f"http://127.0.0.1:{hook.port}/", allow="127.0.0.1") == 200
        with pytest.raises(Invalid, match="http is not https"):
            send("http://example.org/", allow="127.0.0.1")


def test_C12_a_redirect_is_not_followed(hook: Hook, own: Papers) -> None:
    with web_server() as inside:
        hook.answers, hook.location = [302, 307], f"http://127.0.0.1:{inside.port}/admin"
        assert send(f"https://localhost:{hook.port}/", own) == 302
        assert send(f"https://localhost:{hook.port}/", own) == 307
        assert inside.posts == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "file:///etc/passwd",
        "ftp://localhost/",
        "gopher://localhost:25/",
        "https://",
        "https://user:password@localhost/",
        "https://localhost:99999/",
        "https://localhost:0/",
        "https://localhost/a b",
        "https://localhost/\r\nx: y",
        "https://localhost/#part",
        "https://[::1/",
    ],
)
def test_C12_what_is_no_address_to_post_to_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        send(url)


@pytest.mark.parametrize("is_safe", [True, False])
def test_C12_a_receiver_that_drips_is_cut_off(own: Papers, is_safe: bool) -> None:
    with web_server(own.context() if is_safe else None) as hook:
        hook.drip_s = 0.02  # a byte at a time never trips the limit of the pause between two
        url, allowed = f"http{'s' if is_safe else ''}://localhost:{hook.port}/", Allowed.of("localhost")
        with pytest.raises(Unavailable, match="gave no answer: TimeoutError"):
            post(url, b"{}", {}, allowed=allowed, context=context_of(str(own.authority)), deadline_s=0.3)
        assert len(hook.posts) == 1


@pytest.mark.parametrize("text", ["10.0.0.0/33", "a b", "host/24", "http://host"])
def test_an_allow_list_that_makes_no_sense_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="is no name, address or network"):
        Allowed.of(text)


def test_authorities_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("nothing")
    for name in ("a.pem", "none.pem"):
        with pytest.raises(PerennialError, match="no file of certificates"):
            context_of(str(tmp_path / name))
