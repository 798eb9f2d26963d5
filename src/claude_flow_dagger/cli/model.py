"""Which model a run talks to: a script, or a service with a credential of the environment."""

from __future__ import annotations

from pathlib import Path

from claude_flow_dagger.config import Settings
from claude_flow_dagger.execution import ModelSource
from claude_flow_dagger.plan.environment import Credential


def choose_model(settings: Settings, script: Path | None, url: str | None) -> ModelSource | None:
    """The model that the settings and arguments ask for; None when there is neither a script nor a credential.

    Args:
        settings: holds the credentials. They are only ever sent to the address that the same caller gave.
        script: a model script; it wins over every credential, so that a pipeline's test never costs anything.
        url: a compatible address, from an argument.

    Raises:
        InvalidScript: the script cannot be read or does not fit its schema.
        RefusedInput: an address that no key may be sent to.
    """
    from claude_flow_dagger.gateway.anthropic import (
        DEFAULT_URL,
        AnthropicUpstream,
        ApiKey,
        BearerToken,
        OAuthToken,
        UpstreamSettings,
    )
    from claude_flow_dagger.gateway.script.load import load_script
    from claude_flow_dagger.gateway.script.upstream import ScriptUpstream

    if script is not None:
        return ModelSource(
            upstream=ScriptUpstream(load_script(script), name=str(script)),
            scripted=True,
            secrets=tuple(settings.secrets()),
        )
    if settings.api_key is not None:
        credential: ApiKey | OAuthToken | BearerToken = ApiKey(settings.api_key)
    elif settings.oauth_token is not None:
        credential = OAuthToken(settings.oauth_token)
    elif settings.auth_token is not None:
        credential = BearerToken(settings.auth_token)
    else:
        return None
    address = url or settings.model_url
    proxy = settings.proxy
    upstream = AnthropicUpstream(
        UpstreamSettings(
            base_url=address or DEFAULT_URL,
            proxy=proxy.https,
            no_proxy=tuple(part.strip() for part in (proxy.no_proxy or "").split(",") if part.strip()),
            ca_file=settings.ca_bundle,
        ),
        credential,
    )
    dialect = Credential.OAUTH if isinstance(credential, OAuthToken) else Credential.API_KEY
    return ModelSource(upstream=upstream, credential=dialect, secrets=tuple(settings.secrets()))
