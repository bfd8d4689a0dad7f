#!/usr/bin/env python3
"""Runner of one model session: status over HTTP, identity over TCP.

GET /status on the status port gives the session and what the file named by --status holds. On the identity port the fleet
sends `CHALLENGE <nonce>`; the answer proves which weights and which session are being served.
"""

import argparse
import hashlib
import hmac
import http.server
import json
import socketserver
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", type=Path, default=HERE / "model.safetensors")
    parser.add_argument("--state", type=Path, default=HERE / "state.json")
    parser.add_argument("--status", type=Path, default=None)
    parser.add_argument("--status-port", type=int, default=8080)
    parser.add_argument("--identity-port", type=int, default=7070)
    return parser.parse_args()


class Identity(socketserver.StreamRequestHandler):
    timeout = 10

    def handle(self):
        words = self.rfile.readline(512).decode("ascii", "replace").split()
        if len(words) != 2 or words[0] != "CHALLENGE":
            self.wfile.write(b"usage: CHALLENGE <nonce>\n")
            return
        message = f"{words[1]}|{self.server.session}".encode()
        answer = hmac.new(self.server.key, message, hashlib.sha256).hexdigest()
        self.wfile.write(f"{answer}\n".encode())


class Status(http.server.BaseHTTPRequestHandler):
    timeout = 10

    def do_GET(self):
        if self.path != "/status":
            self.send_error(404)
            return
        page = {"session": self.server.session, "model": self.server.model, "components": self.components()}
        body = json.dumps(page).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def components(self):
        try:
            return json.loads(self.server.status.read_text())
        except (OSError, ValueError, AttributeError):
            return {}

    def log_message(self, *parts):
        pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main():
    given = arguments()
    state = json.loads(given.state.read_text())
    key = hashlib.sha256(b"runner-key\0" + given.weights.read_bytes()).digest()
    identity = Server(("", given.identity_port), Identity)
    status = Server(("", given.status_port), Status)
    for server in (identity, status):
        server.key, server.session, server.model, server.status = key, state["session"], state["model"], given.status
    threading.Thread(target=identity.serve_forever, daemon=True).start()
    status.serve_forever()


if __name__ == "__main__":
    main()
