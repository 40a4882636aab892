"""The engine of the fleet in one process: chDB with the tables, jobs and detections of docs/fleet."""

import json
import os
import pathlib
import tempfile

from chdb import session

FLEET = pathlib.Path(__file__).resolve().parents[2] / "docs" / "fleet"

KINDS = ["fleet_scan", "fleet_flood", "fleet_beacon", "fleet_first_seen"]


def statements(path):
    """The statements of a file of SQL. None of ours has a semicolon at the end of a line inside of a statement."""
    return [text for text in path.read_text().split(";\n") if text.strip()]


class Engine:
    """An engine whose tables are in a folder."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.session = session.Session(str(self.folder / "engine"))
        for name in ("rows.sql", "fleet.sql"):
            for statement in statements(FLEET / "clickhouse" / name):
                self.session.query(statement)

    def insert(self, messages):
        """Inserts messages as bytes. When this returns, they are stored."""
        if not messages:
            return
        file, path = tempfile.mkstemp(suffix=".lines", dir=self.folder)
        try:
            with os.fdopen(file, "wb") as batch:
                for message in messages:
                    # A message is one line, whatever it contains: JSON has no line feed outside of strings.
                    batch.write(message.replace(b"\n", b" ") + b"\n")
            self.session.query(f"INSERT INTO intake SELECT line FROM file('{path}', 'LineAsString', 'line String')")
        finally:
            os.unlink(path)

    def query(self, text, **parameters):
        """The rows that a query answers, as objects. Duplicates are left out."""
        answer = self.session.query(text + "\nSETTINGS final = 1", "JSONEachRow", params=parameters)
        return [json.loads(line) for line in str(answer).splitlines() if line]

    def run(self, path, **parameters):
        for statement in statements(path):
            self.session.query(statement, params=parameters)

    def rollup(self, since_ms):
        self.run(FLEET / "jobs" / "rollup.sql", since_ms=since_ms)

    def detect(self, end_ms, window_s, history_s, false_alarms, earlier=1):
        """Evaluates the window of this time, and earlier ones, whose late rows may have arrived."""
        window_ms = window_s * 1000
        start_ms = end_ms // window_ms * window_ms
        ends = [start_ms - number * window_ms - 1 for number in reversed(range(earlier))]
        for time_ms in [*ends, end_ms]:
            for kind in KINDS:
                self.run(
                    FLEET / "detect" / f"{kind}.sql",
                    end_ms=time_ms,
                    window_s=window_s,
                    history_s=history_s,
                    false_alarms=false_alarms,
                )

    def incidents(self):
        """The incidents of the fleet, in the order of their start."""
        return self.query("SELECT * FROM fleet_incidents ORDER BY start_ms, kind, subject")
