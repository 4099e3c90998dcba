#!/bin/sh
# Makes .venv and installs what a lock file pins; asks the system's packager for what no wheel carries.
# usage: setup.sh lock|dev
set -eu
cd "$(dirname "$0")/.."
lock=requirements/${1:?lock or dev}.txt
uv_version=0.13.8

say() { echo "penstock: $*" >&2; }

apt_install() { # may we, and did it work?
    command -v apt-get >/dev/null 2>&1 || return 1
    if [ "$(id -u)" = 0 ]; then sudo=""
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then sudo="sudo -n"
    else return 1; fi
    say "installing $*"
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 && return 0
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null 2>&1 &&
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1
}

suits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; }

find_python() {
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
        if command -v "$candidate" >/dev/null 2>&1 && suits "$candidate"; then echo "$candidate"; return; fi
    done
    say "needs Python 3.11, 3.12 or 3.13 and found none; install one (Debian 12: apt-get install python3 python3-venv)"
    exit 2
}

make_venv() {
    python=$(find_python)
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        apt_install "python$version-venv" || {
            say "$python has no venv module; install it: apt-get install python$version-venv"
            exit 2
        }
    fi
    rm -rf .venv
    "$python" -m venv .venv
}

[ -x .venv/bin/python ] && suits .venv/bin/python || make_venv

stamp=.venv/installed-$1
if ! cmp -s "$lock" "$stamp" || [ ! -x .venv/bin/penstock ]; then
    say "installing $lock into .venv"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
    VIRTUAL_ENV=$PWD/.venv .venv/bin/uv pip install --quiet --require-hashes -r "$lock"
    VIRTUAL_ENV=$PWD/.venv .venv/bin/uv pip install --quiet --no-deps -e .
    cp "$lock" "$stamp"
fi

if ! command -v glpsol >/dev/null 2>&1; then
    apt_install glpk-utils ||
        say "glpk-utils is not installed (apt-get install glpk-utils); the plan is solved with HiGHS, which came as a wheel"
fi
