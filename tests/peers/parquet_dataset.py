"""Prints the numbers of flows and packets that pandas, pyarrow and DuckDB find in a folder of Parquet files, as one JSON object.

Argument: the folder.
"""

import json
import sys

import duckdb
import pandas
import pyarrow.dataset


def main():
    (folder,) = sys.argv[1:]
    frame = pandas.read_parquet(folder)
    table = pyarrow.dataset.dataset(folder, format="parquet").to_table(columns=["bidirectional_packets"])
    totals = f"SELECT count(*), sum(bidirectional_packets)::BIGINT FROM '{folder}/*.parquet'"
    print(
        json.dumps(
            {
                "pandas": [len(frame), int(frame["bidirectional_packets"].sum())],
                "pyarrow": [table.num_rows, sum(table["bidirectional_packets"].to_pylist())],
                "duckdb": list(duckdb.connect().execute(totals).fetchone()),
            }
        )
    )


if __name__ == "__main__":
    main()
