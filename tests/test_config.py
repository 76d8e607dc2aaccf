"""Settings: secrets come from the environment alone and are never shown; what makes no sense is refused at start."""

from __future__ import annotations

from pathlib import Path

import pytest

from perennial.config import Settings, read_settings
from perennial.errors import ConfigError

MAIL = {"PERENNIAL_NOTIFY_EMAIL": "a@example.org", "PERENNIAL_SMTP_HOST": "m", "PERENNIAL_SMTP_FROM": "b@example.org"}
SECRETS = ("smtp_password", "webhook_secret", "webhook_url", "slack_webhook_url")


@pytest.mark.parametrize("name", SECRETS)
def test_C19_a_secret_in_a_file_of_the_project_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[tool.perennial]\n{name} = "very secret"\n')
    with pytest.raises(ConfigError) as refused:
        read_settings(tmp_path, {})
    assert f"PERENNIAL_{name.upper()}" in refused.value.remedy
    assert "very secret" not in str(refused.value)


@pytest.mark.parametrize("name", SECRETS)
def test_C19_a_secret_is_not_shown(name: str) -> None:
    settings = Settings(**{name: "very secret"})
    assert (settings.shown(name), Settings().shown(name)) == ("***", "")
    assert "very secret" not in repr(settings)


def test_C19_the_password_in_an_address_is_not_shown() -> None:
    assert Settings(records="postgresql://me:secret@db/x").shown("records") == "postgresql://me:***@db/x"


@pytest.mark.parametrize(
    "environment, says",
    [
        ({"PERENNIAL_NOTIFY_SEVERITY": "info"}, "notify_severity cannot be 'info'"),
        ({"PERENNIAL_SMTP_SECURITY": "ssl"}, "smtp_security cannot be 'ssl'"),
        ({"PERENNIAL_INCIDENT_QUIET_DAYS": "0"}, "incident_quiet_days cannot be 0"),
        ({"PERENNIAL_INCIDENT_QUIET_DAYS": "nan"}, "incident_quiet_days cannot be nan"),
        ({"PERENNIAL_NOTIFY_EMAIL": "a@example.org"}, "notify_email needs smtp_host and smtp_from"),
        ({**MAIL, "PERENNIAL_SMTP_USER": "me"}, "smtp_user needs smtp_password"),
        ({"PERENNIAL_WEBHOOK_URL": "https://example.org"}, "webhook_url needs webhook_secret"),
    ],
)
def test_F12_notices_that_could_not_be_sent_are_refused_at_start(
    tmp_path: Path, environment: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        read_settings(tmp_path, environment)


def test_settings_that_make_sense_are_taken_with_their_origin(tmp_path: Path) -> None:
    settings = read_settings(tmp_path, MAIL)
    assert settings.notify_email == "a@example.org"
    assert settings.origin["smtp_host"] == "PERENNIAL_SMTP_HOST"
