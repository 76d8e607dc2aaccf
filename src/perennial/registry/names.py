"""What names, tags, aliases and stages MLflow's clients may give, as MLflow's own server allows them.

Narrower than MLflow in one thing: the aliases `live` and `candidate` and the stage Production say what is served, so
they move only through approval and rollout.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from perennial.errors import Forbidden, Invalid, NotFound

__all__ = [
    "PROMPT_TAG",
    "RESERVED_ALIASES",
    "STAGES",
    "alias_name",
    "model_name",
    "own_alias",
    "own_stage",
    "plain_text",
    "stage_name",
    "tag_key",
    "tags",
    "version_number",
]

MAX_TAG_KEY = 250  # characters
MAX_TAG = 100_000
MAX_ALIAS = 255
MAX_NAME = 500
MAX_TEXT = 100_000
RESERVED_ALIASES = frozenset({"live", "candidate"})
STAGES = ("None", "Staging", "Production", "Archived")
PROMPT_TAG = "mlflow.prompt.is_prompt"
_KEY = re.compile(r"[/\w.\- :]*")
_ALIAS = re.compile(r"[\w\-]+")
_LIKE_A_VERSION = re.compile(r"[vV]\d+")
_NUMBER = re.compile(r"\s*[+-]?\d+\s*")


def model_name(name: str, *, parameter: str = "name") -> str:
    """A name for a registered model.

    Raises:
        Invalid: It is blank, too long, holds `/` or `:`, or leads elsewhere when it is taken for a path.
    """
    if not name.strip():
        raise Invalid(f"Missing value for required parameter '{parameter}'.", where=parameter)
    if "/" in name or ":" in name:
        raise Invalid(f"Invalid model name '{name}': '/' and ':' are not allowed in it.", where=parameter)
    _no_path_tricks(name, parameter)
    if len(name) > MAX_NAME:
        raise Invalid(f"'{parameter}' exceeds the maximum length of {MAX_NAME} characters", where=parameter)
    return plain_text(name, parameter)


def tag_key(key: str) -> str:
    """The key of a tag.

    Raises:
        Invalid: It is too long, holds other signs than letters, digits and `/_.-: `, or is no plain path.
    """
    if not key:
        raise Invalid("Missing value for required parameter 'key'.", where="key")
    if len(key) > MAX_TAG_KEY:
        raise Invalid(f"'key' exceeds the maximum length of {MAX_TAG_KEY} characters", where="key")
    if not _KEY.fullmatch(key):
        raise Invalid(
            f"Invalid value {key!r} for parameter 'key' supplied: "
            "only letters, digits, '/', '_', '.', '-', ':' and spaces can be in it",
            where="key",
        )
    _no_path_tricks(key, "key")
    return key


def tags(given: Mapping[str, str]) -> dict[str, str]:
    """Tags with valid keys and values.

    Raises:
        Invalid: A key cannot be one, or a value is too long.
    """
    for key, value in given.items():
        tag_key(key)
        if len(value) > MAX_TAG:
            raise Invalid(f"'value' exceeds the maximum length of {MAX_TAG} characters", where=f"tag {key}")
        plain_text(value, "value")
    return dict(given)


def alias_name(alias: str) -> str:
    """An alias that may be looked for.

    Raises:
        Invalid: It is empty, too long, or holds other signs than letters, digits, `_` and `-`.
    """
    if not _ALIAS.fullmatch(alias):
        raise Invalid(
            f"Invalid alias name: '{alias}'. Aliases hold letters, digits, '_' and '-' only.",
            where="alias",
        )
    if len(alias) > MAX_ALIAS:
        raise Invalid(f"'alias' exceeds the maximum length of {MAX_ALIAS} characters", where="alias")
    return alias


def own_alias(name: str, alias: str) -> str:
    """An alias that a client may move.

    Raises:
        Invalid: It cannot be an alias. Forbidden: It says what is served.
    """
    alias_name(alias)
    if alias.lower() in RESERVED_ALIASES:
        raise Forbidden(
            f"the alias '{alias}' moves only through approval and rollout",
            remedy=f"perennial approve {name}@VERSION, then perennial deploy {name}@VERSION",
        )
    if alias.lower() == "latest":
        raise Invalid("'latest' alias name (case insensitive) is reserved: it is the newest version.", where="alias")
    if _LIKE_A_VERSION.fullmatch(alias):
        raise Invalid(f"Version alias name '{alias}' is reserved: it reads as a version.", where="alias")
    return alias


def stage_name(stage: str) -> str:
    """The stage as it is written, whatever the case of its letters.

    Raises:
        Invalid: There is no such stage.
    """
    found = next((known for known in STAGES if known.lower() == stage.lower()), None)
    if found is None:
        raise Invalid(f"Invalid Model Version stage: {stage}. Value must be one of {', '.join(STAGES)}.", where="stage")
    return found


def own_stage(name: str, version: int, stage: str) -> str:
    """The stage, if a client may move a version there.

    Raises:
        Invalid: There is no such stage. Forbidden: It is Production.
    """
    found = stage_name(stage)
    if found == "Production":
        raise Forbidden(
            "a version reaches the stage Production only through approval and rollout",
            remedy=f"perennial approve {name}@{version}, then perennial deploy {name}@{version}",
        )
    return found


def version_number(version: str | int) -> int:
    """The number of a version.

    Raises:
        Invalid: It is not a whole number. NotFound: It is beyond what is counted to.
    """
    text = str(version)
    if not _NUMBER.fullmatch(text):
        raise Invalid(f"Parameter 'version' must be an integer, got '{text}'.", where="version")
    if len(text) > 12 or abs(int(text)) >= 2**31:
        raise NotFound(f"Model Version (version={text[:40]}) not found")
    return int(text)


def plain_text(text: str, parameter: str) -> str:
    """Text that every database can hold.

    Raises:
        Invalid: It holds NUL or half a surrogate pair, or is longer than 100,000 characters.
    """
    if len(text) > MAX_TEXT:
        raise Invalid(f"'{parameter}' exceeds the maximum length of {MAX_TEXT} characters", where=parameter)
    if "\0" in text or not _is_unicode(text):
        raise Invalid(
            f"Invalid value for parameter '{parameter}' supplied: it is not plain Unicode text", where=parameter
        )
    return text


def _no_path_tricks(name: str, parameter: str) -> None:
    plain = posixpath.normpath(name)
    if plain != name or plain == "." or plain.startswith(("..", "/")):
        raise Invalid(
            f"Invalid value {name!r} for parameter '{parameter}' supplied: taken for a path it would be {plain!r}",
            where=parameter,
        )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
