#!/usr/bin/env python3
"""A web hook on 127.0.0.1:8799 that writes down what it hears; a notification that it knows already is taken once."""
import http.server
import json
import pathlib

HEARD = pathlib.Path(__file__).resolve().parent.parent / "hook.jsonl"


class Hook(http.server.BaseHTTPRequestHandler):
    known = set()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers["idempotency-key"] not in self.known:
            with HEARD.open("a") as heard:
                heard.write(json.dumps(json.loads(body)) + "\n")
            self.known.add(self.headers["idempotency-key"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *words):
        pass


server = http.server.HTTPServer(("127.0.0.1", 8799), Hook)
HEARD.touch()  # it listens from here on
server.serve_forever()
