"""Read a model from one file of a toolkit's own format: the format is told by the content, the name only chooses whom
to ask. Nothing here runs code of the file, except for pickles and R's objects, which their functions say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

from perennial.errors import Corrupt, DataError, Refused

__all__ = ["CODE", "DATA", "read_file", "read_onnx", "read_pickle", "read_skops"]

# Endings of files whose content is data, and who reads it.
DATA: Mapping[str, str] = MappingProxyType(
    {
        ".skops": "perennial.models.reading:read_skops",
        ".onnx": "perennial.models.reading:read_onnx",
        ".ubj": "perennial.models.flavors.xgboost:read_booster",
        ".json": "perennial.models.flavors.xgboost:read_booster",
        ".txt": "perennial.models.flavors.lightgbm:read_booster",
        ".lgb": "perennial.models.flavors.lightgbm:read_booster",
        ".keras": "perennial.models.flavors.tensorflow:read_file",
        ".zip": "perennial.models.flavors.h2o:read_mojo",
    }
)
# Endings of files that are code: reading them runs it, in the process of the person who vouches for them.
CODE: Mapping[str, str] = MappingProxyType(
    {
        ".pkl": "perennial.models.reading:read_pickle",
        ".pickle": "perennial.models.reading:read_pickle",
        ".joblib": "perennial.models.reading:read_pickle",
        ".rds": "perennial.models.flavors.r:read_rds",
        ".pt2": "perennial.models.flavors.pytorch:read_file",
        ".pt": "perennial.models.flavors.pytorch:read_file",
        ".pth": "perennial.models.flavors.pytorch:read_file",
    }
)
# A pickle was always read when its owner named it: to name one is to vouch for it.
_VOUCHED = frozenset({".pkl", ".pickle", ".joblib"})
_BEGINS: Mapping[str, tuple[bytes, ...]] = MappingProxyType(
    {
        ".skops": (b"PK\x03\x04",),
        ".keras": (b"PK\x03\x04",),
        ".zip": (b"PK\x03\x04",),
        ".ubj": (b"{L\x00\x00\x00\x00",),
        ".json": (b"{",),
        ".txt": (b"tree\n",),
        ".lgb": (b"tree\n",),
        ".rds": (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"X\n", b"A\n"),
        ".pt2": (b"PK\x03\x04",),
    }
)


def read_file(path: Path, *, trusted: bool) -> Any:
    """The model in a file.

    Args:
        path: The file.
        trusted: The person vouches for code that is in it.

    Raises:
        DataError: There is no such file, or nobody reads such files, or it does not load.
        Refused: It is code that nobody vouched for. Corrupt: The content is not of the format.
    """
    suffix = path.suffix.lower()
    home = DATA.get(suffix) or CODE.get(suffix)
    if not path.is_file():
        raise DataError("there is no such file", where=str(path), remedy="name the file that holds the fitted model")
    if home is None:
        raise DataError(
            f"a model in a file {suffix or 'without ending'} is not read here",
            where=str(path),
            remedy=f"name a folder of MLflow's, or a file {', '.join([*DATA, *CODE])}",
        )
    if suffix in CODE and suffix not in _VOUCHED and not trusted:
        raise Refused(
            f"to read a file {suffix} runs code that is in it",
            where=str(path),
            remedy="if you know where it comes from: --trust-code",
        )
    beginnings = _BEGINS.get(suffix)
    if beginnings:
        with path.open("rb") as file:
            head = file.read(16)
        if not head.startswith(beginnings):
            raise Corrupt(
                f"the file is called {suffix}, but does not begin like one", where=str(path), remedy="do not use it"
            )
    module, _, name = home.partition(":")
    read: Callable[[Path], Any] = getattr(import_module(module), name)
    return read(path)


def read_skops(path: Path) -> Any:
    """A model in a skops file, of types that are allowed here."""
    from perennial.models.flavors.sklearn import load_skops

    return load_skops(path.read_bytes(), str(path))


def read_onnx(path: Path) -> Any:
    """A graph in an ONNX file, whole in itself.

    Raises:
        Corrupt: It is none, or takes tensors from other files.
    """
    import onnx

    from perennial.models.flavors.onnx import session

    data = path.read_bytes()
    session(data, str(path))
    return onnx.ModelProto.FromString(data)


def read_pickle(path: Path) -> Any:
    """An object in a pickle or joblib file. Runs its code.

    Raises:
        DataError: It does not load.
    """
    import joblib

    try:
        return joblib.load(path)
    except Exception as error:  # a pickle can raise anything; the person who named the file is told
        raise DataError(
            f"the model does not load: {type(error).__name__}: {error}",
            where=str(path),
            remedy="write it with pickle or joblib, and install the libraries that it uses here",
        ) from error
