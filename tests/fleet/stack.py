"""Checks the files of docs/fleet that need servers: the stack, the topics, and the dashboard.

stack.py FOLDER

Every statement of kafka.sql has valid syntax, and its columns are those of the tables. Every panel of the dashboard has a query
that the engine answers. Every file that the stack mounts exists. Prints the numbers of what was checked as one JSON object.
"""

import json
import pathlib
import re
import subprocess
import sys

import yaml
from engine import FLEET, Engine, statements


def fail(message):
    sys.exit(f"docs/fleet: {message}")


def check_topics(engine):
    found = statements(FLEET / "clickhouse" / "kafka.sql")
    for statement in found:
        quoted = statement.replace("\\", "\\\\").replace("'", "\\'")
        engine.query(f"SELECT formatQuery('{quoted}') AS text")
    columns = lambda text: re.findall(r"^    (\w+) ", text.split("ENGINE")[0], re.MULTILINE)
    topic = next(text for text in found if "EXISTS fleet_topic" in text)
    stored = [row["name"] for row in engine.query("SELECT name FROM system.columns WHERE table = 'fleet_incidents'")]
    if columns(topic) != ["type", *stored]:
        fail(f"fleet_topic has {columns(topic)}, fleet_incidents {stored}")
    return len(found)


def check_dashboard(engine):
    source = yaml.safe_load((FLEET / "grafana" / "datasource.yaml").read_text())["datasources"][0]
    panels = json.loads((FLEET / "grafana" / "fleet.json").read_text())["panels"]
    for panel in panels:
        for target in panel["targets"]:
            if target["datasource"] != {"type": source["type"], "uid": source["uid"]}:
                fail(f"the panel {panel['title']} has another source: {target['datasource']}")
            # What Grafana replaces this macro by.
            query = re.sub(r"\$__timeFilter\(((?:[^()]|\([^()]*\))*)\)", r"(\1 >= now() - 3600 AND \1 <= now())", target["rawSql"])
            if "$" in query:
                fail(f"the panel {panel['title']} has a macro that is not checked: {query}")
            engine.query(query)
    return len(panels)


def check_compose():
    services = yaml.safe_load((FLEET / "compose.yaml").read_text())["services"]
    mounts = [mount for service in services.values() for mount in service.get("volumes", [])]
    paths = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]
    for path in paths:
        if not (FLEET / path).exists():
            fail(f"compose.yaml mounts {path}, which does not exist")
    for script in ("jobs/run.sh", "clickhouse/init.sh"):
        subprocess.run(["sh", "-n", FLEET / script], check=True)
    return len(paths)


def main():
    engine = Engine(pathlib.Path(sys.argv[1]))
    print(
        json.dumps(
            {"statements": check_topics(engine), "panels": check_dashboard(engine), "mounts": check_compose()}
        )
    )


main()
