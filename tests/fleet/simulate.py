"""Checks the detections of docs/fleet/detect on simulated rows: their bounds on normal traffic, and attacks.

simulate.py FOLDER

Normal traffic is at the limits of the null hypotheses: contacts fail, new destinations are shared, calls are at random times,
and minutes have a heavy tail. Prints the numbers of false alarms by kind, what is found of each attack, and what remains when
all rows arrive twice and in another order, as one JSON object.
"""

import collections
import json
import pathlib
import random
import sys
import time

from engine import KINDS, Engine

HOUR_MS = 3_600_000
HOURS = 8
HOSTS = 30
# Accepted false alarms a day of each kind: one in the simulated hours.
FALSE_ALARMS = 24 / HOURS


class Rows:
    """Rows of agents, one on each host."""

    def __init__(self):
        self.messages = []
        self.numbers = collections.Counter()

    def flow(self, agent, source, target, port, at_ms, answered, packets=3, protocol=6):
        sequence = self.numbers[agent]
        self.numbers[agent] += 1
        row = {
            "type": "flow",
            "agent": agent,
            "generation": 1_790_000_000_000_000,
            "sequence": sequence,
            "src_ip": source,
            "dst_ip": target,
            "dst_port": port,
            "protocol": protocol,
            "ip_version": 4,
            "continues": False,
            "bidirectional_first_seen_ms": at_ms,
            "bidirectional_last_seen_ms": at_ms + 20,
            "bidirectional_packets": 2 * packets if answered else packets,
            "bidirectional_bytes": 100 * packets,
            "src2dst_packets": packets,
            "src2dst_bytes": 60 * packets,
            "src2dst_ack_packets": packets - 1 if answered else 0,
            "dst2src_packets": packets if answered else 0,
            "dst2src_rst_packets": 0,
        }
        self.messages.append(json.dumps(row).encode())

    def take(self):
        messages, self.messages = self.messages, []
        return messages


def host(number):
    return f"host{number}", f"10.0.0.{number + 1}"


def normal(rows, chance, hour, start_ms):
    """An hour of normal traffic."""
    at = lambda: start_ms + chance.randrange(HOUR_MS)
    for number in range(HOSTS):
        agent, address = host(number)
        # Servers that everybody uses, and a few new ones, of which a third do not answer.
        for _ in range(20):
            rows.flow(agent, address, f"10.0.1.{chance.randrange(8)}", 443, at(), True)
        for _ in range(3):
            target = f"172.16.{chance.randrange(256)}.{chance.randrange(256)}"
            rows.flow(agent, address, target, 443, at(), chance.random() > 0.33)
        # Datagrams that nobody answers: a heavy tail of rates.
        for minute in range(0, 60, 5):
            packets = int(20 * chance.paretovariate(1.1))
            for target in range(2):
                other, network = host((number + target) % HOSTS)
                at_ms = start_ms + 60_000 * minute + chance.randrange(60_000)
                rows.flow(other, f"192.0.2.{number}", network, 514, at_ms, False, packets, 17)
    # New destinations that one host uses, and with a probability of 0.3 each a further one.
    for destination in range(5):
        number, target = chance.randrange(HOSTS), f"198.51.{hour}.{destination}"
        while True:
            agent, address = host(number)
            # Its calls are at random times.
            for _ in range(6):
                rows.flow(agent, address, target, 8443, at(), True)
            if chance.random() > 0.3:
                break
            number = (number + 1) % HOSTS


def attacks(rows, chance, start_ms):
    # Each host once, within ten minutes.
    for number in range(HOSTS):
        agent, address = host(number)
        rows.flow(agent, "203.0.113.9", address, 445, start_ms + number * 20_000, False, 1)
    # Five hosts, every two minutes, with a tenth of jitter.
    for number in range(5):
        agent, address = host(number)
        for call in range(7):
            at_ms = start_ms + 7_000 * number + 120_000 * call + chance.randrange(12_000)
            rows.flow(agent, address, "203.0.113.20", 443, at_ms, True)
    # Carpet bombing: little for each host.
    for number in range(HOSTS):
        agent, address = host(number)
        for source in range(20):
            at_ms = start_ms + 600_000 + chance.randrange(60_000)
            rows.flow(agent, f"100.64.{source}.{number}", address, chance.randrange(65_536), at_ms, False, 5_000, 17)
    # A destination that most hosts begin to use, not in one rhythm.
    for number in range(20):
        agent, address = host(number)
        rows.flow(agent, address, "203.0.113.40", 8080, start_ms + chance.randrange(HOUR_MS // 2), True)


def evaluate(engine, end_ms):
    engine.rollup(end_ms - 2 * HOUR_MS)
    # No row is late here.
    engine.detect(end_ms, window_s=3600, history_s=7 * 86_400, false_alarms=FALSE_ALARMS, earlier=0)


def main():
    folder = pathlib.Path(sys.argv[1])
    engine, rows, chance = Engine(folder / "first"), Rows(), random.Random(1)
    begin_ms = (int(time.time() * 1000) // HOUR_MS - HOURS - 1) * HOUR_MS
    everything = []
    for hour in range(HOURS):
        normal(rows, chance, hour, begin_ms + hour * HOUR_MS)
        everything += rows.messages
        engine.insert(rows.take())
        evaluate(engine, begin_ms + (hour + 1) * HOUR_MS - 1)
    false_alarms = collections.Counter(incident["kind"] for incident in engine.incidents())

    start_ms = begin_ms + HOURS * HOUR_MS
    normal(rows, chance, HOURS, start_ms)
    attacks(rows, chance, start_ms)
    everything += rows.messages
    engine.insert(rows.take())
    evaluate(engine, start_ms + HOUR_MS - 1)
    new = [incident for incident in engine.incidents() if int(incident["updated_ms"]) > start_ms]
    found = {f"{incident['kind']} {incident['subject']}": int(incident["sources_count"]) for incident in new}

    # Rows that arrive twice change no total and no incident.
    totals = lambda: engine.query("SELECT minute, sum(packets) AS packets FROM agent_minutes GROUP BY minute ORDER BY minute")
    before = (engine.incidents(), totals())
    chance.shuffle(everything)
    engine.insert(everything)
    engine.rollup(begin_ms)
    evaluate(engine, start_ms + HOUR_MS - 1)
    is_unchanged = before == (engine.incidents(), totals())
    print(
        json.dumps(
            {
                "false_alarms": {kind: false_alarms[kind] for kind in KINDS},
                "found": found,
                "is_unchanged": is_unchanged,
                "rows": len(everything),
                "flows": int(engine.query("SELECT count(*) AS n FROM flows")[0]["n"]),
                "missing": int(engine.query("SELECT sum(missing) AS n FROM deliveries")[0]["n"]),
            }
        )
    )


main()
