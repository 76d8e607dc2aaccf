"""The digits template: a folder of images in, a PNG in base64 answered."""

from __future__ import annotations

import base64
import runpy
from contextlib import chdir

import pytest

from .conftest import Quick


def test_an_image_travels_as_base64_and_is_read(quick: Quick) -> None:
    pytest.importorskip("PIL", reason="images need Pillow")
    quick.done("init", "--template", "digits", ".")
    empty = quick.perennial("run")
    assert (empty.code, "run `python make_images.py` first" in empty.err) == (2, True)
    with chdir(quick.folder):
        runpy.run_path("make_images.py")
    assert quick.done("run")["state"] == "candidate"
    quick.up()
    image = base64.b64encode((quick.folder / "images" / "3" / "0003.png").read_bytes()).decode()
    assert quick.answer("digits", {"image": image})["prediction"] == "3"
    for sent in ("not base64!", 3, None, ["3"]):
        told = quick.ask("/predict/digits", {"records": [{"image": sent}]})
        assert (told.status, told.json["where"]) == (422, "records[0].image")
    assert quick.answer("digits", {"image": image})["version"] == 1
