"""Logged files over HTTP: what comes in whole or not at all, and goes out as it was, as an attachment."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from perennial.config import Settings
from perennial.models.package import PackageManifest
from perennial.store.workspace_folder import create_folder
from perennial.types import Digest, Micros
from perennial.workspace import Owned

PROXY = "/api/2.0/mlflow-artifacts"
FILES = f"{PROXY}/artifacts"
JSON = {"content-type": "application/json"}
LARGE = 18 << 20  # lies in chunks

Served = Any  # of the folder above, which lends us its fixtures


def put(served: Served, path: str, data: bytes, **headers: str) -> Any:
    return served.ask("PUT", f"{FILES}/{quote(path)}", data, {k.replace("_", "-"): v for k, v in headers.items()})


def get(served: Served, path: str) -> Any:
    return served.ask("GET", f"{FILES}/{quote(path)}")


def names(served: Served, path: str = "") -> list[str]:
    answer = served.ask("GET", f"{FILES}?path={quote(path, safe='')}" if path else FILES)
    return [one["path"] for one in answer.json.get("files", ())]


def owner(served: Served) -> dict[str, str]:
    return {"authorization": f"Bearer {served.token}"}


def scratch(served: Served) -> list[Path]:
    return list(served.folder.tmp.glob("*/body"))


def eventually(is_so: Callable[[], bool]) -> bool:
    ends = time.monotonic() + 120
    while not is_so():
        if time.monotonic() > ends:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize("path", ["0/r/artifacts/a.txt", "with space/ä 数据.csv", "dog+step+20.png", "a'b&c=d/e~f"])
@pytest.mark.parametrize("root", ["/api", "/ajax-api"])
def test_a_file_comes_back_as_it_was(fresh: Served, path: str, root: str) -> None:
    files = f"{root}/2.0/mlflow-artifacts/artifacts"
    sent = fresh.ask("PUT", f"{files}/{quote(path)}", b"\x00\xffbytes", {"content-type": "text/html"})
    assert (sent.status, sent.body) == (200, b"")
    found = fresh.ask("GET", f"{files}/{quote(path)}")
    assert (found.status, found.body) == (200, b"\x00\xffbytes")
    folder, _, name = path.rpartition("/")
    listed = fresh.ask("GET", f"{files}?path={quote(folder, safe='')}")
    assert listed.json == {"files": [{"path": name, "is_dir": False, "file_size": 7}]}


def test_a_folder_is_listed_by_name_and_what_is_not_there_is_empty(fresh: Served) -> None:
    for path in ("b.txt", "dir/x", "dir/y/z", "a"):
        put(fresh, path, b"1")
    assert fresh.ask("GET", FILES).json == {
        "files": [
            {"path": "a", "is_dir": False, "file_size": 1},
            {"path": "b.txt", "is_dir": False, "file_size": 1},
            {"path": "dir", "is_dir": True},
        ]
    }
    assert names(fresh, "dir") == names(fresh, "dir/") == names(fresh, "./dir/.") == ["x", "y"]
    for path in ("nothing", "a", "dir/x"):
        assert fresh.ask("GET", f"{FILES}?path={path}").json == {}


def test_what_is_not_there_and_what_is_a_folder_are_told_apart(fresh: Served) -> None:
    put(fresh, "dir/x", b"1")
    missing, folder = get(fresh, "dir/y"), get(fresh, "dir")
    assert (missing.status, missing.json["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert (folder.status, folder.json["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


ESCAPES = [
    *("..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/x", "a/%2E%2E/b", "%252e%252e%252fx", "%2fetc%2fpasswd", "/etc/passwd"),
    *("a%5c..%5cb", "C:%5cwindows", "c%3a/x", "file:%2f%2f/etc/passwd", "a%00.png", "a%09b", "a%23b", "a%3bb", "a%3fb"),
    *("a//b", "100%2541", "x" * 2001, "a/%2e/../b"),
]


@pytest.mark.parametrize("path", ESCAPES)
def test_C01_no_path_leads_out_whatever_is_asked(served: Served, path: str) -> None:
    answers = [
        served.ask("GET", f"{FILES}/{path}"),
        served.ask("PUT", f"{FILES}/{path}", b"x"),
        served.ask("DELETE", f"{FILES}/{path}", headers=owner(served)),
        served.ask("GET", f"{FILES}?path={path}"),
        served.ask("GET", f"/get-artifact?run_id=x&path={path}"),
        served.ask("GET", f"/model-versions/get-artifact?name=x&version=1&path={path}"),
        served.ask("POST", f"/api/2.0/mlflow/upload-artifact?run_id=x&path={path}", b"x"),
        served.ask("POST", f"{PROXY}/mpu/create/{path}", b'{"path": "f", "num_parts": 1}', JSON),
    ]
    for answer in answers:
        told = answer.json
        assert (answer.status, told["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert told["message"] == "Invalid path" or "NUL" in told["message"]
    assert names(served) == []


def test_C01_a_name_that_is_no_text_names_nothing(served: Served) -> None:
    for path in ("%ff%fe", "a%0ab"):
        assert {served.ask(method, f"{FILES}/{path}", b"x").status for method in ("GET", "PUT")} <= {400, 404}
        assert served.ask("GET", f"{FILES}?path={path}").status == 400
    assert names(served) == []


@pytest.mark.parametrize(
    "name, kind",
    [
        *(("a.txt", "text/plain"), ("b.pkl", "application/octet-stream"), ("c.png", "image/png")),
        *(("d.pdf", "application/pdf"), ("MLmodel", "text/plain"), ("mlproject", "text/plain")),
        *(
            ("e.json", "text/plain"),
            ("f.html", "text/html"),
            ("g.svg", "image/svg+xml"),
            ("h", "application/octet-stream"),
        ),
    ],
)
def test_C07_a_download_is_an_attachment_that_no_browser_runs(served: Served, name: str, kind: str) -> None:
    put(served, f"kinds/{name}", b"<script>alert(1)</script>")
    headers = served.ask("GET", f"{FILES}/kinds/{name}", headers={"accept": "text/html"}).headers
    served.ask("DELETE", f"{FILES}/kinds", headers=owner(served))
    assert headers["content-type"] == kind
    assert headers["content-disposition"] == f"attachment; filename={name}"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "sandbox; default-src 'none'"


@pytest.mark.parametrize(
    "name, told",
    [
        ("a b.txt", 'attachment; filename="a b.txt"'),
        ('q".txt', "attachment; filename=\"q_.txt\"; filename*=UTF-8''q%22.txt"),
        ("ä.txt", "attachment; filename=\"_.txt\"; filename*=UTF-8''%C3%A4.txt"),
        ("dog+step+20+timestamp+100.png", "attachment; filename=dog+step+20+timestamp+100.png"),
    ],
)
def test_C07_a_file_name_cannot_break_out_of_its_header(served: Served, name: str, told: str) -> None:
    put(served, f"n/{name}", b"1")
    assert get(served, f"n/{name}").headers["content-disposition"] == told
    served.ask("DELETE", f"{FILES}/n", headers=owner(served))


def test_an_empty_file_comes_in_chunks_without_a_length(fresh: Served) -> None:
    with closing(socket.create_connection(("127.0.0.1", fresh.port))) as line:
        head = f"PUT {FILES}/dir/empty HTTP/1.1\r\nhost: 127.0.0.1:{fresh.port}\r\ntransfer-encoding: chunked\r\n\r\n"
        line.sendall(head.encode() + b"0\r\n\r\n")
        assert line.recv(1000).startswith(b"HTTP/1.1 200")
    found = get(fresh, "dir/empty")
    assert (found.status, found.body, found.headers["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("size", [1000, LARGE])
def test_F21_an_upload_that_is_cut_off_leaves_nothing(served: Served, size: int, share: float) -> None:
    put(served, "cut/there", b"before")
    with closing(socket.create_connection(("127.0.0.1", served.port))) as line:
        head = f"PUT {FILES}/cut/there HTTP/1.1\r\nhost: 127.0.0.1:{served.port}\r\ncontent-length: {size}\r\n\r\n"
        line.sendall(head.encode() + b"x" * int(size * share))
        if size * share > 2 << 20:
            assert eventually(lambda: bool(scratch(served)))
    assert eventually(lambda: not scratch(served))
    assert get(served, "cut/there").body == b"before"
    assert served.ask("GET", "/health").status == 200


def test_F22_a_body_that_is_not_what_its_sender_hashed_is_refused(fresh: Served) -> None:
    data = b"x" * 300_000
    right = base64.b64encode(hashlib.sha256(data).digest()).decode()
    assert put(fresh, "a", data[:-1] + b"y", content_digest=f"sha-256=:{right}:").status == 422
    assert names(fresh) == scratch(fresh) == []
    assert put(fresh, "a", data, content_digest=f"sha-512=:abc=:, sha-256=:{right}:").status == 200
    assert get(fresh, "a").body == data


def test_a_file_over_the_limit_is_refused_whether_or_not_it_says_so(
    served_with: Callable[[Settings], Served],
) -> None:
    served = served_with(Settings(max_artifact_bytes=1_000_000))
    assert put(served, "a", b"x" * 1_000_000).status == 200
    assert put(served, "b", b"x" * 1_000_001).status == 413
    with closing(socket.create_connection(("127.0.0.1", served.port))) as line:
        head = f"PUT {FILES}/c HTTP/1.1\r\nhost: 127.0.0.1:{served.port}\r\ntransfer-encoding: chunked\r\n\r\n"
        line.sendall(head.encode())
        for _ in range(2):
            line.sendall(f"{500_001:x}\r\n".encode() + b"x" * 500_001 + b"\r\n")
        assert line.recv(1000).startswith(b"HTTP/1.1 413")
    assert names(served) == ["a"]


def test_P1_an_acknowledged_file_survives_the_death_of_the_server(tmp_path: Path) -> None:
    folder = create_folder(tmp_path / ".perennial", now=Micros(0))
    data = {f"dir/{size}": secrets.token_bytes(size) for size in (10, 1 << 20, LARGE)}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [sys.executable, "-m", "perennial.api.server", "--workspace", str(folder.root)]
        server = subprocess.Popen(
            [*command, "--descriptor", str(listening.fileno())],
            pass_fds=[listening.fileno()],
            stderr=subprocess.DEVNULL,
        )
        port = listening.getsockname()[1]
        try:
            for path, content in data.items():
                line = HTTPConnection("127.0.0.1", port, timeout=60)
                line.request("PUT", f"{FILES}/{path}", content)
                assert line.getresponse().status == 200
                if path == list(data)[-1]:
                    server.kill()
                line.close()
        finally:
            server.kill()
            server.wait()
    owned = Owned(folder, Settings())
    with owned.workspace:
        service = owned.workspace.service("artifacts")
        for path, content in data.items():
            found = service.get(path=path)
            assert b"".join(service.bytes.read(found.digest, found.size)) == content


def test_who_sends_a_large_file_hears_why_it_is_refused(fresh: Served) -> None:
    data = bytes(LARGE)
    for _ in range(5):
        answer = put(fresh, "a%2541b", data)
        assert (answer.status, answer.json["message"]) == (400, "Invalid path")
    put(fresh, "dir/x", b"1")
    assert "is a folder" in put(fresh, "dir", data).json["message"]


def damage(served: Served) -> None:
    served.owned.workspace.objects.close()
    for path in [*served.folder.objects.glob("packs/*"), *served.folder.objects.glob("whole/*/*")]:
        data = bytearray(path.read_bytes()) if path.is_file() else bytearray()
        if len(data) > 900:
            data[-200] ^= 1
            path.chmod(0o600)
            path.write_bytes(data)


@pytest.mark.parametrize("size", [1000, 1 << 20], ids=["packed", "whole"])
def test_F22_a_damaged_small_file_is_an_error_and_none_of_it_is_sent(
    fresh: Served, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    put(fresh, "a", secrets.token_bytes(size))
    damage(fresh)
    answer = get(fresh, "a")
    assert (answer.status, answer.headers["content-type"]) == (500, "application/json")
    assert len(answer.body) < 900
    assert "damaged" in caplog.text


def test_F22_a_damaged_large_file_breaks_off_before_its_end(fresh: Served, caplog: pytest.LogCaptureFixture) -> None:
    put(fresh, "a", secrets.token_bytes(LARGE))
    damage(fresh)
    with pytest.raises(IncompleteRead) as broken:
        get(fresh, "a")
    assert 0 < len(broken.value.partial) < LARGE
    assert "damaged" in caplog.text
    assert fresh.ask("GET", "/health").status == 200


def test_a_large_file_comes_back_as_it_was(fresh: Served) -> None:
    data = secrets.token_bytes(LARGE)
    assert put(fresh, "a", data).status == 200
    assert get(fresh, "a").body == data
    assert scratch(fresh) == []


def test_deleting_needs_somebody_who_is_known_and_may_be_repeated(fresh: Served) -> None:
    for path in ("d/a", "d/b/c", "e"):
        put(fresh, path, b"1")
    assert fresh.ask("DELETE", f"{FILES}/d").status == 401
    for _ in range(2):  # MLflow's own client names no type of content
        answer = fresh.ask("DELETE", f"{FILES}/d/", headers=owner(fresh))
        assert (answer.status, answer.json) == (200, {})
    assert names(fresh) == ["e"]
    (event,) = (one for one in fresh.owned.workspace.events.list() if one.kind == "artifact.deleted")
    assert event.subject == "artifact/d"


def test_C02_with_require_token_nobody_unknown_logs_a_file(served_with: Callable[[Settings], Served]) -> None:
    served = served_with(Settings(require_token=True))
    assert put(served, "a", b"1").status == 401
    assert served.ask("POST", f"{PROXY}/mpu/create", b'{"path": "f", "num_parts": 1}', JSON).status == 401
    assert put(served, "a", b"1", authorization=f"Bearer {served.token}").status == 200
    assert get(served, "a").status == 200


def create(served: Served, folder: str, parts: int, **headers: str) -> Any:
    body = json.dumps({"path": "/home/ada/my file.bin", "num_parts": parts}).encode()
    return served.ask("POST", f"{PROXY}/mpu/create/{folder}", body, JSON | headers)


def complete(served: Served, folder: str, upload_id: str, parts: list[dict[str, Any]], verb: str = "complete") -> Any:
    body = json.dumps({"path": "/home/ada/my file.bin", "upload_id": upload_id, "parts": parts}).encode()
    return served.ask("POST", f"{PROXY}/mpu/{verb}/{folder}", body, JSON)


def send_parts(served: Served, credentials: list[dict[str, Any]], data: list[bytes]) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    for credential, part in zip(credentials, data, strict=True):
        address = urlsplit(credential["url"])
        assert address.netloc == f"127.0.0.1:{served.port}"
        answer = served.ask("PUT", address.path, part, credential["headers"])
        assert answer.status == 200
        number = credential["part_number"]
        told.append({"part_number": number, "etag": answer.headers["etag"], "url": credential["url"]})
    return told


def test_F21_parts_become_a_file_when_they_are_completed_and_again_is_the_same(fresh: Served) -> None:
    begun = create(fresh, "0/r/artifacts/dir", 3).json
    data = [secrets.token_bytes(6 << 20), secrets.token_bytes(6 << 20), b"end"]
    told = send_parts(fresh, begun["credentials"], data)
    assert names(fresh) == []
    assert complete(fresh, "0/r/artifacts/dir", begun["upload_id"], told[:2]).status == 400
    wrong = [told[0] | {"etag": told[1]["etag"]}, *told[1:]]
    assert complete(fresh, "0/r/artifacts/dir", begun["upload_id"], wrong).status == 422
    assert complete(fresh, "0/r/artifacts/other", begun["upload_id"], told).status == 400
    assert names(fresh) == []
    for _ in range(2):
        answer = complete(fresh, "0/r/artifacts/dir", begun["upload_id"], told[::-1])
        assert (answer.status, answer.json) == (200, {})
    assert get(fresh, "0/r/artifacts/dir/my file.bin").body == b"".join(data)
    assert scratch(fresh) == []


def test_F21_an_upload_that_was_given_up_takes_no_more_parts(fresh: Served) -> None:
    begun = create(fresh, "d", 1).json
    told = send_parts(fresh, begun["credentials"], [b"x"])
    for _ in range(2):
        assert complete(fresh, "d", begun["upload_id"], [], "abort").json == {}
    path = urlsplit(begun["credentials"][0]["url"]).path
    assert fresh.ask("PUT", path, b"x").status == 404
    assert complete(fresh, "d", begun["upload_id"], told).status == 404
    assert names(fresh) == []


def test_the_address_of_a_part_is_the_one_by_which_the_client_came(fresh: Served) -> None:
    credential = create(fresh, "d", 1, host="localhost:9999").json["credentials"][0]
    assert credential["url"].startswith(f"http://localhost:9999{PROXY}/mpu/part/")
    assert credential["headers"] == {}
    shown = owner(fresh)["authorization"]
    assert create(fresh, "d", 1, authorization=shown).json["credentials"][0]["headers"] == {"Authorization": shown}


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"nonsense", b'{"path": "f", "num_parts": 0}', b'{"num_parts": 1}']
)
def test_a_request_for_parts_that_says_nothing_is_a_mistake(fresh: Served, body: bytes) -> None:
    for verb in ("create", "complete", "abort"):
        answer = fresh.ask("POST", f"{PROXY}/mpu/{verb}/d", body, JSON)
        assert (answer.status, answer.json["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert fresh.ask("POST", f"{PROXY}/mpu/create/d", body, {"content-type": "text/plain"}).status == 400


def test_addresses_that_are_signed_in_advance_are_not_supported(served: Served) -> None:
    answer = served.ask("GET", f"{PROXY}/presigned/a")
    assert (answer.status, answer.json["error_code"]) == (501, "NOT_IMPLEMENTED")


def run_of(served: Served) -> str:
    return served.owned.workspace.service("runs").start(loop="salary").id


def test_a_small_file_of_a_run_is_uploaded_and_read_by_the_runs_id(fresh: Served) -> None:
    run = run_of(fresh)
    for root, key in (("/api", "run_id"), ("/ajax-api", "run_uuid")):
        address = f"{root}/2.0/mlflow/upload-artifact?{key}={run}&path=dir/n%20{root[1:]}.txt"
        answer = fresh.ask("POST", address, b"hello", {"content-type": "text/plain"})
        assert (answer.status, answer.body) == (200, b"")
        found = fresh.ask("GET", f"/get-artifact?{key}={run}&path=dir/n%20{root[1:]}.txt")
        assert (found.status, found.body) == (200, b"hello")
    listed = fresh.ask("GET", f"/ajax-api/2.0/mlflow/artifacts/list?run_id={run}&path=dir").json
    assert listed["root_uri"].endswith(f"/{run}/artifacts")
    assert [one["path"] for one in listed["files"]] == ["dir/n ajax-api.txt", "dir/n api.txt"]
    root = fresh.ask("GET", f"/api/2.0/mlflow/artifacts/list?run_uuid={run}").json
    assert root["files"] == [{"path": "dir", "is_dir": True}]


@pytest.mark.parametrize(
    "query, size, says",
    [
        ("", 1, "Request must specify run_uuid."),
        ("run_uuid={run}", 1, "Request must specify path."),
        ("run_uuid={run}&path=", 1, "Request must specify path."),
        ("run_uuid={run}&path=../x", 1, "Invalid path"),
        ("run_uuid={run}&path=x", 0, "Request must specify data."),
        ("run_uuid={run}&path=x", (10 << 20) + 1, "Artifact size is too large. Max size is 10MB."),
    ],
)
def test_what_is_wrong_with_a_small_file_is_told_in_MLflows_words(
    fresh: Served, query: str, size: int, says: str
) -> None:
    run = run_of(fresh)
    answer = fresh.ask("POST", f"/ajax-api/2.0/mlflow/upload-artifact?{query.format(run=run)}", b"x" * size)
    assert (answer.status, answer.json["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert says in answer.json["message"]
    assert names(fresh) == []


def test_an_unknown_run_has_no_files(served: Served) -> None:
    for address in ("/get-artifact?run_id={0}&path=a", "/api/2.0/mlflow/artifacts/list?run_id={0}"):
        answer = served.ask("GET", address.format("f" * 32))
        assert (answer.status, answer.json["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert served.ask("GET", "/api/2.0/mlflow/artifacts/list").json["message"].startswith("Missing value for required")


def test_the_files_of_a_logged_model_are_listed_and_read_by_its_id(fresh: Served) -> None:
    ws = fresh.owned.workspace
    model = ws.service("logged_models").create(experiment=0, name="m")
    root = model.artifact_uri.removeprefix("mlflow-artifacts:/")
    put(fresh, f"{root}/MLmodel", b"flavors")
    put(fresh, f"{root}/code/a.py", b"a")
    address = f"/api/2.0/mlflow/logged-models/{model.id}/artifacts"
    listed = fresh.ask("GET", f"{address}/directories").json
    assert (listed["root_uri"], [one["path"] for one in listed["files"]]) == (model.artifact_uri, ["MLmodel", "code"])
    below = fresh.ask("GET", f"{address}/directories?artifact_directory_path=code").json
    assert below["files"] == [{"path": "code/a.py", "is_dir": False, "file_size": 1}]
    assert fresh.ask("GET", f"{address}/files?artifact_file_path=MLmodel").body == b"flavors"
    assert fresh.ask("GET", f"{address}/files").status == 400
    assert fresh.ask("GET", f"{address.replace(model.id, 'm-' + '0' * 32)}/directories").status == 404


@pytest.fixture
def package(fresh: Served) -> dict[str, bytes]:
    """The files of version 1 of `salary`."""
    ws = fresh.owned.workspace
    files = {"MLmodel": b"{}", "model.pkl": secrets.token_bytes(400_000), "code/loop.py": b"pass"}
    put = {path: (Digest(ws.objects.put(data)), len(data)) for path, data in files.items()}
    manifest = PackageManifest(kind="sklearn", files=put).to_bytes()
    ws.models.register(name="salary", package=ws.objects.put(manifest), origin="imported")
    return files | {"manifest.json": manifest}


def test_the_package_of_a_version_is_shown_as_a_folder(fresh: Served, package: dict[str, bytes]) -> None:
    assert names(fresh, "packages") == ["salary"]
    assert names(fresh, "packages/salary") == ["1"]
    assert names(fresh, "packages/salary/1") == ["MLmodel", "code", "manifest.json", "model.pkl"]
    assert names(fresh, "packages/salary/1/code") == ["loop.py"]
    for path, data in package.items():
        assert get(fresh, f"packages/salary/1/{path}").body == data
    assert fresh.ask("GET", "/model-versions/get-artifact?name=salary&version=1&path=MLmodel").body == b"{}"
    assert names(fresh) == [], "it lies nowhere"


def test_what_no_package_has_is_not_there(fresh: Served, package: dict[str, bytes]) -> None:
    for path in ("packages/salary/1/nothing", "packages/salary/2/MLmodel", "packages/nobody/1/MLmodel", "packages/x"):
        assert get(fresh, path).status == 404
    for path in ("packages/salary/2", "packages/nobody", "packages/salary/x", "packages/salary/1/MLmodel"):
        assert names(fresh, path) == []
    for path in ("packages", "packages/salary", "packages/salary/1", "packages/salary/1/code"):
        assert get(fresh, path).status == 400


def test_the_package_of_a_version_cannot_be_written(fresh: Served, package: dict[str, bytes]) -> None:
    path = "packages/salary/1/MLmodel"
    assert put(fresh, path, b"other", **owner(fresh)).status == 403
    assert fresh.ask("DELETE", f"{FILES}/{path}", headers=owner(fresh)).status == 403
    begun = create(fresh, "packages/salary/1", 1)
    assert begun.status == 403
    assert get(fresh, path).body == b"{}"


def test_a_file_goes_to_the_bucket_that_the_settings_name_and_comes_back(
    s3_server: tuple[int, Any],
    s3_credentials: None,
    monkeypatch: pytest.MonkeyPatch,
    served_with: Callable[[Settings], Served],
) -> None:
    port, client = s3_server
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    bucket = f"bucket-{secrets.token_hex(4)}"
    client.create_bucket(Bucket=bucket)
    served = served_with(Settings(artifacts=f"s3://{bucket}/team"))
    data = secrets.token_bytes(LARGE)
    assert put(served, "a/b c.bin", data).status == 200
    (found,) = client.list_objects_v2(Bucket=bucket)["Contents"]
    assert found["Size"] == LARGE
    assert get(served, "a/b c.bin").body == data
    client.put_object(Bucket=bucket, Key=found["Key"], Body=data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(IncompleteRead):
        get(served, "a/b c.bin")
    served.ask("DELETE", f"{FILES}/a", headers=owner(served))
    assert "Contents" not in client.list_objects_v2(Bucket=bucket)
