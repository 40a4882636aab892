"""What incidents flowml makes of captures: how many false ones an hour, and of attacks which kinds and hosts.

Each capture is read by a run of its own, by the model that ships with flowml:
    incidents.py FLOWML FOLDER [NAME=VALUE ...]
FOLDER has `benign`, in which nothing is an attack, and `labelled` with its labels.csv; arguments of the form --NAME=VALUE are given
to `flowml read` as they are.
"""

import csv
import fnmatch
import json
import subprocess
import sys
import tempfile
from pathlib import Path

# The kinds that an attack of a label may be called.
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


def incidents(flowml, capture, arguments):
    """The incidents of a capture as they were reported last, and for how many seconds hosts were active."""
    last, active = {}, set()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.jsonl"
        command = [flowml, "read", capture, "--model", "builtin", "--quiet", "-o", f"jsonl={out}", *arguments]
        # A damaged capture is an error whose rows are there.
        subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
        with out.open("rb") as rows:
            for line in rows:
                if line.startswith(b'{"type":"incident"'):
                    row = json.loads(line)
                    last[row["incident"]] = row
                elif line.startswith(b'{"type":"host"'):
                    active.add(json.loads(line)["window_end_ms"])
    return list(last.values()), len(active)


def captures(folder):
    return sorted(path for path in folder.rglob("*") if ".pcap" in path.name or ".cap" in path.name)


def of_benign(flowml, folder, arguments):
    witnessed = unusual = seconds = 0
    files = captures(folder)
    for capture in files:
        found, active = incidents(flowml, capture, arguments)
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


def of_labelled(flowml, folder, arguments):
    with (folder / "labels.csv").open() as table:
        labels = list(csv.DictReader(table))
    attacks = right = alone = 0
    for capture in captures(folder):
        name = capture.relative_to(folder).as_posix()
        row = next((row for row in labels if fnmatch.fnmatch(name, row["file"])), None)
        if row is None:
            continue
        found, _ = incidents(flowml, capture, arguments)
        named = [incident for incident in found if incident["kind"] != "unusual"]
        matching = [incident for incident in named if incident["kind"] in KINDS.get(row["label"], set())]
        if row["label"] != "benign":
            attacks += 1
            right += bool(matching)
            alone += len(named) == 1 and len(matching) == 1
        print(f"  {name} ({row['label']}): {len(named)} of tests, {len(found) - len(named)} unusual")
        for incident in named[:6]:
            print(f"    {incident['kind']}: {incident['summary']}")
    print(f"{attacks} captures of attacks: {right} with the right kind, {alone} with that one alone of tests")


def main():
    flowml, folder, *arguments = sys.argv[1:]
    print("Benign captures:")
    of_benign(flowml, Path(folder) / "benign", arguments)
    print("Labelled captures:")
    of_labelled(flowml, Path(folder) / "labelled", arguments)


if __name__ == "__main__":
    main()
