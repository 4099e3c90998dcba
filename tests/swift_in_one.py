"""OpenStack Swift in one process: account, container and object servers behind an S3 proxy.

Run with an empty folder and two keys; ``s3_server.py`` does so. Says ``listening on PORT`` when it
answers, and ends when its standard input does.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import eventlet
import eventlet.tpool

eventlet.monkey_patch(all=False, socket=True, select=True, thread=True)

from eventlet import wsgi  # noqa: E402 - what Swift brings in has to find the patched modules
from swift.common.http_protocol import SwiftHttpProtocol  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402
from swift.common.utils import set_swift_dir  # noqa: E402
from swift.common.wsgi import loadapp  # noqa: E402

STORAGE = ("account", "container", "object")
DISK = "disk"
# On a busy machine a server of ours is slow at times, never gone; and a fault ends when it ends.
DEFAULTS = """[DEFAULT]
swift_dir = {folder}
devices = {folder}
mount_check = false
fallocate_reserve = 0
log_level = WARNING
log_address = {folder}/none
log_custom_handlers = __main__.log_to_stderr
"""
STORING = """[app:main]
use = egg:swift#{kind}
conn_timeout = 20
node_timeout = 20
container_update_timeout = 20
"""
# Pages and multi-part uploads are as small as they get, so that small tests turn them.
PROXY = """[pipeline:main]
pipeline = catch_errors gatekeeper listing_formats s3api tempauth bulk slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
conn_timeout = 20
node_timeout = 20
error_suppression_interval = 0
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
max_bucket_listing = 5
max_upload_part_num = 3
[filter:tempauth]
use = egg:swift#tempauth
user_{user} = {secret} .admin
"""
PLAIN_FILTERS = ("catch_errors", "gatekeeper", "listing_formats", "bulk", "slo", "dlo")


def log_to_stderr(*arguments: Any) -> None:
    """Send what one of Swift's loggers says to standard error, where the test keeps it."""
    logger = arguments[5]
    logger.addHandler(logging.StreamHandler(sys.stderr))


def write_ring(folder: Path, kind: str, port: int) -> None:
    """Place all of a kind on the one disk, once."""
    ring = RingBuilder(part_power=2, replicas=1, min_part_hours=0)
    ring.add_dev(
        {"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": DISK, "weight": 1}
    )
    ring.rebalance()
    ring.get_ring().save(str(folder / f"{kind}.ring.gz"))


def serve(folder: Path, kind: str, text: str, listener: Any) -> None:
    config = folder / f"{kind}.conf"
    config.write_text(DEFAULTS.format(folder=folder) + text)
    eventlet.spawn_n(
        wsgi.server,
        listener,
        loadapp(str(config)),
        log_output=False,
        protocol=SwiftHttpProtocol,
        capitalize_response_headers=False,
    )


def main(folder: Path, access_key: str, secret_key: str) -> None:
    (folder / DISK).mkdir()
    os.setxattr(folder / DISK, "user.swift", b"a file system without these can't hold objects")
    (folder / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = tests\n")
    set_swift_dir(str(folder))
    listeners = {kind: eventlet.listen(("127.0.0.1", 0)) for kind in (*STORAGE, "proxy")}
    for kind in STORAGE:
        write_ring(folder, kind, listeners[kind].getsockname()[1])
        serve(folder, kind, STORING.format(kind=kind), listeners[kind])
    proxy = PROXY.format(user=access_key.replace(":", "_"), secret=secret_key)
    for name in PLAIN_FILTERS:
        proxy += f"[filter:{name}]\nuse = egg:swift#{name}\n"
    serve(folder, "proxy", proxy, listeners["proxy"])
    print(f"listening on {listeners['proxy'].getsockname()[1]}", flush=True)  # noqa: T201
    # Whoever started this holds the other end: when that process ends, however it ends, so do we.
    eventlet.tpool.execute(sys.stdin.read)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:4])
