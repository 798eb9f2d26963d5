"""The real model, or anything that speaks its API, behind a key that only this module sends."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from claude_flow_dagger.errors import GatewayError, RefusedInput
from claude_flow_dagger.gateway.upstreams import Request, Response, Upstream, UpstreamFailed
from claude_flow_dagger.gateway.wire import request_headers, response_headers

if TYPE_CHECKING:
    import httpx2

DEFAULT_URL: Final = "https://api.anthropic.com"
OAUTH_BETA: Final = "oauth-2025-04-20"
"""The beta flag without which the API refuses OAuth tokens, and with which it refuses keys."""
API_VERSION: Final = "2023-06-01"


@dataclass(frozen=True)
class ApiKey:
    """A key of the API (`ANTHROPIC_API_KEY`), sent as `x-api-key`."""

    secret: SecretStr


@dataclass(frozen=True)
class OAuthToken:
    """A subscription's token (`CLAUDE_CODE_OAUTH_TOKEN`), sent as a bearer with the beta flag that it needs."""

    secret: SecretStr


@dataclass(frozen=True)
class BearerToken:
    """The token of a compatible service (`ANTHROPIC_AUTH_TOKEN`), sent as a bearer."""

    secret: SecretStr


Credential = ApiKey | OAuthToken | BearerToken


@dataclass(frozen=True, kw_only=True)
class UpstreamSettings:
    """How to reach the model. Never filled from a job or a workspace: a key belongs to the address it was given with.

    Args:
        base_url: where `/v1/messages` is; https, or http on loopback.
        proxy: an http or https proxy, possibly with a password in it; used unless `no_proxy` names the host. Loopback
            is never asked for through a proxy.
        no_proxy: hosts, domains, addresses, networks or `*`, as in NO_PROXY.
        ca_file: the certificates to trust instead of the system's, as in SSL_CERT_FILE.
        connect_timeout: seconds.
        read_timeout: seconds of silence before an answer is given up. A stream pings every few seconds, an
            answer in one piece may take ten minutes.

    Raises:
        RefusedInput: an address that no key should be sent to.
    """

    base_url: str = DEFAULT_URL
    proxy: SecretStr | None = None
    no_proxy: tuple[str, ...] = ()
    ca_file: Path | None = None
    connect_timeout: float = 15.0
    read_timeout: float = 660.0

    def __post_init__(self) -> None:
        check_base_url(self.base_url)


def check_base_url(address: str) -> None:
    """Refuse an address that a key must not be sent to.

    Raises:
        RefusedInput: it is no https (or, on loopback, http) address, has a password, a query or a fragment, or is
            link-local.
    """
    cure = f"use an https address such as {DEFAULT_URL}, or http on 127.0.0.1"
    try:
        url = urlsplit(address)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise RefusedInput(f"the model's address is no address: {error}", cure=cure) from None
    if url.username is not None or url.password is not None:
        raise RefusedInput("the model's address carries a user name or a password", cure=cure)
    if not host or url.query or url.fragment or re.search(r"[\s\\]", address):
        raise RefusedInput(f"the model's address {address!r} is not a plain address", cure=cure)
    ip = _ip(host)
    if ip is not None and (ip.is_link_local or ip.is_multicast or ip.is_unspecified):
        raise RefusedInput(f"the model's address {address!r} is link-local, multicast or unspecified", cure=cure)
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(host)):
        raise RefusedInput(f"the model's address {address!r} is neither https nor http on this machine", cure=cure)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    ip = _ip(host)
    return host.lower() == "localhost" if ip is None else ip.is_loopback


def uses_proxy(url: SplitResult, no_proxy: tuple[str, ...]) -> bool:
    """Whether an address is asked for through the proxy: not on loopback and not where `no_proxy` says so."""
    host = (url.hostname or "").lower()
    port = url.port or {"https": 443, "http": 80}.get(url.scheme)
    return not is_loopback(host) and not any(_exempts(entry, host, port) for entry in no_proxy)


def _exempts(entry: str, host: str, port: int | None) -> bool:
    entry = entry.strip().lower()
    if entry == "*":
        return True
    ip = _ip(host)
    if ip is not None:
        try:
            return ip in ipaddress.ip_network(entry.strip("[]"), strict=False)
        except ValueError:
            pass
    name, _, wanted = entry.partition(":")
    if wanted and wanted != str(port):
        return False
    name = name.removeprefix("*").removeprefix(".")
    return bool(name) and (host == name or host.endswith("." + name))


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class AnthropicUpstream(Upstream):
    """The Messages API at an address, with a credential.

    Args:
        settings: how to reach it.
        credential: what is sent instead of the run's token.

    Raises:
        GatewayError: the certificates or the proxy's address cannot be used.
    """

    def __init__(self, settings: UpstreamSettings, credential: Credential) -> None:
        self._settings = settings
        self._credential = credential
        self._base = settings.base_url.rstrip("/")
        self._host = urlsplit(self._base).hostname or ""
        self._client = _client(settings)

    def __repr__(self) -> str:
        return f"AnthropicUpstream({self._base!r})"

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Response]:
        """Send a request with the credential in the place of the run's token."""
        import httpx2

        query = f"?{request.query.decode('ascii')}" if request.query else ""
        outgoing = self._client.build_request(
            "POST",
            f"{self._base}{request.endpoint.path}{query}",
            headers=_outgoing_headers(request, self._credential),
            content=request.body,
        )
        try:
            answer = await self._client.send(outgoing, stream=True, follow_redirects=False)
        except httpx2.RequestError as error:
            raise self._failed(error) from None
        try:
            if 300 <= answer.status_code < 400:
                raise UpstreamFailed(
                    f"the model's address {self._host} answered with a redirect ({answer.status_code}), never followed",
                    kind="redirect",
                    billed=False,
                )
            yield Response(answer.status_code, response_headers(answer.headers.raw), self._chunks(answer))
        finally:
            await answer.aclose()

    async def _chunks(self, answer: httpx2.Response) -> AsyncIterator[bytes]:
        import httpx2

        try:
            async for chunk in answer.aiter_raw():
                yield chunk
        except httpx2.RequestError as error:
            raise self._failed(error) from None

    def _failed(self, error: httpx2.RequestError) -> UpstreamFailed:
        import httpx2

        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower()
        # Only silence leaves it open whether the model worked; every other failure came before an answer or cut it.
        billed = isinstance(error, httpx2.ReadTimeout)
        detail = str(error).splitlines()[0][:200] if str(error) else "no details"
        return UpstreamFailed(f"no answer from the model at {self._host} ({kind}: {detail})", kind=kind, billed=billed)

    async def aclose(self) -> None:
        """Close all connections to the model."""
        await self._client.aclose()


def _outgoing_headers(request: Request, credential: Credential) -> list[tuple[str, str]]:
    headers = request_headers(request.headers)
    betas = [flag.strip() for name, value in headers if name == "anthropic-beta" for flag in value.split(",")]
    betas = [flag for flag in betas if flag and flag != OAUTH_BETA]
    headers = [(name, value) for name, value in headers if name != "anthropic-beta"]
    secret = credential.secret.get_secret_value()
    match credential:
        case ApiKey():
            headers.append(("x-api-key", secret))
        case OAuthToken():
            headers.append(("authorization", f"Bearer {secret}"))
            betas.append(OAUTH_BETA)
        case BearerToken():
            headers.append(("authorization", f"Bearer {secret}"))
    if betas:
        headers.append(("anthropic-beta", ",".join(betas)))
    if not any(name == "anthropic-version" for name, _ in headers):
        headers.append(("anthropic-version", API_VERSION))
    headers.append(("accept-encoding", "identity"))
    return headers


def _client(settings: UpstreamSettings) -> httpx2.AsyncClient:
    import httpx2

    url = urlsplit(settings.base_url)
    proxy = settings.proxy if settings.proxy is not None and uses_proxy(url, settings.no_proxy) else None
    verify: ssl.SSLContext | bool = True
    if settings.ca_file is not None:
        try:
            verify = ssl.create_default_context(cafile=str(settings.ca_file))
        except (OSError, ssl.SSLError) as error:
            raise GatewayError(
                f"the certificates in {settings.ca_file} cannot be used: {error}", cure="check SSL_CERT_FILE"
            ) from error
    try:
        return httpx2.AsyncClient(
            verify=verify,
            proxy=proxy.get_secret_value() if proxy is not None else None,
            # Everything of the environment was read by the caller; .netrc and the like have no business here.
            trust_env=False,
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=30.0),
            timeout=httpx2.Timeout(
                connect=settings.connect_timeout, read=settings.read_timeout, write=settings.read_timeout, pool=None
            ),
        )
    except ValueError:
        # The message would repeat the address, and with it a password.
        raise GatewayError("the proxy's address cannot be used", cure="check HTTPS_PROXY: http://HOST:PORT") from None
