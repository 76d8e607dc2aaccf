"""`perennial models card`: everything recorded about one version; a summary here, or a file for others."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.cli.names import model_or_alias
from perennial.cli.output import emit, here, write
from perennial.store.decoding import ready

if TYPE_CHECKING:
    from perennial.registry.card.facts import Card

__all__ = ["arguments", "run"]

FORMATS = ("html", "json", "markdown", "cyclonedx")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="NAME[@VERSION]", help="a number or an alias; the newest without one")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the card there")
    parser.add_argument(
        "--format", choices=FORMATS, help="of the card: by the file's ending, else html; without FILE it is printed"
    )


def run(options: argparse.Namespace) -> int:
    import msgspec

    from perennial.api.connect import calls
    from perennial.registry.card.facts import Card

    with calls(options.home) as owner:
        found = owner.call("cards.get", **model_or_alias(options.model))
    card = msgspec.convert(found, ready(Card))
    if options.output is not None:
        form = options.format or _by_ending(options.output)
        write(options.output, _written(card, form))
        told = {"file": str(options.output.absolute()), "format": form, "name": card.name, "version": card.version}
        emit(options, told, [f"the card of {card.name} version {card.version} is in {here(str(options.output))}"])
    elif options.format is not None and not options.json:
        print(_written(card, options.format), end="")
    else:
        emit(options, found, _summary(card))
    return 0


def _written(card: Card, form: str) -> str:
    import msgspec

    if form == "html":
        from perennial.registry.card.html import html

        return html(card)
    if form == "markdown":
        from perennial.registry.card.markdown import markdown

        return markdown(card)
    if form == "cyclonedx":
        from perennial.registry.card.cyclonedx import cyclonedx

        return json.dumps(cyclonedx(card), indent=2, ensure_ascii=False) + "\n"
    return msgspec.json.format(msgspec.json.encode(card, order="deterministic"), indent=2).decode() + "\n"


def _by_ending(file: Path) -> str:
    if file.name.endswith((".cdx.json", ".bom.json")):
        return "cyclonedx"
    return {".json": "json", ".md": "markdown"}.get(file.suffix.lower(), "html")


def _summary(card: Card) -> Iterable[str]:
    from perennial.registry.card.words import day, figure, group, told

    yield f"{card.name} version {card.version}: {card.state}"
    yield f"  for: {card.said.purpose or '(nobody has said)'}"
    yield f"  answers for it: {card.said.owner or '(nobody has said)'}"
    if card.decided_by:
        yield f"  decided by {card.decided_by}, {day(card.decided_at)}" + (f": {card.comment}" if card.comment else "")
    evaluation = card.evaluation
    if evaluation is not None:
        yield f"  measured on {evaluation.split}"
        for name, found in evaluation.test.items():
            train = evaluation.train.get(name)
            yield f"    {name}: {told(found)}" + (f", {figure(train.value)} on its training rows" if train else "")
        for one in evaluation.slices:
            if one.is_confirmed:
                yield f"    weak: {group(one.where)}: {told(one.value)}, {figure(one.rest)} on all other rows"
        for sentence in evaluation.says:
            yield f"    {sentence}"
    for verdict in card.requirements:
        mark = {True: "passed", False: "FAILED", None: "n/a"}[verdict.passed]
        yield f"  {mark:<6}  {verdict.sentence}: {verdict.says}"
    if card.compilation is not None:
        yield f"  serves as {card.compilation.form or 'native'}: {card.compilation.reason}"
    for sentence in card.missing:
        yield f"  not known: {sentence}"
    yield f"  the whole card: perennial models card {card.name}@{card.version} -o {card.name}-{card.version}.html"
