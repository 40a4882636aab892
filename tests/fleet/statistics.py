"""Adds up the statistics of agents with the engine, for `flowml fleet merge`.

statistics.py FOLDER SCRATCH MODEL

FOLDER has a file `NAME.jsonl` with the rows of each agent. The engine gets the rows as messages, each twice and in another
order. Prints the sums of the statistics under MODEL as JSON lines.
"""

import json
import pathlib
import random
import sys

from engine import FLEET, Engine


def main():
    folder, scratch, model = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    engine = Engine(scratch)
    messages = []
    for rows in sorted(folder.glob("*.jsonl")):
        for sequence, line in enumerate(rows.read_text().splitlines()):
            numbers = {"agent": rows.stem, "generation": 1_790_000_000_000_000, "sequence": sequence}
            messages.append(json.dumps({**json.loads(line), **numbers}).encode())
    doubled = messages * 2
    random.Random(1).shuffle(doubled)
    for at in range(0, len(doubled), 1000):
        engine.insert(doubled[at : at + 1000])
    query = (FLEET / "model" / "statistics.sql").read_text()
    print(engine.session.query(query, "JSONEachRow", params={"model": model, "since_ms": 0, "end_ms": 1 << 60}), end="")


main()
