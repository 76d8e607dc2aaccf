"""What a worker may load and do: code only where the spec says so, no secrets, no network, private files."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import LinearRegression

from perennial.models.sandbox import environment

# Asks for what a worker should not have, and answers what it got; inert.
PROBE = """
import os, resource, socket

def use(family, kind, what, *arguments):
    with socket.socket(family, kind) as made:
        getattr(made, what)(*arguments)

STEPS = (
    lambda: use(socket.AF_INET, socket.SOCK_STREAM, "connect", ("127.0.0.1", 9)),
    lambda: use(socket.AF_INET, socket.SOCK_STREAM, "bind", ("127.0.0.1", 0)),
    lambda: use(socket.AF_UNIX, socket.SOCK_STREAM, "connect", "/nowhere"),
    lambda: use(socket.AF_INET, socket.SOCK_DGRAM, "sendto", b"x", ("127.0.0.1", 9)),
    lambda: socket.getaddrinfo("localhost", 80),
)

class Probe:
    def predict(self, frame):
        found = 0
        found += "PERENNIAL_RECORDS" in os.environ or "AWS_SECRET_ACCESS_KEY" in os.environ
        for step in STEPS:
            try:
                step()
            except PermissionError:
                continue
            except OSError:
                pass
            found += 10
        mask = os.umask(0o077)
        os.umask(mask)  # it is also asked where it is made, and that process keeps its own
        found += 1000 * (mask != 0o077)
        found += 10000 * (resource.getrlimit(resource.RLIMIT_CORE)[0] != 0)
        return [float(found) for _ in range(len(frame))]
"""


def test_C09_code_runs_only_where_the_spec_says_so_and_unset_means_no(place: Any) -> None:
    untrusted = place.arm(1, trusted=False)
    assert type(untrusted)(version=1, package=untrusted.package) == untrusted
    place.desire(place.endpoint(live=untrusted))
    service = place.serve()
    place.until(lambda: "nobody has vouched for it" in (service.status()["problem"] or ""))
    assert service.predict({"person": "p", "x": 1}).status == 503
    # Somebody vouches: the same bytes, and the spec says it now.
    place.desire(place.endpoint(live=place.arm(1)))
    place.applied()
    assert service.predict({"person": "p", "x": 1}).json["predictions"][0]["prediction"] == 2.0
    place.until(lambda: len(service.workers()) == 1, "the end of the worker that may not")


@pytest.fixture(scope="module")
def service(shared: Any) -> Any:
    """Of two models: one with code of its own, and one without, for which nobody vouches."""
    linear = shared.linear(1)
    return shared.answering(
        shared.endpoint("code", live=shared.arm(1)),
        shared.endpoint("plain", live=type(linear)(version=1, package=linear.package)),
    )


def test_C09_a_format_without_code_needs_nobody_to_vouch_for_it(service: Any) -> None:
    (told,) = service.predict({"person": "p", "x": 1}, endpoint="plain").json["predictions"]
    assert told["prediction"] == pytest.approx(2.0)


def test_C08_a_model_in_a_worker_has_no_secrets_and_no_network(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERENNIAL_RECORDS", "postgresql://user:secret@db/x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    module = tmp_path / "probe.py"
    module.write_text(PROBE)
    monkeypatch.syspath_prepend(str(tmp_path))
    import probe  # type: ignore[import-not-found]

    service = place.serve()  # in its own environment the secrets are
    assert b"AWS_SECRET_ACCESS_KEY" in Path(f"/proc/{service.process.pid}/environ").read_bytes()
    place.desire(place.endpoint(live=place.probe(1, probe.Probe(), {"probe.py": module.read_bytes()})))
    # Its golden answers were given here, in a process that may do all of this, so they differ in the worker: it says
    # what it found.
    place.until(lambda: "golden row 0" in (service.status()["problem"] or ""))
    assert 'answered {"prediction": 0.0}' in service.status()["problem"]


def test_C20_a_package_in_the_cache_is_for_its_user_to_read_and_holds_nothing_else(place: Any) -> None:
    arm = place.arm(1)
    place.desire(place.endpoint(live=arm))
    service = place.serve()
    place.applied()
    folder = place.serving / "cache" / arm.package
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}
    assert modes == {0o400}
    assert not list(folder.rglob("__pycache__"))
    service.kill()
    # A module beside the package's own would be found when its code is imported.
    (folder / "code" / "os_helper.py").write_text("raise SystemExit('marker')")
    service = place.serve()
    place.until(lambda: "that is not of it" in (service.status()["problem"] or ""))
    (folder / "code" / "os_helper.py").unlink()
    (folder / "code" / "link.py").symlink_to(folder / "code" / "nasty.py")
    service.kill()
    service = place.serve()
    place.until(lambda: "that is not of it" in (service.status()["problem"] or ""))


def test_C08_the_environment_of_a_worker_is_a_list_of_what_may_be_there() -> None:
    given = {
        "PATH": "/bin",
        "HOME": "/home/a",
        "LC_ALL": "C",
        "PYTHONPATH": "src",
        "OMP_NUM_THREADS": "2",
        "R_HOME": "/usr/lib/R",
        "PERENNIAL_RECORDS": "postgresql://u:p@h/d",
        "AWS_ACCESS_KEY_ID": "x",
        "GITHUB_TOKEN": "x",
        "SSH_AUTH_SOCK": "/run/agent",
        "DATABASE_URL": "x",
    }
    kept = environment(given)
    assert set(kept) == {"PATH", "HOME", "LC_ALL", "PYTHONPATH", "OMP_NUM_THREADS", "R_HOME"}
    assert environment({})["OMP_NUM_THREADS"] == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts the memory that a process writes to")
def test_C08_the_memory_of_a_worker_can_be_limited() -> None:
    code = (
        "from perennial.models.sandbox import Rules, confine\n"
        f"confine(Rules(memory_bytes={1 << 28}))\n"
        "try:\n    bytearray(1 << 29)\nexcept MemoryError:\n    print('no')\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(os.environ))
    assert told.stdout == "no\n", told.stderr


def test_C08_the_service_itself_loads_no_model(service: Any) -> None:
    linear = LinearRegression
    for endpoint in ("code", "plain"):
        assert service.predict({"person": "p", "x": 1}, endpoint=endpoint).status == 200
    mapped = Path(f"/proc/{service.process.pid}/maps").read_text()
    assert linear.__module__.partition(".")[0] not in mapped
    assert "numpy" not in mapped
