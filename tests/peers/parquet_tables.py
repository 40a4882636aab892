"""Compares flows.parquet with the CSV of the same run by pandas and DuckDB, and prints the results as one JSON object.

Arguments: the folder of the tables, and the CSV file.
"""

import json
import sys

import duckdb
import pandas
import pyarrow.parquet


def main():
    folder, csv = sys.argv[1:]
    path = f"{folder}/flows.parquet"
    frame = pandas.read_parquet(path)
    text = pandas.read_csv(csv)
    connection = duckdb.connect()
    described = connection.execute(f"DESCRIBE SELECT * FROM '{path}'").fetchall()
    totals = "count(*), sum(bidirectional_packets)::BIGINT, sum(bidirectional_bytes)::BIGINT"
    differences = []
    for column in frame.columns:
        one, other = frame[column], text[column]
        if pandas.api.types.is_numeric_dtype(other) and not pandas.api.types.is_bool_dtype(other):
            same = (one.astype(float).sub(other.astype(float)).abs() <= 1e-9 * other.abs()) | (one.isna() & other.isna())
        elif column.startswith("splt_"):
            same = one.map(list) == other.map(json.loads)
        else:
            same = (one.astype(object) == other.astype(object)) | (one.isna() & other.isna())
        if not same.all():
            differences.append(column)
    fields = pyarrow.parquet.read_schema(path)
    print(
        json.dumps(
            {
                "pandas_types": {column: str(kind) for column, kind in frame.dtypes.items()},
                "pandas_totals": [
                    len(frame),
                    int(frame["bidirectional_packets"].sum()),
                    int(frame["bidirectional_bytes"].sum()),
                ],
                "duckdb_types": {row[0]: row[1] for row in described},
                "duckdb_totals": list(connection.execute(f"SELECT {totals} FROM '{path}'").fetchone()),
                "csv_totals": list(connection.execute(f"SELECT {totals} FROM '{csv}'").fetchone()),
                "units": {
                    field.name: (field.metadata or {}).get(b"unit", b"").decode() for field in fields
                },
                "differences": differences,
            }
        )
    )


if __name__ == "__main__":
    main()
