-- fleet_flood: a network (/24, /64) gets many more packets in a minute than ever before, spread over several hosts.
--
-- Source: record statistics, as in the agent's test for exfiltration; heavy tails of traffic (Crovella, Bestavros 1997).
-- Counted events: packets to a network in flows that became no connection, by minute, over all agents. Several targets, with
-- more than ten packets each: a scan sends at most ten to a host (nmap).
-- Null hypothesis: the minutes of a network are exchangeable, with a tail that falls at least as fast as Pareto's with index 1.
-- Then a minute is r times the largest of n earlier ones with a probability of at most 1 / (r (n + 1)). A network that was idle
-- is compared with the mean of the networks' largest minutes, if that is more.
-- Bound: the probability is compared with the accepted number of false alarms a day, divided by the minutes of a day and the
-- number of networks with several targets. At least ten minutes of history are needed.
-- Limits: a flood of completed connections is the agents' own test (http_flood).
INSERT INTO fleet_incidents
WITH
    {window_s:Int64} * 1000 AS window_ms,
    intDiv({end_ms:Int64}, window_ms) * window_ms AS window_start,
    totals AS
    (
        SELECT
            prefix,
            minute,
            max(packets) AS packets_in,
            uniqCombinedMerge(sources) AS sources_in,
            uniqCombinedMerge(targets) AS targets_in,
            uniqMerge(agents) AS agents_in
        FROM prefix_minutes
        WHERE minute >= fromUnixTimestamp64Milli(window_start - {history_s:Int64} * 1000, 'UTC')
            AND minute < fromUnixTimestamp64Milli({end_ms:Int64}, 'UTC')
        GROUP BY prefix, minute
    ),
    largest AS
    (
        SELECT prefix, max(packets_in) AS largest_before
        FROM totals
        WHERE minute < fromUnixTimestamp64Milli(window_start, 'UTC')
        GROUP BY prefix
    ),
    (SELECT if(count() = 0, 0, avg(largest_before)) FROM largest) AS usual,
    -- Minutes without a packet count as well.
    (
        SELECT if(count() = 0, 0, intDiv(window_start - toUnixTimestamp(min(minute)) * 1000, 60000))
        FROM agent_minutes
        WHERE minute >= fromUnixTimestamp64Milli(window_start - {history_s:Int64} * 1000, 'UTC')
    ) AS minutes_before,
    -- Networks that could be tested, however many packets they got.
    (SELECT greatest(1, uniqExactIf(prefix, targets_in >= 2 AND agents_in >= 2)) * 1440 FROM totals) AS tests_a_day,
    found AS
    (
        SELECT
            prefix AS subject,
            min(minute) AS first_minute,
            max(minute) AS last_minute,
            min(greatest(toFloat64(largest_before), usual, 1.) / packets_in / (minutes_before + 1)) AS bound,
            max(packets_in) AS most,
            argMax(sources_in, packets_in) AS sources_of_most,
            argMax(targets_in, packets_in) AS targets_of_most,
            argMax(agents_in, packets_in) AS seen_by_agents
        FROM totals
        LEFT JOIN largest USING (prefix)
        WHERE minute >= fromUnixTimestamp64Milli(window_start, 'UTC') AND minutes_before >= 10
            AND targets_in >= 2 AND agents_in >= 2 AND packets_in > 10 * targets_in
            AND greatest(toFloat64(largest_before), usual, 1.) / packets_in / (minutes_before + 1) <= {false_alarms:Float64} / tests_a_day
        GROUP BY prefix
    ),
    known AS
    (
        SELECT subject, min(start_ms) AS known_start, max(end_ms) AS known_end
        FROM fleet_incidents
        WHERE kind = 'fleet_flood' AND end_ms >= window_start - window_ms
        GROUP BY subject
    )
SELECT
    'fleet_flood' AS kind,
    subject,
    if(known_start > 0, known_start, toInt64(toUnixTimestamp(first_minute)) * 1000) AS start_ms,
    toInt64(toUnixTimestamp(last_minute)) * 1000 + 60000 AS end_ms,
    {end_ms:Int64} AS updated_ms,
    if(known_start > 0, 'continued', 'open') AS state,
    'T1498' AS technique,
    bound AS probability,
    [] AS sources,
    sources_of_most AS sources_count,
    [subject] AS targets,
    targets_of_most AS targets_count,
    seen_by_agents AS agents,
    0 AS service_port,
    0 AS period_ms,
    most AS packets,
    format('{} hosts of {} got {} packets of {} sources in a minute',
        toString(targets_of_most), subject, toString(most), toString(sources_of_most)) AS summary
FROM found
LEFT JOIN known USING (subject)
WHERE end_ms > known_end AND (kind, subject) NOT IN (SELECT kind, subject FROM expected);
