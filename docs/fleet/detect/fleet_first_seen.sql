-- fleet_first_seen: several hosts use a destination that no host of the fleet has used before.
--
-- Counted events: hosts with a completed connection or an answered datagram to a destination, within one window of the
-- destination's first contact. The history is the same count of earlier new destinations.
-- Null hypothesis: after each host, a further host follows within the window with a probability of at most q, independently of
-- the others. So the number of hosts is geometric. q is the estimate of the fleet's own history by Laplace's rule.
-- Bound: k hosts have a probability of q^(k-1). It is compared with the accepted number of false alarms a day, divided by the
-- number of new destinations a day (those of the current and the previous window, scaled to a day).
-- The fleet must have been watched for a window before: in its first window every destination is new.
-- Limits: a new server that all hosts begin to use is such an event too. Name it in `expected`.
INSERT INTO fleet_incidents
WITH
    {window_s:Int64} * 1000 AS window_ms,
    intDiv({end_ms:Int64}, window_ms) * window_ms AS window_start,
    uses AS
    (
        SELECT dst_ip, src_ip, min(first_ms) AS use_ms, uniqMergeState(agents) AS seen_by,
            if(uniqExact(dst_port) = 1, any(dst_port), 0) AS port
        FROM pairs
        WHERE answered = 1
        GROUP BY dst_ip, src_ip
        HAVING use_ms < {end_ms:Int64}
    ),
    (SELECT if(count() = 0, {end_ms:Int64}, min(use_ms)) FROM uses) AS watched_since,
    (
        SELECT groupArray((dst_ip, first_use))
        FROM (SELECT dst_ip, min(use_ms) AS first_use FROM uses GROUP BY dst_ip)
        WHERE first_use >= window_start - {history_s:Int64} * 1000 AND first_use >= watched_since + window_ms
    ) AS new_destinations,
    destinations AS
    (
        SELECT
            dst_ip AS subject,
            min(use_ms) AS first_event,
            arraySort(groupArray(use_ms)) AS times,
            arrayCount(use -> use < times[1] + window_ms, times) AS hosts,
            times[hosts] AS last_event,
            arraySlice(arraySort(groupArray(src_ip)), 1, 8) AS first_sources,
            uniqMerge(seen_by) AS seen_by_agents,
            if(uniqExact(port) = 1, any(port), 0) AS port_of_all
        FROM uses
        WHERE dst_ip IN (SELECT arrayJoin(new_destinations).1)
        GROUP BY dst_ip
    ),
    (
        SELECT (1 + sum(hosts - 1)) / (2 + sum(hosts))
        FROM destinations
        WHERE first_event < window_start - window_ms
    ) AS q,
    (
        SELECT greatest(1, countIf(first_event >= window_start - window_ms))
            * 86400000 / ({end_ms:Int64} - window_start + window_ms)
        FROM destinations
    ) AS new_a_day,
    known AS
    (
        SELECT subject, min(start_ms) AS known_start, max(end_ms) AS known_end
        FROM fleet_incidents
        WHERE kind = 'fleet_first_seen' AND end_ms >= window_start - 2 * window_ms
        GROUP BY subject
    )
SELECT
    'fleet_first_seen' AS kind,
    subject,
    if(known_start > 0, known_start, first_event) AS start_ms,
    last_event AS end_ms,
    {end_ms:Int64} AS updated_ms,
    if(known_start > 0, 'continued', 'open') AS state,
    'T1071' AS technique,
    pow(q, hosts - 1) AS probability,
    first_sources AS sources,
    hosts AS sources_count,
    [subject] AS targets,
    1 AS targets_count,
    seen_by_agents AS agents,
    port_of_all AS service_port,
    0 AS period_ms,
    0 AS packets,
    format('{} hosts use {}, which no host used before', toString(hosts), subject) AS summary
FROM destinations
LEFT JOIN known USING (subject)
WHERE first_event >= window_start - window_ms AND hosts >= 2 AND last_event > known_end
    AND probability <= {false_alarms:Float64} / new_a_day
    AND (kind, subject) NOT IN (SELECT kind, subject FROM expected);
