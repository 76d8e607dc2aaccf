"""The card inside a package says what was certain when it was made, and the same model makes the same bytes."""

from __future__ import annotations

from perennial.models.facts.compilation import Compilation, Timing
from perennial.models.package_card import package_card
from perennial.models.signature import Field, Signature

SIGNATURE = Signature(
    inputs=[
        Field(name="years|<b>", type="float64", nullable=True, unit="a"),
        Field(name="trade", type="string", categories=[f"t{n}" for n in range(10)]),
        Field(name="person", type="string", required=False),
    ],
    columns=[],
    output=Field(name="paid", type="string"),
    task="classification",
    classes=["no", "yes"],
    key="person",
)


def card(compilation: Compilation) -> str:
    return package_card(
        SIGNATURE,
        kind="sklearn",
        saved_as="skops",
        runs_code=False,
        compilation=compilation,
        provenance={"origin": "executor", "loop": "pay", "bundle": "b" * 64, "datasets": {"survey": 3}},
        learned_from=1234,
    ).decode()


def test_it_tells_what_the_model_is_and_where_the_rest_is_recorded() -> None:
    told = card(Compilation(form="onnx-float64", reason="equal on 20 test rows"))
    for line in (
        "# paid: a classification model",
        "paid: one of 2 classes (no, yes)".replace("(", "\\(").replace(")", "\\)"),
        "| years\\|&lt;b&gt; | float64, in a | allowed |  |",
        "| trade | string | no | t0, t1, t2, t3, t4, t5, t6, t7 and 2 more |",
        "| person | string, not seen by it | no |  |",
        "| toolkit | sklearn, saved as skops; loading it runs no code of its own |",
        "| answers | compiled, onnx-float64: equal on 20 test rows |",
        f"| bundle | {'b' * 64} |",
        "| datasets | survey@3 |",
        "| rows it was fitted to | 1234 |",
    ):
        assert line in told.splitlines()
    assert "`perennial models card NAME` shows it" in told


def test_what_was_timed_is_not_in_it() -> None:
    timing = Timing(native_1_us=1, compiled_1_us=2, native_1000_us=3, compiled_1000_us=4, columns_us=5)
    plain = Compilation(form=None, reason="not faster")
    timed = Compilation(form=None, reason="not faster", timing=timing)
    assert card(plain) == card(timed)
