"""Where Dagger's official schema comes from."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

DAGGER = "github.com/dagger/dagger@v0.21.8"
"""The lowest version that works, and the one that everything is tested against."""


def read_schema() -> str:
    """The Go client downloads it once, checks it against the checksum database and keeps it in its own cache."""
    argv = ["go", "mod", "download", "-json", DAGGER]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=True, cwd="/")
    return (Path(json.loads(done.stdout)["Dir"]) / "docs/docs-graphql/schema.graphqls").read_text()
