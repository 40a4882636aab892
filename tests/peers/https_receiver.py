"""Receives HTTPS requests at 127.0.0.1:PORT with the certificate and key of a file, and prints each as a JSON line."""

import http.server
import json
import ssl
import sys


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        request = {"path": self.path, "authorization": self.headers["Authorization"], "body": json.loads(body)}
        print(json.dumps(request), flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


port, certificate = int(sys.argv[1]), sys.argv[2]
server = http.server.HTTPServer(("127.0.0.1", port), Receiver)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", file=sys.stderr, flush=True)
server.serve_forever()
