"""Compares ClickHouse, Spark and DuckDB: each answers the queries of docs/fleet/queries.

queries.py FOLDER SCRATCH

FOLDER has a folder `agent=NAME` for each agent, with its Parquet data sets and its rows in `rows.jsonl`. ClickHouse gets the
rows as messages, each twice and in another order; Spark and DuckDB read the Parquet files. Prints for each query the number of
its rows as one JSON object, or fails with the first difference.
"""

import json
import math
import os
import pathlib
import random
import subprocess
import sys

import duckdb
from engine import FLEET, Engine

QUERIES = sorted((FLEET / "queries").glob("*.sql"))
SPARK_TABLES = {"flows": "flows", "host_windows": "hosts", "incidents": "incidents"}


def of_clickhouse(folder, scratch):
    engine = Engine(scratch)
    messages = []
    for agent in sorted(folder.iterdir()):
        with open(agent / "rows.jsonl") as rows:
            for sequence, line in enumerate(rows):
                name = agent.name.removeprefix("agent=")
                numbers = {"agent": name, "generation": 1_790_000_000_000_000, "sequence": sequence}
                messages.append(json.dumps({**json.loads(line), **numbers}).encode())
    doubled = messages * 2
    random.Random(1).shuffle(doubled)
    for at in range(0, len(doubled), 1000):
        engine.insert(doubled[at : at + 1000])
    return {path.name: engine.query(path.read_text()) for path in QUERIES}


def of_duckdb(folder):
    database = duckdb.connect()
    for table, name in SPARK_TABLES.items():
        database.execute(
            f"CREATE VIEW {table} AS SELECT * FROM "
            f"read_parquet('{folder}/*/{name}/*.parquet', hive_partitioning = true, union_by_name = true)"
        )
    answers = {}
    for path in QUERIES:
        cursor = database.execute(path.read_text())
        names = [column[0] for column in cursor.description]
        answers[path.name] = [dict(zip(names, row)) for row in cursor.fetchall()]
    return answers


def of_spark(folder):
    # There are few rows: compiling queries takes longer than running them.
    options = (
        "--master local[2] --driver-java-options=-XX:TieredStopAtLevel=1 --conf spark.ui.enabled=false "
        "--conf spark.sql.shuffle.partitions=2 --conf spark.sql.codegen.wholeStage=false "
        "--conf spark.sql.codegen.factoryMode=NO_CODEGEN pyspark-shell"
    )
    environment = {**os.environ, "PYSPARK_SUBMIT_ARGS": options, "SPARK_LOCAL_IP": "127.0.0.1"}
    command = [sys.executable, FLEET / "spark" / "queries.py", folder]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"Spark: {done.stderr}")
    output = done.stdout
    answers, name = {}, None
    for line in output.splitlines():
        if line.startswith("# "):
            name = line[2:]
            answers[name] = []
        elif name:
            answers[name].append(json.loads(line))
    return answers


def same(one, other):
    """Whether two values are equal. Engines print whole numbers as different types, and large ones as text."""
    if one is None or other is None:
        return one is other
    if isinstance(one, str) and isinstance(other, str) and not one.lstrip("-").isdigit():
        return one == other
    return math.isclose(float(one), float(other), rel_tol=1e-12)


def compare(query, engine, found, expected):
    if len(found) != len(expected):
        sys.exit(f"{query}: {engine} has {len(found)} rows instead of {len(expected)}")
    for number, (row, wanted) in enumerate(zip(found, expected)):
        if row.keys() != wanted.keys() or not all(same(row[name], wanted[name]) for name in wanted):
            sys.exit(f"{query}, row {number}: {engine} has {row} instead of {wanted}")


def main():
    folder, scratch = map(pathlib.Path, sys.argv[1:])
    expected = of_duckdb(folder)
    for engine, answers in (("ClickHouse", of_clickhouse(folder, scratch)), ("Spark", of_spark(folder))):
        for path in QUERIES:
            compare(path.name, engine, answers[path.name], expected[path.name])
    print(json.dumps({name: len(rows) for name, rows in expected.items()}))


main()
