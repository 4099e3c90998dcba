#!/bin/sh
# Builds both images, lays what they are made of into out/image, and tells their sizes.
# environment: IMAGE, PREDICTOR_IMAGE (names), VERSION, BUILDER (docker, or a command like it); optional: BASE (another base),
# CA_BUNDLE (authorities to trust while building), BUILD_FLAGS (more words for the builder)
set -eu
cd "$(dirname "$0")/.."
: "${IMAGE:?}" "${PREDICTOR_IMAGE:?}" "${VERSION:?}"
builder=${BUILDER:-docker}
export DOCKER_BUILDKIT=1

say() { echo "penstock: $*" >&2; }
"$builder" info >/dev/null 2>&1 || {
    say "$builder is not there or does not answer; start it, or name another: make image BUILDER=/usr/bin/docker"
    exit 2
}

build() { # target, name
    say "building $2"
    set -- "$@" --build-arg "VERSION=$VERSION" --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)"
    [ -z "${BASE:-}" ] || set -- "$@" --build-arg "BASE=$BASE"
    [ -z "${CA_BUNDLE:-}" ] || set -- "$@" --secret "id=ca,src=$CA_BUNDLE"
    target=$1 name=$2
    shift 2
    # shellcheck disable=SC2086 # BUILD_FLAGS is a list of words
    "$builder" build ${BUILD_FLAGS:-} "$@" --target "$target" --tag "$name" .
    mkdir -p out/image
    "$builder" run --rm --network none --entrypoint cat "$name" /app/sbom.cdx.json >"out/image/$target.cdx.json"
}

build predictor "$PREDICTOR_IMAGE"
build control "$IMAGE"
for name in "$PREDICTOR_IMAGE" "$IMAGE"; do
    say "$name: $(($("$builder" image inspect --format '{{.Size}}' "$name") / 1000000)) MB"
done
