"""An API that limits its callers: each tenant may make four calls in two seconds, and two at the same time.

It answers other calls with the status 429, and says with ``Retry-After`` when it accepts calls again.
``GET /statistics`` returns the number of calls by tenant.
"""

import argparse
import json
import threading
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CALLS_IN_WINDOW = 4
WINDOW_S = 2
CALLS_AT_ONCE = 2
CALL_S = 0.05


@dataclass(slots=True)
class Tenant:
    """The calls of one tenant so far, and those of the present window."""

    answered: int = 0
    refused: int = 0
    most_at_once: int = 0
    at_once: int = 0
    in_window: int = 0
    window_began: float = float("-inf")

    def begin(self) -> bool:
        """Count a call that begins; return whether it is accepted."""
        now = time.monotonic()
        if now >= self.window_began + WINDOW_S:
            self.window_began, self.in_window = now, 0
        if self.at_once >= CALLS_AT_ONCE or self.in_window >= CALLS_IN_WINDOW:
            self.refused += 1
            return False
        self.in_window += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        return True

    def end(self) -> None:
        """Count a call that ends."""
        self.at_once -= 1
        self.answered += 1


TENANTS: defaultdict[str, Tenant] = defaultdict(Tenant)
LOCK = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """Answers the calls of all tenants."""

    def do_GET(self) -> None:
        """Answer a call, or refuse it."""
        name = self.path.split("/")[1]
        if name == "statistics":
            shown = ("answered", "refused", "most_at_once")
            with LOCK:
                found = {name: asdict(tenant) for name, tenant in sorted(TENANTS.items())}
            self.answer(
                200, json.dumps({name: {each: counts[each] for each in shown} for name, counts in found.items()})
            )
            return
        with LOCK:
            is_accepted = TENANTS[name].begin()
        if not is_accepted:
            self.answer(429, "too many calls")
            return
        time.sleep(CALL_S)
        with LOCK:
            TENANTS[name].end()
        self.answer(200, f"order {self.path}")

    def answer(self, status: int, text: str) -> None:
        """Send a response. A refused call may be repeated when the next window begins."""
        body = text.encode() + b"\n"
        self.send_response(status)
        if status != 200:
            self.send_header("Retry-After", str(WINDOW_S))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until the program is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    server = ThreadingHTTPServer(("127.0.0.1", parser.parse_args().port), Handler)
    print(f"serving on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
