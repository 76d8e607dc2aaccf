"""Killed anywhere, a command leaves a whole version or none, a whole folder or none, and can be repeated."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from perennial.data.files.add import add
from perennial.data.files.checkout import checkout
from perennial.store.verify import verify
from perennial.testing.crash import Acknowledge, run_in_child

from .machines import content, owned

TURNS = 4  # of one failpoint; more of the same tell nothing new


def sweep(work: Callable[[Acknowledge], None], prepare: Callable[[], None], needed: set[str]) -> list[str]:
    """Every time that this work passes a failpoint, in a child that is not killed."""
    prepare()
    found = run_in_child(work, "*=count").hits
    assert needed <= found.keys(), found
    return [f"{name}=kill@{turn}" for name, times in sorted(found.items()) for turn in range(1, min(times, TURNS) + 1)]


def test_F01_add_killed_at_every_failpoint_leaves_a_whole_version_or_none(tmp_path: Path, folder: Path) -> None:
    homes = iter(tmp_path / f"home{count}" for count in range(100))
    home = next(homes)

    def prepare() -> None:
        nonlocal home
        home = next(homes)
        first = owned(home)
        (folder / "new").unlink(missing_ok=True)
        add(folder, "images", first.workspace.data)
        first.workspace.close()
        (folder / "new").write_bytes(os.urandom(300_000))

    def work(acknowledge: Acknowledge) -> None:
        second = owned(home)
        version = add(folder, "images", second.workspace.data)
        acknowledge(str(version.version))
        second.workspace.close()

    for name in sweep(work, prepare, {"data.add.stored", "data.add.committed", "records.committing"}):
        prepare()
        outcome = run_in_child(work, name)
        assert outcome.was_killed, name
        after = owned(home)
        catalog = after.workspace.data
        versions = [version.version for version in catalog.datasets.list(name="images")]
        assert versions in ([1], [2, 1]), name
        assert "2" not in outcome.acknowledged or versions == [2, 1], name
        assert verify(after.records, catalog.objects).is_sound, name
        again = add(folder, "images", catalog)
        assert again.version == 2, name
        out = home.with_suffix(".out")
        checkout(again, out, catalog)
        assert content(out) == content(folder), name
        assert verify(after.records, catalog.objects).is_sound, name
        after.workspace.close()


@pytest.mark.parametrize("at", ["a new place", "an existing folder"])
def test_F01_checkout_killed_at_every_failpoint_can_be_repeated(tmp_path: Path, folder: Path, at: str) -> None:
    home = tmp_path / "home"
    first = owned(home)
    one = add(folder, "images", first.workspace.data)
    before = content(folder)
    (folder / "empty").unlink()
    (folder / "cats" / "tom.png").write_bytes(os.urandom(3000))
    (folder / "cats" / "large.bin").write_bytes(os.urandom(300_000))
    two = add(folder, "images", first.workspace.data)
    first.workspace.close()
    targets = iter(tmp_path / f"out{count}" for count in range(100))
    target = next(targets)

    def prepare() -> None:
        nonlocal target
        target = next(targets)
        if at == "an existing folder":
            beforehand = owned(home)
            checkout(two, target, beforehand.workspace.data)
            beforehand.workspace.close()

    def work(_: Acknowledge) -> None:
        second = owned(home)
        checkout(one, target, second.workspace.data)
        second.workspace.close()

    fresh = {"data.checkout.filled", "data.checkout.written"}
    for name in sweep(work, prepare, fresh if at == "a new place" else {"data.checkout.removed"}):
        prepare()
        assert run_in_child(work, name).was_killed, name
        if at == "a new place":
            assert not target.exists() or content(target) == before, name
        after = owned(home)
        checkout(one, target, after.workspace.data)
        assert content(target) == before, name
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")], name
        assert verify(after.records, after.workspace.objects).is_sound, name
        after.workspace.close()
