"""A server with OpenAI's chat completions interface, as a process of its own that tests can kill.

    python chat_server.py PORT BEHAVIOUR LOG

BEHAVIOUR is JSON: `reply` (what it says), `failures` (statuses to answer the first requests with), `refusal` (what it
says with them), `pause` (the seconds that it then asks to wait for), `hang` (seconds before each answer), `body` (what
to answer instead of a completion), `finish`, `kind` (the content type), `zip` (true to compress it), `location` (where
to send other requests). Every request is a line of LOG.
"""

import gzip
import json
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def serve(port: int, behaviour: dict, log: Path) -> None:
    failures = list(behaviour.get("failures", []))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._send(200, {})

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with log.open("a") as file:
                seen = {"path": self.path, "key": self.headers.get("Authorization"), "body": asked}
                file.write(json.dumps(seen) + "\n")
            if behaviour.get("location") and self.path != behaviour["location"]:
                self.send_response(behaviour.get("status", 307))
                self.send_header("Location", behaviour["location"])
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if failures:
                self._send(failures.pop(0), {"error": {"message": behaviour.get("refusal", "not today")}})
                return
            time.sleep(behaviour.get("hang", 0))
            message = {"role": "assistant", "content": behaviour.get("reply", r"\boxed{1}")}
            message |= behaviour.get("beside", {})
            choice = {"index": 0, "message": message, "finish_reason": behaviour.get("finish", "stop")}
            whole = {"choices": [choice], "usage": {"completion_tokens": 7}}
            self._send(200, behaviour.get("body", whole))

        def _send(self, status, body):
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", behaviour.get("kind", "application/json"))
            if status != 200 and "pause" in behaviour:
                self.send_header("Retry-After", str(behaviour["pause"]))
            if behaviour.get("zip"):
                content = gzip.compress(content)
                self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


class Server:
    """The process; `url` is where it listens."""

    def __init__(self, folder: Path, **behaviour) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._log = folder / "requests.jsonl"
        self._behaviour = behaviour
        self.start()

    def start(self) -> None:
        command = [sys.executable, __file__, str(self.port), json.dumps(self._behaviour), str(self._log)]
        self._process = subprocess.Popen(command)
        until = time.monotonic() + 30
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise TimeoutError("the chat server did not start within 30 s")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(timeout=30)

    def requests(self) -> list[dict]:
        """What it was asked, in order."""
        return [json.loads(line) for line in self._log.read_text().splitlines()] if self._log.is_file() else []


@contextmanager
def chat_server(folder: Path, **behaviour):
    server = Server(folder, **behaviour)
    try:
        yield server
    finally:
        server.kill()


if __name__ == "__main__":
    serve(int(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3]))
