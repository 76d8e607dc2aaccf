"""What of a request is written down: each policy on each kind of value, and one secret for all processes."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perennial.errors import Corrupt, Invalid
from perennial.serve.answer import Flag
from perennial.serve.privacy import KEY_FILE, Privacy, hashed, masked, workspace_secret
from perennial.store.files import LocalFiles

SECRET = bytes(range(32))
NAMES = ("person", "email", "note", "x")
ROW = ("zaphod", "a@example.org", "ill since May", 1.5)


def privacy(key: str | None = "person", **policy: str) -> Privacy:
    return Privacy(NAMES, policy, key=key, secret=SECRET)


def test_each_column_is_written_as_its_policy_says_and_what_came_is_not_changed() -> None:
    rows = [ROW, (None, None, None, None)]
    made = privacy(person="hash", email="mask", note="drop", x="keep")
    hash_of_zaphod = hashlib.blake2b(b'"zaphod"', digest_size=16, key=SECRET).hexdigest()
    assert made.rows(rows) == [[hash_of_zaphod, "<text 8-15>", None, 1.5], [None, None, None, None]]
    assert rows[0] == ROW
    assert made.policy == {"person": "hash", "email": "mask", "note": "drop"}


def test_rows_of_which_all_is_kept_are_the_very_same_ones() -> None:
    rows = [ROW]
    assert privacy(x="keep").rows(rows) is rows


@pytest.mark.parametrize(
    "value, says",
    [
        ("", "<text 0>"),
        ("a", "<text 1>"),
        ("ab", "<text 2-3>"),
        ("abcd", "<text 4-7>"),
        ("x" * 1000, "<text 512-1023>"),
        (3, "<number>"),
        (-0.5, "<number>"),
        (False, "<true or false>"),
        ([[1.0]], "<list>"),
    ],
)
def test_a_mask_tells_the_kind_of_a_value_and_how_long_a_text_is(value: Any, says: str) -> None:
    assert masked(value) == says


def test_a_hash_depends_on_the_value_and_the_secret_alone() -> None:
    assert hashed(3, SECRET) == hashed(3.0, SECRET) != hashed("3", SECRET)
    assert hashed("a", SECRET) != hashed("a", bytes(32))
    assert privacy(person="hash").rows([ROW])[0][0] == privacy(email="hash").rows([("", "zaphod", "", 0)])[0][1]


@pytest.mark.parametrize("policy", ["hash", "mask", "drop"])
def test_what_a_guard_says_of_a_column_that_is_not_kept_is_not_written(policy: str) -> None:
    flags = [
        [
            Flag(guard="unseen", action="flag", column="note", says="'ill since May' is new"),
            Flag(guard="range", action="fill", column="x", says="99 is above 9"),
            Flag(guard="unforeseen", action="abstain", says="its note is unlike all others"),
        ],
        [],
    ]
    told = privacy(note=policy).flags(flags)
    assert told is not None
    assert [(flag.guard, flag.action, flag.column, flag.says) for flag in told[0]] == [
        ("unseen", "flag", "note", ""), ("range", "fill", "x", "99 is above 9"), ("unforeseen", "abstain", None, ""),
    ]  # fmt: skip
    assert told[1] == []
    assert flags[0][0].says, "the caller is told all the same"
    assert privacy(note="keep").flags(flags) is flags
    assert privacy(note=policy).flags(None) is None


def test_of_why_a_model_failed_only_the_kind_is_written_since_it_may_quote() -> None:
    says = "ValueError: could not convert string to float: 'ill since May'"
    made = privacy(note="drop")
    assert (made.error(says), made.errors([None, says])) == ("ValueError", [None, "ValueError"])
    assert (made.error(None), made.error(""), made.errors(None)) == (None, "", None)
    assert privacy().error(says) == says


def test_the_digest_of_a_request_can_be_found_with_the_secret_alone() -> None:
    digest = hashlib.blake2b(b"{}", digest_size=16).hexdigest()
    made = privacy(note="drop")
    assert made.digest(digest) == made.digest(digest) != digest
    assert made.digest("") == "", "a request without a key has none"
    assert made.digest(digest) != Privacy(NAMES, {"note": "drop"}, key=None, secret=bytes(32)).digest(digest)
    assert privacy().digest(digest) == digest


@pytest.mark.parametrize("policy, same", [("keep", '"zaphod"'), ("hash", None)])
def test_an_entity_is_named_as_it_lies_in_the_rows(policy: str, same: str | None) -> None:
    made = privacy(person=policy)
    assert made.entity("zaphod") == (same or f'"{made.rows([ROW])[0][0]}"')


@pytest.mark.parametrize("key, policy", [("person", "mask"), ("person", "drop"), (None, "keep")])
def test_without_a_key_that_is_kept_no_entity_can_be_named(key: str | None, policy: str) -> None:
    with pytest.raises(Invalid, match="key column") as told:
        privacy(key, person=policy).entity("zaphod")
    assert (told.value.where, told.value.remedy) == ("entity", "send the prediction's id")


@pytest.mark.parametrize(
    "policy, says", [({"colour": "drop"}, "no column 'colour'"), ({"x": "burn"}, "cannot be 'burn'")]
)
def test_a_policy_that_cannot_be_is_refused(policy: dict[str, str], says: str) -> None:
    with pytest.raises(Invalid, match=says):
        privacy(**policy)


MAKES = """
import sys
from pathlib import Path
from perennial.serve.privacy import workspace_secret
from perennial.store.files import LocalFiles
print("ready", flush=True)
sys.stdin.readline()
print(workspace_secret(Path(sys.argv[1]), LocalFiles()).hex(), flush=True)
"""


def test_processes_that_make_the_secret_at_once_all_get_the_same_one(tmp_path: Path) -> None:
    for turn in range(3):
        serving = tmp_path / str(turn)
        children = [
            subprocess.Popen(
                [sys.executable, "-c", MAKES, str(serving)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(4)
        ]
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("\n")
            child.stdin.flush()
        told = {child.communicate()[0].strip() for child in children}
        assert told == {workspace_secret(serving, LocalFiles()).hex()}
        assert [path.name for path in serving.iterdir()] == [KEY_FILE], "no file of those that were late is left"
        assert (serving / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_secrets_of_two_workspaces_differ_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    one, other = (workspace_secret(tmp_path / name, LocalFiles()) for name in ("one", "other"))
    assert len(one) == 32
    assert not hmac.compare_digest(one, other)
    (tmp_path / "one" / KEY_FILE).write_bytes(one[:7])
    with pytest.raises(Corrupt, match="not the key") as told:
        workspace_secret(tmp_path / "one", LocalFiles())
    assert "backup" in str(told.value.remedy)
