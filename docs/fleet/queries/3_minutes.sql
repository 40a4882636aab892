-- How much traffic did each agent see in each minute?
SELECT
    agent,
    CAST(floor(bidirectional_last_seen_ms / 60000) AS BIGINT) AS minute,
    count(*) AS flows,
    sum(bidirectional_packets) AS packets,
    sum(bidirectional_bytes) AS bytes,
    sum(CASE WHEN anomaly THEN 1 ELSE 0 END) AS anomalies
FROM flows
GROUP BY agent, CAST(floor(bidirectional_last_seen_ms / 60000) AS BIGINT)
ORDER BY minute, agent
