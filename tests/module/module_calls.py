"""Calls of the module's functions, each as an engine makes it: names, the parent's state and arguments as JSON."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from schema_server import Made, SchemaServer

os.environ |= {
    "DAGGER_MODULE": "claude-flow",
    "DAGGER_MAIN_OBJECT": "ClaudeFlow",
    "DAGGER_DEFAULT_PYTHON_PACKAGE": "claude_flow",
}

from dagger.mod._module import Module
from dagger.mod.cli import load_module

KEY = "sk-ant-api03-a-real-looking-key"
FINAL = {
    "ledger": {"requests": 2, "tokens": 30},
    "entries": [{"seq": 1, "at": "2026-11-23T00:00:00Z", "method": "POST", "path": "/v1/messages", "status": 200}],
}


def frames(*lines: str, code: int = 0, step: str = "main") -> str:
    said = [{"frame": "line", "step": step, "fd": 1, "text": line} for line in lines]
    rest = [{"frame": "end", "step": step, "code": code}, {"frame": "exit", "code": code}]
    return "".join(json.dumps(each) + "\n" for each in ({"frame": "start", "step": step}, *said, *rest))


ANSWER = json.dumps({"type": "result", "subtype": "success", "is_error": False, "result": "done", "num_turns": 1})


class Calls:
    """A caller."""

    def __init__(self, server: SchemaServer) -> None:
        self.server = server
        self.module: Module = load_module()
        self.secret = server.new("Secret", "theKey")
        server.answers |= {
            "Container.stdout": frames(ANSWER),
            "Container.exitCode": 0,
            "Service.hostname": "gateway-host",
            "File.contents": self._contents,
            "Secret.plaintext": KEY,
            "Container.publish": "registry.example/agent@sha256:1",
        }

    def _contents(self, made: Made, _args: Any) -> str:
        if made.calls[0].name == "http":
            return json.dumps(FINAL)
        return "diff --git a/x b/x\n" if made.calls[-1].name == "asPatch" else "text"

    def call(self, name: str, parent: dict[str, Any] | None = None, kind: str = "ClaudeFlow", **args: Any) -> Any:
        """A function's result as JSON; the constructor is called ''."""
        import dagger

        async def work() -> Any:
            async with dagger.connection(dagger.Config(retry=None)):
                return await self.module.get_result(kind, parent or {}, name, args)

        return asyncio.run(work())

    def create(self, **args: Any) -> dict[str, Any]:
        """The main object's state."""
        return self.call("", package=self.server.new("Directory", "package"), **args)

    def register(self, target: Path) -> None:
        """The module's registration."""
        import dagger.mod._module as module

        import dagger

        async def work() -> None:
            async with dagger.connection(dagger.Config(retry=None)):
                await self.module.register()

        module.TYPE_DEF_FILE = str(target)
        asyncio.run(work())
