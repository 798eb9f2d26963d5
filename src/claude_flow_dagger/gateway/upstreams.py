"""Where requests go: the border between the gateway and whatever plays the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Self

from claude_flow_dagger.errors import GatewayError
from claude_flow_dagger.gateway.policy import Asked
from claude_flow_dagger.gateway.wire import Endpoint, Headers
from claude_flow_dagger.result import Refusal


@dataclass(frozen=True)
class Request:
    """A checked request on its way to the model.

    Args:
        endpoint: `MESSAGES` or `COUNT_TOKENS`.
        query: `beta=true` or nothing.
        headers: as the sandbox sent them, its token included: an upstream picks what it sends on.
        body: the bytes as they came.
        asked: what they say.
    """

    endpoint: Endpoint
    query: bytes
    headers: Headers
    body: bytes
    asked: Asked


@dataclass(frozen=True)
class Response:
    """An answer whose body is still to come.

    Args:
        status: HTTP's.
        headers: without those of the connection.
        chunks: the body as it arrives; raises `UpstreamFailed` when it breaks off.
        refusal: set when no model answered but the upstream itself said no.
    """

    status: int
    headers: Headers
    chunks: AsyncIterator[bytes]
    refusal: Refusal | None = None


class UpstreamFailed(GatewayError):
    """The model gave no answer, or broke it off. Answered to the sandbox, never raised out of the gateway.

    Args:
        message: what happened, without any secret.
        kind: for the ledger, such as `connect_error`.
        billed: whether the model may have worked on the request all the same.
    """

    code = "upstream_failed"

    def __init__(self, message: str, *, kind: str, billed: bool) -> None:
        super().__init__(message, cure="try again later, or look at the model's status page and at the proxy settings")
        self.kind = kind
        self.billed = billed


class Upstream(ABC):
    """Something that answers the Messages API. An asynchronous context manager around its connections."""

    scripted: ClassVar[bool] = False
    """Whether the answers come from a script and no model."""

    @abstractmethod
    def send(self, request: Request) -> AbstractAsyncContextManager[Response]:
        """Send a request; leaving the context ends the exchange.

        Raises:
            UpstreamFailed: on entering, when there is no answer at all.
        """

    async def aclose(self) -> None:  # noqa: B027 - not every upstream has connections
        """Close what is open."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
