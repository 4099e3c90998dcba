#!/bin/sh
# Writes both lock files anew from pyproject.toml. `dev.txt` is solved first, so that a user's environment is the
# developers' one less their tools: kserve (dev only) holds back versions that kfp alone would let rise.
set -eu
cd "$(dirname "$0")/.."
compile() { uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet "$@"; }
compile pyproject.toml --group dev -o requirements/dev.txt
compile pyproject.toml -c requirements/dev.txt -o requirements/lock.txt
