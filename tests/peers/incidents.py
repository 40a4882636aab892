"""Measures flowml's incidents on captures: false incidents per hour, kinds and hosts of attacks, and the rate of anomalies
among benign rows.

Each capture is read by its own run, with the model that ships with flowml:
    incidents.py FLOWML FOLDER [NAME=VALUE ...]
FOLDER contains `benign`, without attacks, and `labelled` with its labels.csv. Arguments of the form --NAME=VALUE are passed to
`flowml read`.
"""

import csv
import fnmatch
import json
import subprocess
import sys
import tempfile
from pathlib import Path

# The acceptable kinds of incidents for attacks of a label.
KINDS = {
    "syn_flood": {"syn_flood"},
    "web_ddos": {"http_flood", "slow_connections"},
    "reflection": {"reflection"},
    "iot_anomaly": set(),
    "dns_tunnel": {"tunnel"},
    "portscan": {"port_scan", "host_scan"},
    "slow_http": {"slow_connections"},
    "ssh_bruteforce": {"brute_force"},
}


# The probabilities below which benign rows are counted as false alarms.
LEVELS = (0.01, 0.001, 0.0001)


class Rates:
    """The number of rows, and the number of rows below each level."""

    def __init__(self):
        self.rows, self.below = 0, [0] * len(LEVELS)

    def add(self, probability):
        self.rows += 1
        self.below = [count + (probability < level) for count, level in zip(self.below, LEVELS)]

    def __str__(self):
        shares = (f"{100 * count / max(self.rows, 1):.3f} % at {100 * level:g} %" for count, level in zip(self.below, LEVELS))
        return f"{self.rows} rows: " + ", ".join(shares)


def incidents(flowml, capture, arguments, rates=None):
    """Returns a capture's incidents as they were reported last, the number of seconds with active hosts, and the hosts.

    Counts the scored rows in `rates` by their type."""
    last, active, hosts = {}, set(), set()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.jsonl"
        command = [flowml, "read", capture, "--model", "builtin", "--quiet", "-o", f"jsonl={out}", *arguments]
        # The run fails on a damaged capture, but writes the rows before the damage.
        subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
        with out.open("rb") as rows:
            for line in rows:
                if line.startswith(b'{"type":"incident"'):
                    row = json.loads(line)
                    last[row["incident"]] = row
                elif line.startswith((b'{"type":"host"', b'{"type":"flow"')):
                    row = json.loads(line)
                    if row["type"] == "host":
                        active.add(row["window_end_ms"])
                        hosts.add(row["address"])
                    if rates is not None and row["probability"] is not None:
                        rates[row["type"]].add(row["probability"])
    return list(last.values()), len(active), hosts


def captures(folder):
    return sorted(path for path in folder.rglob("*") if ".pcap" in path.name or ".cap" in path.name)


def of_benign(flowml, folder, arguments):
    witnessed = unusual = seconds = 0
    rates = {"flow": Rates(), "host": Rates()}
    files = captures(folder)
    for capture in files:
        found, active, _ = incidents(flowml, capture, arguments, rates)
        seconds += active
        for row in found:
            if row["kind"] == "unusual":
                unusual += 1
            else:
                witnessed += 1
                print(f"  {capture.name}: {row['kind']}: {row['summary']}")
    hours = seconds / 3600
    print(f"{len(files)} captures, {hours:.2f} active hours")
    print(f"false incidents: {witnessed} of tests ({witnessed / hours:.1f} an hour), {unusual} unusual ({unusual / hours:.1f})")
    for name, of in (("flows", rates["flow"]), ("host windows", rates["host"])):
        print(f"{name} called rare, {of}")


def label_of(name, labels):
    """The first line of labels.csv whose pattern matches the name of a capture, or None."""
    return next((line for line in labels if fnmatch.fnmatch(name, line["file"])), None)


def has(named, pattern):
    """Whether a column of an incident contains a host that the label names. True if the label names none."""
    return not pattern or any(fnmatch.fnmatch(host, pattern) for host in (named or "").split())


def is_right(incident, label):
    return has(incident["sources"], label["attacker"]) and has(incident["targets"], label["victim"])


def is_exchanged(incident, label):
    of_victim = label["victim"] and has(incident["sources"], label["victim"])
    of_attacker = label["attacker"] and has(incident["targets"], label["attacker"])
    return bool(of_victim or of_attacker)


def of_labelled(flowml, folder, arguments):
    with (folder / "labels.csv").open() as table:
        labels = list(csv.DictReader(table))
    attacks = right = alone = exchanged = 0
    for capture in captures(folder):
        name = capture.relative_to(folder).as_posix()
        row = label_of(name, labels)
        if row is None:
            continue
        found, _, hosts = incidents(flowml, capture, arguments)
        # A host that is not in the capture cannot be named.
        for side in ("attacker", "victim"):
            row = row | {side: row[side] if fnmatch.filter(hosts, row[side]) else ""}
        named = [incident for incident in found if incident["kind"] != "unusual"]
        matching = [incident for incident in named if incident["kind"] in KINDS.get(row["label"], set())]
        matching = [incident for incident in matching if is_right(incident, row)]
        if row["label"] != "benign":
            attacks += 1
            right += bool(matching)
            alone += len(found) == len(matching) == 1
            exchanged += any(is_exchanged(incident, row) for incident in found)
        print(f"  {name} ({row['label']}): {len(named)} of tests, {len(found) - len(named)} unusual")
        for incident in named[:6]:
            print(f"    {incident['kind']}: {incident['summary']}")
    print(f"{attacks} captures of attacks: {right} with an incident of the right kind and hosts, {alone} with that one alone")
    print(f"attacker and victim exchanged: {exchanged}")


def main():
    flowml, folder, *arguments = sys.argv[1:]
    print("Benign captures:")
    of_benign(flowml, Path(folder) / "benign", arguments)
    print("Labelled captures:")
    of_labelled(flowml, Path(folder) / "labelled", arguments)


if __name__ == "__main__":
    main()
