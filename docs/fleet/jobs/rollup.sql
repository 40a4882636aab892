-- Computes the totals of the minutes since `since_ms` again, from deduplicated rows. Run it every minute with a time that
-- is earlier than the latest row that may still arrive: the active timeout, and the time for which a broker was away.
INSERT INTO agent_minutes
SELECT
    toStartOfMinute(time) AS minute,
    agent,
    count() AS flows,
    sum(bidirectional_packets) AS packets,
    sum(bidirectional_bytes) AS bytes,
    countIf(anomaly) AS anomalies,
    uniqCombinedState(src_ip) AS sources,
    uniqCombinedState(dst_ip) AS targets
FROM flows FINAL
WHERE time >= toStartOfMinute(fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC'))
GROUP BY minute, agent;

-- The packets of a flow are spread evenly over the minutes that it lasted.
INSERT INTO prefix_minutes
SELECT
    minute,
    prefix,
    toUInt64(sum(packets)) AS packets,
    toUInt64(sum(bytes)) AS bytes,
    uniqCombinedState(src_ip) AS sources,
    uniqCombinedState(dst_ip) AS targets,
    uniqState(toString(agent)) AS agents
FROM
(
    SELECT
        agent,
        src_ip,
        dst_ip,
        intDiv(bidirectional_first_seen_ms, 60000) AS first_minute,
        intDiv(bidirectional_last_seen_ms, 60000) AS last_minute,
        toDateTime(arrayJoin(range(toUInt32(first_minute), toUInt32(last_minute + 1))) * 60, 'UTC') AS minute,
        if(ip_version = 4,
            IPv4NumToString(bitAnd(IPv4StringToNumOrDefault(dst_ip), 0xffffff00)) || '/24',
            IPv6NumToString(IPv6CIDRToRange(toIPv6OrDefault(dst_ip), 64).1) || '/64') AS prefix,
        src2dst_packets / (last_minute - first_minute + 1) AS packets,
        src2dst_bytes / (last_minute - first_minute + 1) AS bytes
    FROM flows FINAL
    WHERE time >= toStartOfMinute(fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')) - INTERVAL 1 HOUR
        AND bidirectional_last_seen_ms >= bidirectional_first_seen_ms
        AND bidirectional_last_seen_ms - bidirectional_first_seen_ms <= 86400000
        AND if(protocol = 6, src2dst_ack_packets = 0, dst2src_packets = 0)
        AND is_routed(dst_ip)
)
WHERE minute >= toStartOfMinute(fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC'))
GROUP BY minute, prefix;
