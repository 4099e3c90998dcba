#!/bin/sh
# Makes a base for the images from Debian's packages, where no image registry can be reached. Needs root.
# usage: base_image.sh <name:tag>     environment: BUILDER (docker), SUITE (bookworm), MIRROR
# then:  make image BASE=<name:tag>
set -eu
name=${1:?name:tag}
builder=${BUILDER:-docker} suite=${SUITE:-bookworm} mirror=${MIRROR:-http://deb.debian.org/debian}

say() { echo "penstock: $*" >&2; }
[ "$(id -u)" = 0 ] || { say "debootstrap makes device files, which needs root: sudo -E $0 $name"; exit 2; }
command -v debootstrap >/dev/null || { say "needs debootstrap: apt-get install debootstrap"; exit 2; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
say "making $name from $suite of $mirror"
debootstrap --variant=minbase "$suite" "$folder" "$mirror" >"$folder.log" 2>&1 || {
    tail -n 20 "$folder.log" >&2
    exit 2
}
rm -f "$folder.log"
cat >"$folder/etc/apt/sources.list" <<SOURCES
deb $mirror $suite main
deb $mirror $suite-updates main
deb http://deb.debian.org/debian-security $suite-security main
SOURCES
# what Debian's own slim image leaves out, and keeps leaving out
cat >"$folder/etc/dpkg/dpkg.cfg.d/slim" <<SLIM
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
SLIM
find "$folder/usr/share/doc" -type f ! -name copyright -delete
find "$folder/usr/share/doc" -depth -type d -empty -delete
rm -rf "$folder"/usr/share/info/* "$folder"/usr/share/locale/* "$folder"/usr/share/man/* \
    "$folder"/var/cache/apt/* "$folder"/var/lib/apt/lists/* "$folder"/var/log/*
tar -C "$folder" --numeric-owner -c . | "$builder" import - "$name" >/dev/null
say "made $name"
