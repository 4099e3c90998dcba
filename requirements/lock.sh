#!/bin/sh
# Writes all lock files anew from pyproject.toml. `dev.txt` is solved first, so that a user's environment is the
# developers' one less their tools: kserve (dev only) holds back versions that kfp alone would let rise.
# `predictor.txt` is the part of `lock.txt` that serves a model; `image.txt` is what builds the images.
set -eu
cd "$(dirname "$0")/.."
compile() { uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet "$@"; }
compile pyproject.toml --group dev -o requirements/dev.txt
compile pyproject.toml -c requirements/dev.txt -o requirements/lock.txt
compile --group pyproject.toml:predictor -c requirements/lock.txt -o requirements/predictor.txt
compile --group pyproject.toml:image -o requirements/image.txt
