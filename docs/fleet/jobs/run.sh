#!/bin/sh
# Runs the roll-ups and the detections every minute with clickhouse-client.
#
# FLOWML_WINDOW_S       length of a window of the detections [3600]
# FLOWML_HISTORY_S      history that a window is compared with [604800]
# FLOWML_FALSE_ALARMS   accepted false alarms of each kind a day [1]
# FLOWML_LATE_S         rows may arrive so late: the active timeout, and the time for which a broker was away [7200]
set -eu

window=${FLOWML_WINDOW_S:-3600}
history=${FLOWML_HISTORY_S:-604800}
false_alarms=${FLOWML_FALSE_ALARMS:-1}
late=${FLOWML_LATE_S:-7200}

# evaluate FILE END_MS: a statement fails alone, so that the others still run.
evaluate() {
    clickhouse-client --host "${CLICKHOUSE_HOST:-clickhouse}" --user "$CLICKHOUSE_USER" --password "$CLICKHOUSE_PASSWORD" \
        --database "${CLICKHOUSE_DB:-flowml}" --queries-file "$1" --param_since_ms="$(( ($2 / 1000 - late) * 1000 ))" \
        --param_end_ms="$2" --param_window_s="$window" --param_history_s="$history" \
        --param_false_alarms="$false_alarms" || echo "$1 failed; it is tried again in a minute" >&2
}

while :; do
    now=$(date +%s)
    evaluate /fleet/jobs/rollup.sql "${now}000"
    # The window that has ended last is evaluated again, because some of its rows arrive late.
    ended=$(( now / window * window * 1000 - 1 ))
    for file in /fleet/detect/*.sql; do
        evaluate "$file" "$ended"
        evaluate "$file" "${now}000"
    done
    sleep "$(( 60 - $(date +%s) % 60 ))"
done
