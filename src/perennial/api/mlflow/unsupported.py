"""What MLflow has beyond tracking and registry, and what is answered for it here: that it is not supported, and why."""

from __future__ import annotations

__all__ = ["UNSUPPORTED"]

_LANGUAGE = "Perennial is for models that are trained; it keeps no {what}"

# The first part of an address behind the prefix -> what it is.
UNSUPPORTED: dict[str, str] = {
    **dict.fromkeys(("traces", "assessments"), _LANGUAGE.format(what="traces of language models")),
    **dict.fromkeys(("prompts", "prompt-optimization"), _LANGUAGE.format(what="prompts")),
    **dict.fromkeys(
        ("gateway", "gateway-proxy", "endpoints", "secrets", "provider", "model-definitions", "budgets", "guardrails"),
        "Perennial is no gateway to other people's models",
    ),
    **dict.fromkeys(
        ("scorers", "label-schemas", "label-sessions", "review-queues", "issues"),
        _LANGUAGE.format(what="records of their evaluation"),
    ),
    "webhooks": "notices are sent by rules of the workspace, not by webhooks registered here",
    "workspaces": "one server is one workspace; start another one for another workspace",
    **dict.fromkeys(("users", "roles", "permissions"), "users are not managed on this surface"),
    **dict.fromkeys(("jobs", "skills", "mcp-servers", "mcp"), "this is outside of what Perennial is for"),
}
