"""A Kafka broker at 127.0.0.1:PORT: librdkafka's mock cluster behind a proxy that may be away, encrypted and protected.

kafka_broker.py PORT TOPIC [--away] [--tls FILE] [--sasl MECHANISM USER PASSWORD]

Prints every stored message as a JSON line with its partition, key and value. SIGUSR1: the next answer to rows is lost, and
the broker is away. SIGUSR2: the broker is back. Standard error has a line for each change. The topic `missing` does not exist.
"""

import base64
import hashlib
import hmac
import json
import signal
import socket
import ssl
import struct
import sys
import threading

from confluent_kafka import Consumer, Producer, TopicPartition

PRODUCE, METADATA, SASL_HANDSHAKE, API_VERSIONS, SASL_AUTHENTICATE = 0, 3, 17, 18, 36
UNKNOWN_TOPIC, SASL_FAILED, UNSUPPORTED_VERSION = 3, 58, 35
# The versions that the proxy understands, for clients that log in.
VERSIONS = {PRODUCE: (3, 7), METADATA: (4, 4), SASL_HANDSHAKE: (1, 1), API_VERSIONS: (0, 0), SASL_AUTHENTICATE: (0, 0)}


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


def exactly(stream, length):
    parts = b""
    while len(parts) < length:
        part = stream.recv(length - len(parts))
        if not part:
            raise ConnectionError("closed")
        parts += part
    return parts


def frame(stream):
    return exactly(stream, struct.unpack(">i", exactly(stream, 4))[0])


def send(stream, body):
    stream.sendall(struct.pack(">i", len(body)) + body)


class Scram:
    """The server of SCRAM (RFC 5802)."""

    def __init__(self, name, user, password):
        self.hash = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}[name]
        self.user, self.salt, self.rounds = user, b"salt of the test", 4096
        self.salted = hashlib.pbkdf2_hmac(self.hash, password.encode(), self.salt, self.rounds)
        self.first = None

    def mac(self, key, message):
        return hmac.new(key, message, self.hash).digest()

    def step(self, message):
        """The answer, and whether the login has succeeded. None if it has failed."""
        if self.first is None:
            self.first = message.split(",", 2)[2]
            attributes = dict(part.split("=", 1) for part in self.first.split(","))
            salt = base64.b64encode(self.salt).decode()
            self.challenge = f"r={attributes['r']}server,s={salt},i={self.rounds}"
            return (self.challenge, False) if attributes["n"] == self.user else None
        without_proof, proof = message.rsplit(",p=", 1)
        signed = ",".join([self.first, self.challenge, without_proof]).encode()
        client_key = self.mac(self.salted, b"Client Key")
        signature = self.mac(hashlib.new(self.hash, client_key).digest(), signed)
        expected = bytes(a ^ b for a, b in zip(client_key, signature))
        if base64.b64decode(proof) != expected:
            return None
        server = self.mac(self.mac(self.salted, b"Server Key"), signed)
        return "v=" + base64.b64encode(server).decode(), True


class Plain:
    """The server of PLAIN (RFC 4616)."""

    def __init__(self, _name, user, password):
        self.expected = f"\0{user}\0{password}"

    def step(self, message):
        return ("", True) if message == self.expected else None


class Broker:
    def __init__(self, port, topic, certificate, login):
        self.mock = Producer({"bootstrap.servers": "mock:1", "test.mock.num.brokers": 1, "log_level": 0})
        # This makes the topic.
        metadata = self.mock.list_topics(topic, timeout=30)
        broker = next(iter(metadata.brokers.values()))
        self.partitions = list(metadata.topics[topic].partitions)
        self.port, self.topic, self.login, self.inner = port, topic, login, (broker.host, broker.port)
        self.context = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(certificate)
        self.listener, self.connections, self.loses = None, set(), False
        self.lock = threading.Lock()

    def listen(self, *_):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen()
        with self.lock:
            self.listener = listener
        threading.Thread(target=self.accept, args=(listener,), daemon=True).start()
        print("listening", file=sys.stderr, flush=True)

    def lose_answer(self, *_):
        self.loses = True

    def leave(self):
        with self.lock:
            self.loses = False
            listener, self.listener = self.listener, None
            connections, self.connections = self.connections, set()
        for stream in connections:
            try:
                stream.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        if listener:
            # A thread that waits in accept would keep the port.
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        print("away", file=sys.stderr, flush=True)

    def accept(self, listener):
        while True:
            try:
                stream, _ = listener.accept()
            except OSError:
                return
            with self.lock:
                if self.listener is not listener:
                    stream.close()
                    return
                self.connections.add(stream)
            threading.Thread(target=self.serve, args=(stream,), daemon=True).start()

    def serve(self, plain):
        try:
            stream = self.context.wrap_socket(plain, server_side=True) if self.context else plain
            if self.login is None or self.log_in(stream):
                self.forward(stream)
        except (OSError, ConnectionError):
            pass
        finally:
            with self.lock:
                self.connections.discard(plain)
            plain.close()

    def log_in(self, stream):
        mechanism, user, password = self.login
        server = (Plain if mechanism == "PLAIN" else Scram)(mechanism, user, password)
        while True:
            request = frame(stream)
            key, version, number = struct.unpack(">hhi", request[:8])
            after_client = 10 + max(0, struct.unpack(">h", request[8:10])[0])
            body = request[after_client:]
            answer = struct.pack(">i", number)
            if key == API_VERSIONS:
                error = UNSUPPORTED_VERSION if version > 0 else 0
                known = [struct.pack(">hhh", key, *versions) for key, versions in VERSIONS.items()]
                send(stream, answer + struct.pack(">hi", error, len(known)) + b"".join(known))
            elif key == SASL_HANDSHAKE:
                is_known = body == text(mechanism)
                send(stream, answer + struct.pack(">hi", 0 if is_known else 33, 1) + text(mechanism))
            elif key == SASL_AUTHENTICATE:
                step = server.step(body[4:].decode())
                reply, is_done = step or ("", False)
                error, why = (0, struct.pack(">h", -1)) if step else (SASL_FAILED, text("Authentication failed"))
                send(stream, answer + struct.pack(">h", error) + why + struct.pack(">i", len(reply)) + reply.encode())
                if is_done:
                    print("logged in", file=sys.stderr, flush=True)
                    return True
                if not step:
                    return False
            else:
                return False

    def forward(self, stream):
        inner = socket.create_connection(self.inner)
        lost = set()
        answers = threading.Thread(target=self.answer, args=(inner, stream, lost), daemon=True)
        answers.start()
        try:
            while True:
                request = frame(stream)
                key, version, number = struct.unpack(">hhi", request[:8])
                if key == PRODUCE and self.loses:
                    lost.add(number)
                if key == METADATA and version == 4 and text("missing") in request:
                    address = struct.pack(">i", 1) + text("127.0.0.1") + struct.pack(">ih", self.port, -1)
                    broker = struct.pack(">i", 1) + address + struct.pack(">hi", -1, 1)
                    topic = struct.pack(">ih", 1, UNKNOWN_TOPIC) + text("missing") + struct.pack(">bi", 0, 0)
                    send(stream, struct.pack(">ii", number, 0) + broker + topic)
                else:
                    send(inner, request)
        finally:
            inner.close()

    def answer(self, inner, stream, lost):
        """Forwards answers, in which the broker has the address of the proxy."""
        host = self.inner[0].encode()
        own, shown = (host + struct.pack(">i", port) for port in (self.inner[1], self.port))
        try:
            while True:
                answer = frame(inner)
                if struct.unpack(">i", answer[:4])[0] in lost:
                    self.leave()
                    return
                send(stream, answer.replace(own, shown))
        except (OSError, ConnectionError):
            pass

    def consume(self):
        consumer = Consumer({
            "bootstrap.servers": "%s:%d" % self.inner,
            "group.id": "test",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        })
        consumer.assign([TopicPartition(self.topic, number, 0) for number in self.partitions])
        while True:
            message = consumer.poll(1)
            if message is not None and not message.error():
                row = {
                    "partition": message.partition(),
                    "key": message.key().decode(),
                    "value": json.loads(message.value()),
                }
                print(json.dumps(row), flush=True)


def main():
    arguments = sys.argv[3:]
    after = lambda name, number: arguments[arguments.index(name) + 1 :][:number] if name in arguments else None
    certificate, login = after("--tls", 1), after("--sasl", 3)
    broker = Broker(int(sys.argv[1]), sys.argv[2], certificate and certificate[0], login)
    signal.signal(signal.SIGUSR1, broker.lose_answer)
    signal.signal(signal.SIGUSR2, broker.listen)
    if "--away" in arguments:
        print("away", file=sys.stderr, flush=True)
    else:
        broker.listen()
    threading.Thread(target=broker.consume, daemon=True).start()
    while True:
        # Signals run their functions in this thread.
        signal.pause()


main()
