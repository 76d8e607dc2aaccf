"""What is unchanged is not run again."""

from __future__ import annotations

import pytest

from .conftest import Project

CHANGES = {
    # name: the change, the steps that run after it, the steps that do not
    "nothing": (("", ""), {"rows"}, {"kept", "features", "model"}),
    "a comment": (("    n = np.arange(200)", "    # two hundred\n    n = np.arange(200)"), {"rows"},
                  {"kept", "features", "model"}),
    "the first step": (('"a") >= 0', '"a") >= 1'), {"rows", "kept", "model"}, set()),
    "a step that gives the same": (('"a") >= 0', '"a") >= -1'), {"rows", "kept"}, {"model"}),
    "the features": (("ab=", "product="), {"rows", "model"}, {"kept"}),
    "a parameter": (("power: float = 1.0", "power: float = 2.0"), {"rows", "model"}, {"kept"}),
    "code that the model calls": (("np.ones(len(X))", "np.full(len(X), 2.0)"), {"rows", "model"}, {"kept"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_only_what_was_edited_and_what_follows_runs_again(name: str, trained: Project) -> None:
    change, ran, cached = CHANGES[name]
    trained.write(change)
    outcome = trained.done("run")
    assert (set(outcome["ran"]), set(outcome["cached"])) == (ran, cached)
    assert outcome["is_new"] == (ran != {"rows"})
    again = trained.done("run")
    assert (again["version"], again["is_new"]) == (outcome["version"], False)
