-- Which services are used, by how many hosts, and on how many servers?
SELECT
    protocol,
    dst_port,
    count(DISTINCT src_ip) AS clients,
    count(DISTINCT dst_ip) AS servers,
    count(*) AS flows,
    sum(bidirectional_bytes) AS bytes
FROM flows
WHERE protocol IN (6, 17)
GROUP BY protocol, dst_port
ORDER BY flows DESC, protocol, dst_port
LIMIT 20
