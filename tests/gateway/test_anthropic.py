"""The way to the real model: credentials, certificates, proxies, addresses."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from gateway_support import KEY, Seen, answers, gateway, head, model, streams, until, upstream_to
from pydantic import SecretStr

from claude_flow_dagger.errors import GatewayError, RefusedInput
from claude_flow_dagger.gateway.anthropic import (
    OAUTH_BETA,
    BearerToken,
    OAuthToken,
    UpstreamSettings,
    check_base_url,
    uses_proxy,
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private authority (`ca.pem`) and a certificate of its for localhost (`cert.pem`, `key.pem`)."""
    where = tmp_path_factory.mktemp("tls")

    def openssl(*args: str) -> None:
        subprocess.run(["openssl", *args], cwd=where, check=True, capture_output=True, timeout=60)

    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    ext = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"]
    openssl(*new, "-x509", "-days", "2", "-subj", "/CN=private", "-keyout", "ca.key", "-out", "ca.pem", *ext)
    openssl(*new, "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "csr.pem")
    (where / "ext").write_text(
        "subjectAltName=DNS:localhost,DNS:model.example\nauthorityKeyIdentifier=keyid\nbasicConstraints=CA:FALSE\n"
    )
    openssl(
        "x509",
        "-req",
        "-in",
        "csr.pem",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-days",
        "2",
        "-extfile",
        "ext",
        "-out",
        "cert.pem",
    )
    return where


def server_tls(where: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(where / "cert.pem", where / "key.pem")
    return context


def test_oauth_tokens_bring_their_flag() -> None:
    async def body() -> None:
        async with model() as there:
            up = upstream_to(there.port, OAuthToken(SecretStr("oat-secret")))
            async with gateway(up) as bench:
                await bench.post(headers={"anthropic-beta": f"a, {OAUTH_BETA}"})
                await bench.post()
            first, second = there.seen
            assert first.headers["authorization"] == "Bearer oat-secret"
            assert first.headers["anthropic-beta"] == f"a,{OAUTH_BETA}"
            assert second.headers["anthropic-beta"] == OAUTH_BETA
            assert second.headers["anthropic-version"] == "2023-06-01"
            assert "x-api-key" not in first.headers
            async with gateway(upstream_to(there.port, BearerToken(SecretStr("other-secret")))) as bench:
                await bench.post()
            assert there.seen[2].headers["authorization"] == "Bearer other-secret"
            assert "anthropic-beta" not in there.seen[2].headers

    asyncio.run(body())


def test_a_path_before_the_api() -> None:
    async def body() -> None:
        async with model() as there:
            async with gateway(upstream_to(there.port, base_url=f"http://127.0.0.1:{there.port}/prefix/")) as bench:
                await bench.post()
            assert there.seen[0].line == "POST /prefix/v1/messages HTTP/1.1"

    asyncio.run(body())


def test_a_private_authority(certificates: Path) -> None:
    async def body() -> None:
        async with model(streams, server_tls(certificates)) as there:
            address = f"https://localhost:{there.port}"
            async with gateway(upstream_to(0, base_url=address, ca_file=certificates / "ca.pem")) as bench:
                assert (await bench.post()).status_code == 200
            async with gateway(upstream_to(0, base_url=address)) as bench:
                refused = await bench.post()
                assert refused.status_code == 502
                assert "certificate" in refused.text
            assert len(there.seen) == 1

    asyncio.run(body())


def test_the_proxy_is_asked_to_connect_and_never_sees_the_key(certificates: Path) -> None:
    heard = bytearray()

    async def body() -> None:
        async with model(streams, server_tls(certificates)) as there:

            async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: bool) -> None:
                while data := await reader.read(65536):
                    if note:
                        heard.extend(data)
                    writer.write(data)
                    await writer.drain()
                writer.close()

            async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                heard.extend(await reader.readuntil(b"\r\n\r\n"))
                up_reader, up_writer = await asyncio.open_connection("127.0.0.1", there.port)
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                await asyncio.gather(pump(reader, up_writer, True), pump(up_reader, writer, False))

            server = await asyncio.start_server(proxy, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            settings: dict[str, Any] = {
                "base_url": "https://model.example",
                "ca_file": certificates / "ca.pem",
                "proxy": SecretStr(f"http://user:pa55@127.0.0.1:{port}"),
            }
            async with gateway(upstream_to(0, **settings)) as bench:
                assert (await bench.post()).status_code == 200
            assert heard.startswith(b"CONNECT model.example:443 HTTP/1.1\r\n")
            assert b"proxy-authorization: basic dxnlcjpwytu1" in bytes(heard).lower()
            assert KEY.encode() not in heard
            assert there.seen[0].headers["x-api-key"] == KEY
            assert "proxy-authorization" not in there.seen[0].headers
            server.close()
            await until(lambda: there.open_now == 0)

    asyncio.run(body())


def test_a_proxy_that_says_no() -> None:
    async def body() -> None:
        async with model(answers(407, b"no")) as there:
            proxy = SecretStr(f"http://user:pa55@127.0.0.1:{there.port}")
            async with gateway(upstream_to(0, base_url="https://model.example", proxy=proxy)) as bench:
                response = await bench.post()
                assert response.status_code == 502
                assert "proxy_error" in response.text
                assert "pa55" not in response.text
                assert bench.entries[0].error == "proxy_error"

    asyncio.run(body())


def test_redirects_are_never_followed() -> None:
    async def body() -> None:
        async with (
            model() as elsewhere,
            model(answers(307, b"", f"location: http://127.0.0.1:{elsewhere.port}/")) as there,
        ):
            async with gateway(upstream_to(there.port)) as bench:
                response = await bench.post()
                assert response.status_code == 502
                assert "redirect" in response.text
                assert bench.entries[0].error == "redirect"
            assert elsewhere.seen == []

    asyncio.run(body())


def test_silence_is_given_up_and_settles_at_its_reservation() -> None:
    async def silent(_seen: Seen, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def body() -> None:
        async with model(silent) as there, gateway(upstream_to(there.port, read_timeout=0.2)) as bench:
            response = await bench.post()
            assert response.status_code == 502
            assert "read_timeout" in response.text
            entry = bench.entries[0]
            assert (entry.status, entry.error, entry.estimated, entry.output_tokens) == (
                None,
                "read_timeout",
                True,
                1000,
            )
            assert bench.gateway.ledger().last_status == 0

    asyncio.run(body())


def test_a_connection_closed_without_an_answer_costs_nothing() -> None:
    async def slam(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def body() -> None:
        async with model(slam) as there, gateway(upstream_to(there.port)) as bench:
            assert (await bench.post()).status_code == 502
            assert bench.entries[0].tokens == 0

    asyncio.run(body())


def test_an_error_in_the_middle_of_a_body() -> None:
    async def garbage(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, "text/event-stream", "transfer-encoding: chunked") + b"zz\r\n")

    async def body() -> None:
        async with model(garbage) as there, gateway(upstream_to(there.port)) as bench:
            with pytest.raises(Exception, match=r"incomplete|closed|chunked"):
                await bench.post()
            entry = (await bench.settled(1))[0]
            assert (entry.cut, entry.error) == (True, "remote_protocol_error")

    asyncio.run(body())


def test_secrets_are_in_no_repr() -> None:
    proxy = SecretStr("http://user:pa55@proxy.example:3128")
    settings = UpstreamSettings(base_url="https://model.example", proxy=proxy)
    up = upstream_to(0, OAuthToken(SecretStr("oat-secret")), base_url="https://model.example", proxy=proxy)
    shown = f"{settings!r} {up!r} {OAuthToken(SecretStr('oat-secret'))!r} {vars(up)!r}"
    assert "pa55" not in shown
    assert "oat-secret" not in shown
    asyncio.run(up.aclose())


def test_settings_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="cannot be used"):
        upstream_to(0, base_url="https://model.example", ca_file=tmp_path / "missing.pem")
    (tmp_path / "empty.pem").write_text("no certificate")
    with pytest.raises(GatewayError, match="cannot be used"):
        upstream_to(0, base_url="https://model.example", ca_file=tmp_path / "empty.pem")
    with pytest.raises(GatewayError, match="proxy's address") as caught:
        upstream_to(0, base_url="https://model.example", proxy=SecretStr("gopher://user:pa55@x"))
    assert "pa55" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "https://api.anthropic.com",
        "https://host/prefix",
        "https://10.0.0.1:8443",
        "http://127.0.0.1:8080",
        "http://localhost:1",
        "http://[::1]:8080",
        "http://127.9.9.9",
    ],
)
def test_addresses_that_a_key_may_go_to(address: str) -> None:
    check_base_url(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "api.anthropic.com",
        "http://api.anthropic.com",
        "http://10.0.0.1",
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://127.0.0.1@evil.example",
        "https://user:pa55@host",
        "https://host?x=1",
        "https://host#x",
        "https://host/a b",
        "https://host\\@evil",
        "https://169.254.169.254",
        "https://[fe80::1]",
        "https://0.0.0.0",
        "https://host:99999",
        "https://[::1",
        "file:///etc/passwd",
        "ftp://127.0.0.1",
    ],
)
def test_addresses_that_a_key_must_not_go_to(address: str) -> None:
    with pytest.raises(RefusedInput) as caught:
        UpstreamSettings(base_url=address)
    assert caught.value.cure
    assert "pa55" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "no_proxy", "expected"),
    [
        ("https://api.anthropic.com", (), True),
        ("https://127.0.0.1", (), False),
        ("https://localhost", (), False),
        ("https://api.anthropic.com", ("*",), False),
        ("https://api.anthropic.com", ("anthropic.com",), False),
        ("https://api.anthropic.com", (" .Anthropic.com ",), False),
        ("https://api.anthropic.com", ("*.anthropic.com",), False),
        ("https://notanthropic.com", ("anthropic.com",), True),
        ("https://api.anthropic.com", ("api.anthropic.com:443",), False),
        ("https://api.anthropic.com", ("api.anthropic.com:8443",), True),
        ("https://10.1.2.3", ("10.0.0.0/8",), False),
        ("https://10.1.2.3", ("11.0.0.0/8", ""), True),
        ("https://10.1.2.3:8443", ("10.1.2.3",), False),
        ("https://10.1.2.3", ("10.1.2.3:443",), False),
        ("https://[fd00::1]", ("[fd00::1]",), False),
    ],
)
def test_who_is_asked_for_through_the_proxy(address: str, no_proxy: tuple[str, ...], expected: bool) -> None:
    assert uses_proxy(urlsplit(address), no_proxy) is expected
