#!/usr/bin/env python3
"""Serves one session: its status over HTTP, and who it is to the load balancer."""

import argparse
import hashlib
import hmac
import http.server
import json
import socketserver
import threading
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


class Balancer(socketserver.StreamRequestHandler):
    timeout = 10

    def handle(self):
        words = self.rfile.readline(512).decode("ascii", "replace").split()
        if len(words) == 2 and words[0] == "CHALLENGE":
            message = f"{words[1]}|{self.server.state['session']}".encode()
            self.wfile.write(hmac.new(self.server.key, message, "sha256").hexdigest().encode() + b"\n")
        else:
            self.wfile.write(b"expected CHALLENGE <nonce>\n")


class Status(http.server.BaseHTTPRequestHandler):
    timeout = 10

    def do_GET(self):
        if self.path != "/status":
            self.send_error(404)
            return
        body = json.dumps({name: self.server.state[name] for name in ("session", "model", "served")}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *parts):
        pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--status-port", type=int, default=8080)
    parser.add_argument("--balancer-port", type=int, default=7070)
    given = parser.parse_args()
    key = hashlib.sha256(b"runner-key\0" + (FOLDER / "model.safetensors").read_bytes()).digest()
    state = json.loads((FOLDER / "state.json").read_text())
    servers = Server(("", given.balancer_port), Balancer), Server(("", given.status_port), Status)
    for server in servers:
        server.key, server.state = key, state
    threading.Thread(target=servers[0].serve_forever, daemon=True).start()
    servers[1].serve_forever()


if __name__ == "__main__":
    main()
