"""`perennial init`: a new project from a template."""

from __future__ import annotations

import argparse
from pathlib import Path

from perennial.cli.output import common, emit

__all__ = ["arguments", "run"]

DEFAULT = "iris"  # runs as it is


def arguments(parser: argparse.ArgumentParser) -> None:
    common(parser)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(), help="where (default: here)")
    parser.add_argument("--template", default=DEFAULT, help=f"which one (default: {DEFAULT}); --list shows all")
    parser.add_argument("--list", action="store_true", help="show the templates, change nothing")


def run(options: argparse.Namespace) -> int:
    from perennial.templates import template_names, write_template

    if options.list:
        emit(options, {"templates": template_names()}, template_names())
        return 0
    folder: Path = options.folder.absolute()
    written = write_template(options.template, folder)
    told = {"folder": str(folder), "template": options.template, "files": written}
    emit(options, told, [*(f"wrote {folder / path}" for path in written), "next: perennial run, then perennial up"])
    return 0
