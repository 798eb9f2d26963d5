"""Settings: defaults < file < environment < arguments. The only module that reads the environment.

| variable | what it sets |
| --- | --- |
| `ANTHROPIC_API_KEY`, `CLAUDE_CODE_OAUTH_TOKEN`, `ANTHROPIC_AUTH_TOKEN` | the model's credential; taken out at once |
| `ANTHROPIC_BASE_URL` | a compatible address instead of Anthropic's |
| `CLAUDE_FLOW_DAGGER_CONFIG` | the settings file; else `$XDG_CONFIG_HOME/claude-flow-dagger/config.yaml` |
| `CLAUDE_FLOW_DAGGER_MODEL`, `_STRATEGY`, `_NETWORK`, `_TIMEOUT`, `_BUDGET_USD`, `_MAX_TURNS`, `_MEMORY` | a job |
| `CLAUDE_FLOW_DAGGER_RUNNER` | where jobs run |
| `DOCKER_HOST`, `XDG_RUNTIME_DIR` | where the daemon of `--runner container` listens, if not at a usual place |
| `CLAUDE_FLOW_DAGGER_DAGGER_BASE` | the image that `--runner dagger` lays the runtime onto |
| `HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`, `NODE_EXTRA_CA_CERTS` | the way to the model and to the registries |
| `XDG_CACHE_HOME`, `XDG_CONFIG_HOME`, `HOME`, `TMPDIR` | where things are kept |
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from claude_flow_dagger.errors import InvalidJob
from claude_flow_dagger.yamlfile import explain, read_document

NAME: Final = "claude-flow-dagger"
PREFIX: Final = "CLAUDE_FLOW_DAGGER_"
MIN_SECRET: Final = 6
"""Characters; masking anything shorter would shred every output that happens to hold it."""
SYSTEM_CA: Final = Path("/etc/ssl/certs/ca-certificates.crt")

# Where each variable goes in a job.
_JOB_VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "MODEL": ("model", "name"),
    "STRATEGY": ("strategy", "name"),
    "NETWORK": ("network",),
    "TIMEOUT": ("limits", "wall"),
    "BUDGET_USD": ("limits", "usd"),
    "MAX_TURNS": ("limits", "turns"),
    "MEMORY": ("limits", "memory"),
}
_SECRETS: Final = ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_AUTH_TOKEN")

# What an installation may see of our environment: the way to the registries, and to a compiler.
_INSTALL_VARIABLES: Final = (
    *("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"),
    *("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "HOME", "PATH"),
    *("npm_config_registry", "NPM_CONFIG_REGISTRY", "npm_config_userconfig", "NPM_CONFIG_USERCONFIG"),
)


class SettingsFile(BaseModel):
    """The settings file: `config.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: dict[str, Any] = {}
    runner: str | None = None
    model_url: str | None = None


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """The way out of a corporate network, for the gateway and for installations."""

    https: SecretStr | None = None
    no_proxy: str | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that the environment and the settings file say. Secrets have a masked `repr`.

    Args:
        cache: where the runtime is installed and runs are prepared.
        temp: where sockets go; short, since a socket's path must stay under 100 bytes.
        api_key: Anthropic API key.
        oauth_token: Claude Code's OAuth token, an alternative to the key.
        auth_token: the bearer token of a compatible service.
        model_url: the model's address, if not Anthropic's own.
        home: the user's home directory.
        docker_host: the container daemon's address, if not one of the usual ones.
        runtime_directory: where rootless daemons have their sockets.
        dagger_base: the image that `--runner dagger` lays the runtime onto.
        job: the fields of jobs that the file and the environment set.
    """

    cache: Path
    temp: Path
    api_key: SecretStr | None = None
    oauth_token: SecretStr | None = None
    auth_token: SecretStr | None = None
    model_url: str | None = None
    runner: str | None = None
    home: Path = Path("/nonexistent")
    docker_host: str | None = None
    runtime_directory: Path | None = None
    dagger_base: str | None = None
    proxy: Proxy = field(default_factory=Proxy)
    ca_bundle: Path | None = None
    install_environment: Mapping[str, str] = field(default_factory=dict)
    file_job: Mapping[str, Any] = field(default_factory=dict)
    environment_job: Mapping[str, Any] = field(default_factory=dict)

    def secrets(self) -> list[str]:
        """The values that must never leave unmasked."""
        keys = (self.api_key, self.oauth_token, self.auth_token)
        found = [key.get_secret_value() for key in keys if key is not None]
        proxy = self.proxy.https.get_secret_value() if self.proxy.https is not None else ""
        if ":" in (user := proxy.split("//", 1)[-1].rpartition("@")[0]):
            found.append(user.split(":", 1)[1])
        return [value for value in found if len(value) >= MIN_SECRET]


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Settings out of an environment and the settings file that it names.

    Raises:
        InvalidJob: the settings file is named and missing, unreadable or wrong.
    """
    get = {name: value for name, value in environ.items() if value.strip()}.get
    home = Path(get("HOME") or "/nonexistent")
    config_home = _xdg(get("XDG_CONFIG_HOME"), home / ".config")
    file = _read_file(get(f"{PREFIX}CONFIG"), config_home / NAME / "config.yaml")
    ca = next((Path(p) for p in (get("SSL_CERT_FILE"), get("NODE_EXTRA_CA_CERTS")) if p), SYSTEM_CA)
    return Settings(
        cache=_xdg(get("XDG_CACHE_HOME"), home / ".cache") / NAME,
        temp=Path(get("TMPDIR") or "/tmp").absolute(),  # noqa: S108 - only ever used through mkdtemp
        api_key=_secret(get("ANTHROPIC_API_KEY")),
        oauth_token=_secret(get("CLAUDE_CODE_OAUTH_TOKEN")),
        auth_token=_secret(get("ANTHROPIC_AUTH_TOKEN")),
        model_url=get("ANTHROPIC_BASE_URL") or file.model_url,
        runner=get(f"{PREFIX}RUNNER") or file.runner,
        home=home,
        docker_host=get("DOCKER_HOST"),
        runtime_directory=Path(runtime) if (runtime := get("XDG_RUNTIME_DIR")) else None,
        dagger_base=get(f"{PREFIX}DAGGER_BASE"),
        proxy=Proxy(
            https=_secret(get("HTTPS_PROXY") or get("https_proxy")), no_proxy=get("NO_PROXY") or get("no_proxy")
        ),
        ca_bundle=ca if ca.is_file() else None,
        install_environment={name: value for name in _INSTALL_VARIABLES if (value := get(name)) is not None},
        file_job=file.job,
        environment_job=_environment_job({n: v for n, v in environ.items() if v.strip()}),
    )


def take_settings(environ: MutableMapping[str, str] | None = None) -> Settings:
    """`read_settings` of this process, taking the credentials out of its environment: no child inherits them."""
    environ = os.environ if environ is None else environ
    settings = read_settings(environ)
    for name in _SECRETS:
        environ.pop(name, None)
    return settings


def _read_file(named: str | None, default: Path) -> SettingsFile:
    path = Path(named) if named else default
    if not named and not path.is_file():
        return SettingsFile()
    document = read_document(path, InvalidJob)
    try:
        return SettingsFile.model_validate(document.data or {})
    except ValidationError as problem:
        raise InvalidJob(explain(problem, document)) from None


def _environment_job(environ: Mapping[str, str]) -> dict[str, Any]:
    job: dict[str, Any] = {}
    for suffix, path in _JOB_VARIABLES.items():
        value = environ.get(PREFIX + suffix)
        if value is not None:
            place = job
            for key in path[:-1]:
                place = place.setdefault(key, {})
            place[path[-1]] = value
    return job


def _xdg(value: str | None, default: Path) -> Path:
    """A directory of the XDG specification, where a relative path is invalid and counts as unset."""
    return Path(value) if value is not None and Path(value).is_absolute() else default.absolute()


def _secret(value: str | None) -> SecretStr | None:
    return SecretStr(value.strip()) if value else None
