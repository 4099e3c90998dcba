#!/bin/sh
# Inside the build of an image: installs a lock file into /opt/penstock, every file held against its hash.
# What it works with is mounted for this one step: uv, the lock file, the tools that build a source distribution.
# usage: image_install.sh <folder of uv, locked.txt, build.txt and cache>
set -eu
mounted=${1:?folder}
export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
export UV_CACHE_DIR="$mounted/cache" UV_LINK_MODE=copy UV_NO_PROGRESS=1
export PYC_INVALIDATION_MODE=UNCHECKED_HASH # an image never changes, so a start need not look whether it did
[ -x /opt/penstock/bin/python ] || "$mounted/uv" venv --quiet --python /usr/bin/python3 /opt/penstock
"$mounted/uv" pip install --quiet --python /opt/penstock/bin/python --compile-bytecode \
    --require-hashes --build-constraints "$mounted/build.txt" --requirement "$mounted/locked.txt"
