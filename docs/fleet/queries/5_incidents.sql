-- Which incidents did the agents report, of which kinds, and how severe was the worst?
SELECT
    kind,
    count(DISTINCT agent) AS agents,
    count(*) AS incidents,
    max(severity) AS severity,
    min(start_ms) AS first_ms,
    max(end_ms) AS last_ms
FROM incidents
WHERE state = 'open'
GROUP BY kind
ORDER BY incidents DESC, kind
