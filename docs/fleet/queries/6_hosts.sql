-- Which hosts had the most unusual two seconds, and with how many peers?
SELECT
    address,
    count(*) AS windows,
    max(source_peers) AS most_peers,
    sum(CASE WHEN anomaly THEN 1 ELSE 0 END) AS anomalies,
    min(probability) AS least_probability
FROM host_windows
GROUP BY address
ORDER BY anomalies DESC, windows DESC, address
LIMIT 20
