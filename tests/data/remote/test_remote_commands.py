"""`perennial data remote|push|pull` between two workspaces."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from perennial.api.connect import open as open_workspace
from perennial.cli.main import main
from perennial.data.remote.place import Place
from perennial.data.remotes import address_of
from perennial.errors import NotFound

from .machines import Machine, add_files


def test_a_dataset_goes_from_one_workspace_to_another_by_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, url = tmp_path, (tmp_path / "remote").as_uri()
    with open_workspace(root / "here") as ws:
        for content in (b"1", b"2"):
            add_files(ws.data, "pictures", {"a": content})
        add_files(ws.data, "sounds", {"b": b"3"})

    def run(home: str, *words: str) -> tuple[int, Any]:
        code = main(["data", *words, "--home", str(root / home), "--json"])
        return code, json.loads(capsys.readouterr().out)

    assert run("here", "push")[1]["error"]["what"] == "there is no remote"
    assert run("here", "remote", "set", "origin", url)[0] == 0
    assert [one["url"] for one in run("here", "remote", "list")[1]] == [url]
    code, dry = run("here", "push", "--dry-run", "pictures@1")
    assert code == 2
    assert dry["error"]["what"] == "there is no such folder"
    code, pushed = run("here", "push")
    assert (code, pushed["versions"]) == (0, 2)
    assert run("here", "push", "pictures", "--all-versions")[1]["versions"] == 1
    assert run("here", "push", "nothing")[0] == 2
    assert len(run("here", "remote", "show")[1]) == 3

    assert run("there", "remote", "set", "origin", url)[0] == 0
    code, pulled = run("there", "pull", "pictures@1")
    assert (code, [(one["name"], one["version"]) for one in pulled]) == (0, [("pictures", 1)])
    assert len(run("there", "pull")[1]) == 3
    assert run("there", "pull", "pictures@9")[0] == 2
    assert run("there", "remote", "remove", "origin")[0] == 0
    assert run("there", "pull", "--remote", "origin")[0] == 2
    assert main(["verify", "--home", str(root / "there")]) == 0


def test_the_remote_meant_is_the_only_one_or_origin(machine: Callable[[str], Machine]) -> None:
    remotes = machine("here").catalog.remotes
    remotes.set(name="backup", url="s3://bucket/a")
    assert address_of(remotes) == "s3://bucket/a"
    remotes.set(name="team", url="s3://bucket/b")
    with pytest.raises(NotFound, match="2 remotes"):
        address_of(remotes)
    remotes.set(name="origin", url="gs://bucket/c")
    assert address_of(remotes) == "gs://bucket/c"
    assert address_of(remotes, "team") == "s3://bucket/b"
    assert address_of(remotes, "az://container/d") == "az://container/d"


def test_clients_for_google_and_azure_are_made_from_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    for url in ("gs://bucket/prefix", "az://container/prefix"):
        assert Place(url).url == url
