"""The queries of docs/fleet/queries with Spark, over the Parquet files that agents have written.

spark-submit queries.py FOLDER [QUERY.sql]...

FOLDER is a path or an address of object storage (s3a://bucket/flowml) with a folder for each agent, in which an agent writes
with `-o parquet=FOLDER/agent=NAME`. Prints each result as JSON lines after the name of its query. Without names, all queries
run.
"""

import json
import pathlib
import sys

from pyspark.sql import SparkSession

QUERIES = pathlib.Path(__file__).resolve().parents[1] / "queries"

# The names of the tables in queries, and those of the folders.
TABLES = {"flows": "flows", "host_windows": "hosts", "incidents": "incidents", "aggregates": "aggregates"}


def main():
    folder, *names = sys.argv[1:]
    spark = SparkSession.builder.appName("flowml").getOrCreate()
    # Spark warns that a pattern of paths is no path.
    spark.sparkContext.setLogLevel("ERROR")
    for table, name in TABLES.items():
        # A folder `agent=NAME` becomes the column `agent`.
        reader = spark.read.option("basePath", folder).option("mergeSchema", "true")
        reader.parquet(f"{folder}/*/{name}").createOrReplaceTempView(table)
    for path in map(pathlib.Path, names) if names else sorted(QUERIES.glob("*.sql")):
        print("#", path.name)
        for row in spark.sql(path.read_text()).collect():
            print(json.dumps(row.asDict()))
    spark.stop()


if __name__ == "__main__":
    main()
