"""The registry as MLflow's clients ask for it, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from perennial.registry.versions import point
from tests.api.conftest import Answer, Served, serving

AT = "/api/2.0/mlflow/"
TEXTS = {"description": "", "run_id": "", "run_link": ""}


class Client:
    """Asks as an MLflow client does: anonymously, unless a token is given."""

    def __init__(self, served: Served, *, known: bool = False) -> None:
        self._served = served
        self._headers = {"authorization": f"Bearer {served.token}"} if known else {}

    def ask(self, method: str, path: str, at: str = AT, **arguments: Any) -> Answer:
        if method == "GET":
            return self._served.ask("GET", f"{at}{path}?{urlencode(arguments, doseq=True)}", None, self._headers)
        headers = self._headers | {"content-type": "application/json"}
        return self._served.ask(method, at + path, json.dumps(arguments).encode(), headers)

    def get(self, path: str, **arguments: Any) -> Any:
        return _good(self.ask("GET", path, **arguments))

    def post(self, path: str, **arguments: Any) -> Any:
        return _good(self.ask("POST", path, **arguments))

    def patch(self, path: str, **arguments: Any) -> Any:
        return _good(self.ask("PATCH", path, **arguments))

    def delete(self, path: str, **arguments: Any) -> Any:
        return _good(self.ask("DELETE", path, **arguments))


def _good(answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    return answer.json


def refused(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json["error_code"]


@pytest.fixture
def client(fresh: Served) -> Client:
    return Client(fresh)


@pytest.fixture
def known(fresh: Served) -> Client:
    return Client(fresh, known=True)


def test_a_model_and_its_versions_with_every_field(client: Client, fresh: Served) -> None:
    made = client.post("registered-models/create", name="m", description="d", tags=[{"key": "a", "value": "1"}])
    now = fresh.owned.workspace.registered.get(name="m").created // 1000
    times = {"creation_timestamp": now, "last_updated_timestamp": now}
    expected = {"name": "m", **times, "description": "d", "tags": [{"key": "a", "value": "1"}]}
    assert made == {"registered_model": expected} == client.get("registered-models/get", name="m")
    first = client.post("model-versions/create", name="m", source="s3://b/x")["model_version"]
    assert first["creation_timestamp"] == first["last_updated_timestamp"] >= now
    rest = {name: value for name, value in first.items() if not name.endswith("timestamp")}
    plain = {"name": "m", "version": "1", "current_stage": "None", "source": "s3://b/x", "status": "READY"}
    assert rest == plain | TEXTS
    client.post("registered-models/alias", name="m", alias="best", version="1")
    assert client.post("model-versions/set-tag", name="m", version=1, key="k", value="v") == {}
    seen = first | {"tags": [{"key": "k", "value": "v"}], "aliases": ["best"]}
    assert client.get("model-versions/get", name="m", version="1") == {"model_version": seen}
    assert client.get("registered-models/alias", name="m", alias="best") == {"model_version": seen}
    assert client.get("model-versions/search") == {"model_versions": [seen]}
    assert client.get("registered-models/get-latest-versions", name="m", stages=["None", "Staging"]) == {
        "model_versions": [seen]
    }
    assert client.post("registered-models/get-latest-versions", name="m", stages=["Staging"]) == {}
    (model,) = client.get("registered-models/search")["registered_models"]
    assert model["latest_versions"] == [seen]
    assert model["aliases"] == [{"alias": "best", "version": "1"}]
    uri = client.get("model-versions/get-download-uri", name="m", version="1")
    assert uri == {"artifact_uri": "s3://b/x"}


def test_what_changes_answers_with_the_new_state(client: Client, known: Client) -> None:
    client.post("registered-models/create", name="m")
    for _ in range(2):
        client.post("model-versions/create", name="m", source="s3://b/x")
    told = client.patch("registered-models/update", name="m", description="new")
    assert told["registered_model"]["description"] == "new"
    told = client.patch("model-versions/update", name="m", version="1", description="also new")
    assert told["model_version"]["description"] == "also new"
    for version, stage in (("1", "staging"), ("2", "STAGING")):
        asked = {"name": "m", "version": version, "stage": stage, "archive_existing_versions": True}
        assert client.post("model-versions/transition-stage", **asked)["model_version"]["current_stage"] == "Staging"
    assert client.get("model-versions/get", name="m", version="1")["model_version"]["current_stage"] == "Archived"
    assert client.post("registered-models/set-tag", name="m", key="a") == {}
    assert client.get("registered-models/get", name="m")["registered_model"]["tags"] == [{"key": "a", "value": ""}]
    for _ in range(2):
        assert client.delete("registered-models/delete-tag", name="m", key="a") == {}
        assert client.delete("model-versions/delete-tag", name="m", version="1", key="a") == {}
        assert client.delete("registered-models/alias", name="m", alias="none") == {}
    assert known.post("registered-models/rename", name="m", new_name="n")["registered_model"]["name"] == "n"
    assert known.delete("model-versions/delete", name="n", version="2") == {}
    assert known.delete("registered-models/delete", name="n") == {}
    assert client.get("registered-models/search") == {}


def test_pages(client: Client) -> None:
    for number in range(3):
        client.post("registered-models/create", name=f"m{number}")
    page = client.get("registered-models/search", max_results=2, order_by=["name DESC"])
    assert [model["name"] for model in page["registered_models"]] == ["m2", "m1"]
    token = page["next_page_token"]
    page = client.get("registered-models/search", max_results=2, order_by="name DESC", page_token=token)
    assert [model["name"] for model in page["registered_models"]] == ["m0"]
    assert "next_page_token" not in page


BAD, MISSING = (400, "INVALID_PARAMETER_VALUE"), (404, "RESOURCE_DOES_NOT_EXIST")
TAKEN, FORBIDDEN = (400, "RESOURCE_ALREADY_EXISTS"), (403, "PERMISSION_DENIED")
REFUSALS: list[tuple[str, str, dict[str, Any], tuple[int, str], str]] = [
    ("POST", "registered-models/create", {"name": "m"}, TAKEN, "Registered Model (name=m) already exists."),
    ("POST", "registered-models/create", {}, BAD, "Missing value for required parameter 'name'."),
    ("POST", "registered-models/create", {"name": "a/b"}, BAD, "Invalid model name 'a/b'"),
    ("POST", "registered-models/create", {"name": ".."}, BAD, "parameter 'name' supplied"),
    ("POST", "registered-models/create", {"name": "t", "tags": [{"key": "a!"}]}, BAD, "parameter 'key' supplied"),
    ("GET", "registered-models/get", {"name": "none"}, MISSING, "Registered Model with name=none not found"),
    ("POST", "registered-models/rename", {"name": "none", "new_name": "x"}, MISSING, "name=none not found"),
    ("POST", "registered-models/rename", {"name": "n", "new_name": "m"}, TAKEN, "(name=m) already exists"),
    ("POST", "registered-models/rename", {"name": "n"}, BAD, "required parameter 'new_name'"),
    ("DELETE", "registered-models/delete", {"name": "none"}, MISSING, "name=none not found"),
    ("POST", "registered-models/set-tag", {"name": "none", "key": "a"}, MISSING, "name=none not found"),
    ("POST", "registered-models/get-latest-versions", {"name": "m", "stages": ["x"]}, BAD, "Model Version stage: x"),
    ("GET", "registered-models/alias", {"name": "m", "alias": "none"}, BAD, "Registered model alias none not found"),
    ("GET", "registered-models/alias", {"name": "none", "alias": "none"}, MISSING, "name=none not found"),
    ("GET", "registered-models/alias", {"name": "n", "alias": "latest"}, MISSING, "Latest version not found"),
    ("POST", "registered-models/alias", {"name": "m", "alias": "v1", "version": "1"}, BAD, "is reserved"),
    ("POST", "registered-models/alias", {"name": "m", "alias": "latest", "version": "1"}, BAD, "'latest' alias name"),
    ("POST", "registered-models/alias", {"name": "m", "alias": "x", "version": "9"}, MISSING, "(name=m, version=9)"),
    ("GET", "registered-models/search", {"max_results": 1001}, BAD, "at most 1000"),
    ("GET", "registered-models/search", {"max_results": "x"}, BAD, "max_results"),
    ("GET", "registered-models/search", {"page_token": "bogus"}, BAD, "Invalid page token"),
    ("GET", "registered-models/search", {"filter": "name = 'a' OR name = 'b'"}, BAD, "Invalid filter string"),
    ("GET", "registered-models/search", {"order_by": ["name", "name"]}, BAD, "duplicate fields"),
    ("GET", "model-versions/search", {"max_results": 0}, BAD, "must be a positive integer"),
    ("GET", "model-versions/get", {"name": "m", "version": "x y"}, BAD, "must be an integer, got 'x y'."),
    ("GET", "model-versions/get", {"name": "m", "version": "9"}, MISSING, "(name=m, version=9) not found"),
    ("GET", "model-versions/get", {"name": "m", "version": "9" * 400}, MISSING, "not found"),
    ("GET", "model-versions/get", {"name": "m", "version": "-1"}, MISSING, "not found"),
    ("GET", "model-versions/get-download-uri", {"name": "m", "version": "9"}, MISSING, "not found"),
    ("PATCH", "model-versions/update", {"name": "m", "version": "9"}, MISSING, "not found"),
    ("DELETE", "model-versions/delete", {"name": "m", "version": "9"}, MISSING, "not found"),
    ("POST", "model-versions/create", {"name": "m"}, BAD, "required parameter 'source'"),
    ("POST", "model-versions/create", {"name": "none", "source": "s3://b/x"}, MISSING, "name=none not found"),
    ("POST", "model-versions/create", {"name": "m", "source": "/tmp"}, BAD, "To use a local path as a model version"),
    ("POST", "model-versions/create", {"name": "m", "source": "s3://b/../x"}, BAD, "as an http, https,"),
    ("POST", "model-versions/create", {"name": "m", "source": "models:/m-" + "0" * 32}, BAD, "model_id"),
    (
        "POST",
        "model-versions/transition-stage",
        {"name": "m", "version": "1", "stage": "none", "archive_existing_versions": True},
        BAD,
        "is not an Active stage",
    ),
    (
        "POST",
        "registered-models/alias",
        {"name": "m", "alias": "live", "version": "1"},
        FORBIDDEN,
        "perennial deploy m@",
    ),
    ("DELETE", "registered-models/alias", {"name": "m", "alias": "Candidate"}, FORBIDDEN, "perennial approve m@"),
    (
        "POST",
        "model-versions/transition-stage",
        {"name": "m", "version": "1", "stage": "production"},
        FORBIDDEN,
        "perennial deploy m@1",
    ),
]


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serving(tmp_path_factory.mktemp("refusing") / ".perennial") as one:
        client = Client(one, known=True)
        for name in ("m", "n"):
            client.post("registered-models/create", name=name)
        client.post("model-versions/create", name="m", source="s3://b/x")
        yield client


@pytest.mark.parametrize("method, path, asked, code, says", REFUSALS)
def test_C15_refusals_have_mlflow_s_status_code_and_words(
    refusing: Client, method: str, path: str, asked: dict[str, Any], code: tuple[int, str], says: str
) -> None:
    answer = refusing.ask(method, path, **asked)
    assert refused(answer) == code
    assert says in answer.json["message"]


def test_prompts_are_not_supported(refusing: Client) -> None:
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    for path, asked in (("registered-models/create", {}), ("model-versions/create", {"source": "prompt-template"})):
        answer = refusing.ask("POST", path, name="m", tags=tags, **asked)
        assert refused(answer) == (501, "NOT_IMPLEMENTED")


def test_C02_who_is_not_known_registers_but_does_not_delete_or_rename(client: Client) -> None:
    client.post("registered-models/create", name="m")
    client.post("model-versions/create", name="m", source="s3://b/x")
    for method, path, asked in (
        ("POST", "registered-models/rename", {"new_name": "n"}),
        ("DELETE", "registered-models/delete", {}),
        ("DELETE", "model-versions/delete", {"version": "1"}),
    ):
        assert refused(client.ask(method, path, name="m", **asked)) == (401, "UNAUTHENTICATED")
    assert client.get("model-versions/get", name="m", version="1")["model_version"]["version"] == "1"


def test_a_logged_model_is_registered_and_told(client: Client, fresh: Served) -> None:
    ws = fresh.owned.workspace
    run = ws.runs.start(loop="wages")
    number = ws.experiments.get(name="wages").id
    logged = ws.logged_models.create(experiment=number, name="forest", run_id=run.id)
    client.post("registered-models/create", name="m")
    asked = {"name": "m", "source": f"models:/{logged.id}", "run_id": run.id, "model_id": logged.id}
    version = client.post("model-versions/create", **asked)["model_version"]
    assert (version["source"], version["run_id"]) == (f"models:/{logged.id}", run.id)
    uri = client.get("model-versions/get-download-uri", name="m", version="1")["artifact_uri"]
    assert uri == f"mlflow-artifacts:/{number}/models/{logged.id}/artifacts"
    told = ws.logged_models.get(model_id=logged.id).tags["mlflow.modelVersions"]
    assert told == '[{"name": "m", "version": 1}]'


def test_a_live_version_of_a_loop_reads_as_production_and_is_kept(known: Client, fresh: Served) -> None:
    ws = fresh.owned.workspace
    digest = ws.objects.put(b"{}")
    ws.models.register(name="wages", package=digest, origin="loop")
    fresh.owned.records.write(lambda tx: point(tx, "wages", "live", 1))
    version = known.get("registered-models/alias", name="wages", alias="live")["model_version"]
    assert (version["current_stage"], version["aliases"]) == ("Production", ["live"])
    assert version["source"] == "mlflow-artifacts:/packages/wages/1"
    latest = known.post("registered-models/get-latest-versions", name="wages", stages=["production"])
    assert latest["model_versions"] == [version]
    for method, path, asked in (
        ("DELETE", "model-versions/delete", {"version": "1"}),
        ("DELETE", "registered-models/delete", {}),
        ("POST", "registered-models/rename", {"new_name": "pay"}),
        ("POST", "model-versions/transition-stage", {"version": "1", "stage": "Archived"}),
    ):
        answer = known.ask(method, path, name="wages", **asked)
        assert refused(answer) == FORBIDDEN
        assert "perennial deploy wages@VERSION" in answer.json["message"]


def test_pages_of_the_browser_ask_at_their_own_address(client: Client) -> None:
    client.ask("POST", "registered-models/create", "/ajax-api/2.0/mlflow/", name="m")
    found = client.ask("GET", "registered-models/search", "/ajax-api/2.0/mlflow/").json
    assert [model["name"] for model in found["registered_models"]] == ["m"]


def test_what_needs_a_person_leaves_out_what_clients_registered(client: Client, fresh: Served, tmp_path: Path) -> None:
    client.post("registered-models/create", name="m")
    client.post("model-versions/create", name="m", source="s3://b/x")
    status = fresh.owned.workspace.system.status()
    assert (status.needs, status.problems) == ([], [])
