"""A file of a server: fetched once, whole, from where a person said, and nothing of its answer is shown."""

from __future__ import annotations

import gzip
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from perennial.data import sources
from perennial.data.catalog import Catalog
from perennial.data.collect import collect
from perennial.data.sources import collect_source
from perennial.errors import DataError, Invalid, NotFound, PerennialError, TooLarge, Unavailable

from .conftest import Web
from .test_files_and_functions import rows

CSV = b"x,s\n1,a\n2,b\n"


def redirect(to: str) -> Any:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", to)
        request.end_headers()

    return answer


def test_an_unchanged_file_is_not_sent_again(catalog: Catalog, web: Web) -> None:
    web.answers["/t.csv?token=hidden"] = CSV
    url = f"{web.address}/t.csv?token=hidden"
    first = collect_source(url, "web", catalog)
    assert rows(catalog, first) == {"x": [1, 2], "s": ["a", "b"]}
    assert first.source is not None
    assert first.source["url"] == f"{web.address}/t.csv"
    assert collect_source(url, "web", catalog) == first
    assert web.asked[1]["if-none-match"] == first.source["etag"]
    web.answers["/t.csv?token=hidden"] = gzip.compress(CSV + b"3,c\n")
    assert collect_source(url, "web", catalog).rows == 3


def test_with_a_cursor_only_newer_rows_of_a_changed_file_are_taken(catalog: Catalog, web: Web) -> None:
    web.answers["/t.csv"] = CSV
    collect_source(f"{web.address}/t.csv", "web", catalog, cursor="x")
    web.answers["/t.csv"] = b"x,s\n2,changed\n3,c\n"
    second = collect_source(f"{web.address}/t.csv", "web", catalog, cursor="x")
    assert rows(catalog, second)["s"] == ["a", "b", "c"]
    assert collect_source(f"{web.address}/t.csv", "web", catalog, cursor="x") == second


def test_c12_a_redirect_leads_to_no_other_host_that_was_not_named(
    catalog: Catalog, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "very-secret")
    web.answers |= {"/here": redirect("/t.csv"), "/t.csv": CSV}
    web.answers["/there"] = redirect(f"http://localhost:{web.port}/t.csv")
    web.answers["/file"] = redirect("file:///etc/passwd")
    headers = {"Authorization": "Bearer ${TOKEN}"}

    def source(path: str, **options: Any) -> sources.Source:
        return sources.http(f"{web.address}{path}", headers=headers, format="csv", **options)

    assert collect(source("/here"), name="web", rooms=catalog).rows == 2
    assert [asked.get("authorization") for asked in web.asked] == ["Bearer very-secret"] * 2
    web.asked.clear()
    for path, to in (("/there", "http://localhost"), ("/file", "file://")):
        with pytest.raises(DataError, match=f"redirects to {to}") as caught:
            collect(source(path), name="web", rooms=catalog)
        assert "very-secret" not in repr(caught.value)
    assert len(web.asked) == 2
    collect(source("/there", also_from=("localhost",)), name="other", rooms=catalog)
    assert "authorization" not in web.asked[-1]


def test_an_answer_that_is_no_file_is_told_by_its_status_only(catalog: Catalog, web: Web) -> None:
    def broken(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.write(CSV)

    def failing(request: BaseHTTPRequestHandler) -> None:
        request.send_error(500, "a secret body")

    def silent(request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(1)  # until the client gives up

    web.answers |= {"/broken.csv": broken, "/fail.csv": failing, "/silent.csv": silent, "/t.csv": CSV}

    def refused(kind: type[PerennialError], path: str, says: str, **options: Any) -> None:
        with pytest.raises(kind, match=says) as caught:
            collect(sources.http(f"{web.address}{path}", **options), name="web", rooms=catalog)
        assert "secret" not in str(caught.value)

    refused(NotFound, "/none.csv", "the server answered 404 Not Found")
    refused(Unavailable, "/fail.csv", "the server answered 500")
    refused(Unavailable, "/broken.csv", f"broke off after {len(CSV)} (of 1000 )?bytes")
    refused(Unavailable, "/silent.csv", "cannot be reached: (TimeoutError|timeout)", timeout_s=0.2)
    refused(TooLarge, "/t.csv", "more than 5 bytes", max_bytes=5)
    refused(Invalid, "/t", "does not tell the format")
    with pytest.raises(Unavailable, match="cannot be reached"):
        collect(sources.http("http://127.0.0.1:1/t.csv"), name="web", rooms=catalog)
    assert catalog.datasets.list() == []
