"""Reads the rows of a fleet from NATS JetStream into chDB, and evaluates the detections of docs/fleet.

loader.py HOST:PORT FOLDER [--window SECONDS] [--every SECONDS] [--disturb SEED]

Makes the streams of the subjects `flowml.rows` and `flowml.fleet`. Prints each new incident of the fleet as a JSON line, and
publishes it to `flowml.fleet`. A batch is acknowledged after it is stored, so that no row is lost if this process ends. With
--disturb each batch is inserted twice and in another order. SIGTERM: reads what is left, and prints what the engine has as the
last line.
"""

import argparse
import asyncio
import json
import pathlib
import random
import signal
import sys
import time

import nats
from engine import FLEET, Engine
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import BadRequestError

ROWS, INCIDENTS = "flowml.rows", "flowml.fleet"

# Messages in a batch. The engine works best with large ones.
BATCH = 2000

# The history that detections compare with, and the false alarms of each kind that are accepted in a day.
HISTORY_S, FALSE_ALARMS = 7 * 86_400, 1.0


class Loader:
    def __init__(self, arguments):
        self.arguments = arguments
        self.engine = Engine(arguments.folder)
        self.chance = random.Random(arguments.disturb)
        self.known = {}
        self.stored, self.bytes, self.busy_s = 0, 0, 0.0
        self.published = 0
        self.begun_ms = int(time.time() * 1000)
        self.is_ending = asyncio.Event()

    async def connect(self):
        address = f"nats://{self.arguments.address}"
        self.client = await nats.connect(
            address, connect_timeout=5, max_reconnect_attempts=-1, reconnect_time_wait=0.5, error_cb=ignore
        )
        self.stream = self.client.jetstream(timeout=5)
        for name, subject in (("ROWS", ROWS), ("INCIDENTS", INCIDENTS)):
            try:
                await self.stream.add_stream(name=name, subjects=[subject])
            except BadRequestError:
                # It exists, with the rows that wait in it.
                pass
        config = ConsumerConfig(ack_policy=AckPolicy.ALL, deliver_policy=DeliverPolicy.ALL, max_ack_pending=10 * BATCH)
        self.rows = await self.stream.pull_subscribe(ROWS, durable="engine", config=config)

    async def fetch(self):
        """The next messages; none if there are none, or the broker is away."""
        try:
            return await self.rows.fetch(BATCH, timeout=0.5)
        except (nats.errors.Error, asyncio.TimeoutError, OSError):
            return []

    async def store(self, messages):
        bodies = [message.data for message in messages]
        if self.arguments.disturb is not None:
            bodies = bodies * 2
            self.chance.shuffle(bodies)
        begun = time.monotonic()
        self.engine.insert(bodies)
        self.busy_s += time.monotonic() - begun
        self.stored += len(messages)
        self.bytes += sum(len(message.data) for message in messages)
        try:
            await messages[-1].ack()
        except (nats.errors.Error, OSError):
            # They come again, and the engine has each row once.
            pass

    async def evaluate(self, since_ms=None):
        """Evaluates this window and the previous one, or all since a time."""
        now_ms, window_ms = int(time.time() * 1000), self.arguments.window * 1000
        earlier = 1 if since_ms is None else now_ms // window_ms - since_ms // window_ms
        self.engine.rollup(now_ms - 3_600_000)
        self.engine.detect(now_ms, self.arguments.window, HISTORY_S, FALSE_ALARMS, earlier)
        for incident in self.engine.incidents():
            key = (incident["kind"], incident["subject"], incident["start_ms"])
            if self.known.get(key) == incident:
                continue
            self.known[key] = incident
            row = json.dumps({"type": "fleet_incident", **incident})
            print(row, flush=True)
            try:
                await self.stream.publish(INCIDENTS, row.encode(), timeout=5)
                self.published += 1
            except (nats.errors.Error, asyncio.TimeoutError, OSError) as error:
                print(f"the incident is not published: {error!r}", file=sys.stderr, flush=True)

    async def run(self):
        evaluated = time.monotonic()
        while True:
            messages = await self.fetch()
            if messages:
                await self.store(messages)
            elif self.is_ending.is_set():
                break
            if time.monotonic() - evaluated >= self.arguments.every:
                await self.evaluate()
                evaluated = time.monotonic()
        # The result does not depend on how late rows were.
        await self.evaluate(self.begun_ms)

    def report(self):
        query = self.engine.query
        return {
            "type": "report",
            "deliveries": query("SELECT * FROM deliveries ORDER BY agent, generation"),
            "types": query(
                "SELECT agent, generation, type, count(*) AS rows FROM messages "
                "GROUP BY agent, generation, type ORDER BY agent, generation, type"
            ),
            "flows": query(
                "SELECT agent, generation, count(*) AS flows, sum(bidirectional_packets) AS packets, "
                "sum(bidirectional_bytes) AS bytes FROM flows GROUP BY agent, generation ORDER BY agent, generation"
            ),
            "rejected": query("SELECT count(*) AS rows FROM rejected")[0]["rows"],
            "incidents": self.engine.incidents(),
            "published": self.published,
            "agents_incidents": query("SELECT agent, kind, sources, targets FROM incidents WHERE state != 'closed'"),
            "queries": {path.stem: lines(query(path.read_text())) for path in sorted((FLEET / "queries").glob("*.sql"))},
            "stored": self.stored,
            "bytes": self.bytes,
            "rows_per_second": self.stored / self.busy_s if self.busy_s else 0,
        }


def lines(rows):
    """An answer as lists: the names of the columns, then each row."""
    return [list(rows[0]), *(list(row.values()) for row in rows)] if rows else []


async def ignore(_):
    """The client reconnects without help."""


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--window", type=int, default=3600)
    parser.add_argument("--every", type=float, default=60)
    parser.add_argument("--disturb", type=int)
    loader = Loader(parser.parse_args())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, loader.is_ending.set)
    await loader.connect()
    print("ready", file=sys.stderr, flush=True)
    await loader.run()
    print(json.dumps(loader.report()), flush=True)
    await loader.client.close()


asyncio.run(main())
