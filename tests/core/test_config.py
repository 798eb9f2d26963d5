"""Settings: which layer wins, and that no secret shows or stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_flow_dagger.config import read_settings, take_settings
from claude_flow_dagger.errors import InvalidJob


def config(tmp_path: Path, text: str) -> dict[str, str]:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    return {"HOME": str(tmp_path), "CLAUDE_FLOW_DAGGER_CONFIG": str(file)}


def test_nothing_set(tmp_path: Path) -> None:
    settings = read_settings({"HOME": str(tmp_path)})
    assert settings.cache == tmp_path / ".cache" / "claude-flow-dagger"
    assert (settings.api_key, settings.model_url, settings.secrets()) == (None, None, [])
    assert (dict(settings.file_job), dict(settings.environment_job)) == ({}, {})


def test_blank_variables_count_as_unset(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "ANTHROPIC_API_KEY": " ", "CLAUDE_FLOW_DAGGER_MODEL": ""}
    settings = read_settings(environ)
    assert settings.api_key is None
    assert dict(settings.environment_job) == {}


def test_file_and_environment(tmp_path: Path) -> None:
    environ = config(tmp_path, "runner: local\nmodel_url: https://models.example\njob: {limits: {usd: 3}}")
    environ |= {
        "CLAUDE_FLOW_DAGGER_BUDGET_USD": "0.5",
        "CLAUDE_FLOW_DAGGER_MODEL": "claude-haiku-5-5",
        "XDG_CACHE_HOME": "/c",
        "HTTPS_PROXY": "http://user:hunter22@proxy:3128",
        "NO_PROXY": "internal",
    }
    settings = read_settings(environ)
    assert settings.file_job == {"limits": {"usd": 3}}
    assert settings.environment_job == {"model": {"name": "claude-haiku-5-5"}, "limits": {"usd": "0.5"}}
    assert (settings.runner, settings.model_url) == ("local", "https://models.example")
    assert settings.cache == Path("/c/claude-flow-dagger")
    assert settings.secrets() == ["hunter22"]
    assert "hunter22" not in repr(settings.proxy)
    assert read_settings({**environ, "ANTHROPIC_BASE_URL": "https://other"}).model_url == "https://other"


def test_the_default_file_is_read_when_it_is_there(tmp_path: Path) -> None:
    place = tmp_path / "claude-flow-dagger"
    place.mkdir()
    (place / "config.yaml").write_text("runner: local")
    assert read_settings({"XDG_CONFIG_HOME": str(tmp_path)}).runner == "local"


def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(InvalidJob, match=r"config.yaml:2:1: budget: unknown field `budget`"):
        read_settings(config(tmp_path, "runner: local\nbudget: 3"))
    with pytest.raises(InvalidJob, match="no such file"):
        read_settings({"CLAUDE_FLOW_DAGGER_CONFIG": str(tmp_path / "none.yaml")})


def test_taking_settings_takes_the_keys_out_of_the_environment(tmp_path: Path) -> None:
    names = ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_AUTH_TOKEN")
    environ = {"HOME": str(tmp_path), **{name: f"secret-{name}" for name in names}}
    settings = take_settings(environ)
    assert list(environ) == ["HOME"]
    assert settings.secrets() == [f"secret-{name}" for name in names]
    assert "secret" not in repr(settings).replace("secret=", "")


def test_an_installation_sees_the_way_to_the_registries_and_no_secret(tmp_path: Path) -> None:
    seen = {"HOME": str(tmp_path), "PATH": "/usr/bin", "NPM_CONFIG_REGISTRY": "https://r"}
    environ = {**seen, "ANTHROPIC_API_KEY": "k" * 20, "X": "y"}
    assert read_settings(environ).install_environment == seen


def test_the_ca_bundle_of_the_environment_wins(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    assert read_settings({"SSL_CERT_FILE": str(bundle)}).ca_bundle == bundle
    assert read_settings({"SSL_CERT_FILE": str(tmp_path / "none")}).ca_bundle is None
