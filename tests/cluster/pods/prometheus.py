"""Answers what penstock asks Prometheus about load: one steady rate, nothing missing."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit


def answer(query: dict[str, str], rate_rps: float) -> dict[str, Any]:
    if query["query"] == "time()":
        return {"resultType": "scalar", "result": [time.time(), "0"]}
    rate = "0" if "up ==" in query["query"] else str(rate_rps)
    start_s, end_s, step_s = (float(query[k]) for k in ("start", "end", "step"))
    steps = range(round((end_s - start_s) / step_s) + 1)
    values = [[start_s + i * step_s, rate] for i in steps]
    return {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}


def handler_of(rate_rps: float) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}
            data = answer(asked, rate_rps)
            body = json.dumps({"status": "success", "data": data}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the output clean."""

    return Handler


@contextmanager
def one_rate(rate_rps: float, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve it for the time of a ``with`` block; yields its URL."""
    with ThreadingHTTPServer((host, port), handler_of(rate_rps)) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://{host}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with ThreadingHTTPServer(("0.0.0.0", 9090), handler_of(float(sys.argv[1]))) as served:
        served.serve_forever()
