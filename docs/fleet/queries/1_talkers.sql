-- Which hosts send and receive most?
SELECT
    src_ip,
    count(*) AS flows,
    count(DISTINCT dst_ip) AS peers,
    sum(bidirectional_packets) AS packets,
    sum(bidirectional_bytes) AS bytes
FROM flows
GROUP BY src_ip
ORDER BY bytes DESC, src_ip
LIMIT 20
