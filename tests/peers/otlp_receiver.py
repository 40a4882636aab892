"""Receives OTLP logs over HTTP at 127.0.0.1:PORT, and prints each log record as a JSON line.

otlp_receiver.py PORT [REFUSED]: it refuses the first REFUSED records of the first request that has records.
"""

import gzip
import http.server
import json
import sys

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

refused = int(sys.argv[2]) if len(sys.argv) > 2 else 0


def plain(value):
    """An AnyValue as JSON."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return named(value.kvlist_value.values)
    return getattr(value, kind) if kind else None


def named(attributes):
    found = {attribute.key: plain(attribute.value) for attribute in attributes}
    assert len(found) == len(attributes), "an attribute was given twice"
    return found


def records(request):
    for of_resource in request.resource_logs:
        resource = named(of_resource.resource.attributes)
        for of_scope in of_resource.scope_logs:
            for record in of_scope.log_records:
                yield {
                    "resource": resource,
                    "scope": of_scope.scope.name,
                    "schema": of_scope.schema_url,
                    "event": record.event_name,
                    "severity": record.severity_number,
                    "time": record.time_unix_nano,
                    "observed": record.observed_time_unix_nano,
                    "body": plain(record.body),
                    "attributes": named(record.attributes),
                }


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        global refused
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Content-Type"] == "application/x-protobuf", self.headers
        assert self.headers["Content-Encoding"] == "gzip", self.headers
        request, response = ExportLogsServiceRequest(), ExportLogsServiceResponse()
        request.ParseFromString(gzip.decompress(body))
        found = list(records(request))
        if found and refused:
            response.partial_success.rejected_log_records = refused
            response.partial_success.error_message = "the test refuses them"
            found, refused = found[refused:], 0
        for record in found:
            print(json.dumps({"path": self.path, "key": self.headers["api-key"], **record}))
        sys.stdout.flush()
        answer = response.SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver)
print("ready", file=sys.stderr, flush=True)
server.serve_forever()
