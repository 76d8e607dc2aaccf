"""The digits template: a folder of images in, a PNG in base64 answered."""

from __future__ import annotations

import base64
import subprocess
import sys

import pytest

from .conftest import Project


def test_an_image_travels_as_base64_and_is_read(project: Project) -> None:
    pytest.importorskip("PIL", reason="images need Pillow")
    project.done("init", "--template", "digits", ".")
    empty = project.perennial("run")
    assert (empty.code, "run `python make_images.py` first" in empty.err) == (2, True)
    subprocess.run([sys.executable, "make_images.py"], cwd=project.folder, check=True, capture_output=True, timeout=60)
    assert project.done("run")["state"] == "candidate"
    project.up()
    image = base64.b64encode((project.folder / "images" / "3" / "0003.png").read_bytes()).decode()
    assert project.answer("digits", {"image": image})["prediction"] == "3"
    for sent in ("not base64!", 3, None, ["3"]):
        told = project.ask("/predict/digits", {"records": [{"image": sent}]})
        assert (told.status, told.json["where"]) == (422, "records[0].image")
    assert project.answer("digits", {"image": image})["version"] == 1
