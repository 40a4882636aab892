-- Which sources tried hosts that did not complete a connection?
SELECT
    src_ip,
    count(DISTINCT dst_ip) AS targets,
    count(DISTINCT dst_port) AS ports,
    count(DISTINCT agent) AS agents,
    count(*) AS attempts
FROM flows
WHERE protocol = 6 AND src2dst_packets > 0 AND src2dst_ack_packets = 0
GROUP BY src_ip
ORDER BY attempts DESC, src_ip
LIMIT 20
