"""The socket that a sandbox without a gateway holds on to: while this process lives, it can be connected to."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from claude_flow_dagger.errors import SandboxError


@asynccontextmanager
async def lease(path: Path) -> AsyncIterator[Path]:
    """Listen until the context is left; whoever connects is sent away at once.

    Args:
        path: in a directory that is private to this user, under 100 bytes.

    Raises:
        SandboxError: it cannot listen there.
    """

    def goodbye(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    try:
        server = await asyncio.start_unix_server(goodbye, path, backlog=128)
    except OSError as error:
        raise SandboxError(
            f"{path}: no socket can be made: {error.strerror or error}", cure="set TMPDIR to a shorter directory"
        ) from error
    try:
        open_socket(path)
        yield path
    finally:
        server.close()
        await server.wait_closed()
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - a socket's name


def open_socket(path: Path) -> None:
    """Let a container's user connect: it is another user than this one, and its directory keeps everybody else out.

    Args:
        path: a socket in a directory with mode 0700; the container gets the socket itself, not the directory.

    Raises:
        SandboxError: its directory is not private.
    """
    try:
        parent = path.parent.lstat()
        if not stat.S_ISDIR(parent.st_mode) or parent.st_uid != os.geteuid() or parent.st_mode & 0o077:
            raise SandboxError(f"{path.parent}: is not private to this user", cure=f"chmod 0700 {path.parent}")
        path.chmod(0o666)
    except OSError as error:
        raise SandboxError(f"{path}: {error.strerror or error}") from error
