#!/bin/sh
# Makes the tables in the database $CLICKHOUSE_DB, in the order in which they depend on each other. The image of ClickHouse runs
# it once, when its volume is empty.
set -eu
for name in rows fleet kafka; do
    clickhouse-client --host 127.0.0.1 --user "$CLICKHOUSE_USER" --password "$CLICKHOUSE_PASSWORD" \
        --database "$CLICKHOUSE_DB" --queries-file "/fleet/clickhouse/$name.sql"
done
