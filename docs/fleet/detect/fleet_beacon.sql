-- fleet_beacon: several hosts call a new destination, and all of them in one rhythm.
--
-- Source: the regularity of gaps and the novelty of targets as in BAYWATCH (Hu and others 2016); the largest possible smallest
-- gap (spacings of uniform points); Fisher's method.
-- Counted events: calls, which are completed TCP connections as in the test of a single agent: several with less than half a
-- second between them are one. The destination is new in this window or the previous one, and
-- not in the first window in which the fleet was watched.
-- Null hypothesis: the calls of each host are at random times (Poisson), independently of the other hosts. Then n gaps that last
-- t together are uniform spacings, and the smallest of them is at least m with a probability of (1 - n m / t)^(n - 1).
-- The probabilities of all hosts with at least four calls are combined by Fisher's method. A host whose mean gap differs by more
-- than 15 % from the median counts as 1, so leaving it out gains nothing.
-- Bound: each call is one look at the evidence. The probability is compared with the accepted number of false alarms a day,
-- divided by the looks and by the tested destinations of a day.
-- Limits: new benign software that polls its server in one rhythm on several hosts is reported. Name the server in `expected`.
INSERT INTO fleet_incidents
WITH
    {window_s:Int64} * 1000 AS window_ms,
    intDiv({end_ms:Int64}, window_ms) * window_ms AS window_start,
    (SELECT min(first_ms) FROM pairs) AS watched_since,
    (
        SELECT groupArray((dst_ip, dst_port))
        FROM
        (
            SELECT dst_ip, dst_port
            FROM pairs
            WHERE protocol = 6
            GROUP BY dst_ip, dst_port
            HAVING min(first_ms) >= greatest(window_start, watched_since + 2 * window_ms) - window_ms
                AND min(first_ms) < {end_ms:Int64} AND uniqExact(src_ip) >= 2
        )
    ) AS new_destinations,
    callers AS
    (
        SELECT
            dst_ip,
            dst_port,
            src_ip,
            any(toString(agent)) AS an_agent,
            arraySort(groupUniqArray(bidirectional_first_seen_ms)) AS connections,
            arrayFilter((now_ms, before_ms) -> now_ms - before_ms >= 500, connections,
                arrayPushFront(arrayPopBack(connections), connections[1] - 500)) AS calls,
            length(calls) - 1 AS gaps,
            calls[-1] - calls[1] AS lasted_ms,
            arrayMin(arrayPopFront(arrayDifference(calls))) AS least_ms,
            -- Times are whole milliseconds, so a gap may be one shorter.
            pow(greatest(0, 1 - gaps * greatest(0, least_ms - 1) / lasted_ms), gaps - 1) AS chance
        FROM flows
        WHERE time >= fromUnixTimestamp64Milli(window_start - window_ms, 'UTC')
            AND bidirectional_first_seen_ms >= window_start - window_ms AND bidirectional_first_seen_ms < {end_ms:Int64}
            AND protocol = 6 AND NOT ifNull(continues, false)
            AND (src2dst_ack_packets > 0 OR (src2dst_packets = 0 AND dst2src_packets > dst2src_rst_packets))
            AND has(new_destinations, (dst_ip, toUInt16(dst_port)))
        GROUP BY dst_ip, dst_port, src_ip
        HAVING gaps >= 3
    ),
    destinations AS
    (
        SELECT
            if(position(dst_ip, ':') > 0, '[' || dst_ip || ']', dst_ip) || ':' || toString(dst_port) AS subject,
            any(dst_ip) AS target,
            any(dst_port) AS port,
            min(calls[1]) AS first_event,
            max(calls[-1]) AS last_event,
            count() AS hosts,
            sum(gaps + 1) AS looks,
            median(lasted_ms / gaps) AS period,
            groupArray((src_ip, lasted_ms / gaps, chance)) AS all_hosts,
            arrayFilter(host -> abs(host.2 - period) <= 0.15 * period, all_hosts) AS rhythmic,
            arraySum(host -> -log(greatest(host.3, 1e-300)), rhythmic) AS evidence,
            exp(-evidence) * arraySum(i -> pow(evidence, i) / tgamma(i + 1), range(hosts)) AS fisher,
            uniqExact(an_agent) AS seen_by_agents
        FROM callers
        GROUP BY dst_ip, dst_port
        HAVING hosts >= 2
    ),
    (SELECT greatest(1, count()) * 86400 / {window_s:Int64} FROM destinations) AS tests_a_day,
    known AS
    (
        SELECT subject, min(start_ms) AS known_start, max(end_ms) AS known_end
        FROM fleet_incidents
        WHERE kind = 'fleet_beacon' AND end_ms >= window_start - 2 * window_ms
        GROUP BY subject
    )
SELECT
    'fleet_beacon' AS kind,
    subject,
    if(known_start > 0, known_start, first_event) AS start_ms,
    last_event AS end_ms,
    {end_ms:Int64} AS updated_ms,
    if(known_start > 0, 'continued', 'open') AS state,
    'T1071' AS technique,
    least(1, fisher * looks) AS probability,
    arraySlice(arraySort(arrayMap(host -> host.1, rhythmic)), 1, 8) AS sources,
    length(rhythmic) AS sources_count,
    [target] AS targets,
    1 AS targets_count,
    seen_by_agents AS agents,
    port AS service_port,
    toUInt64(period) AS period_ms,
    0 AS packets,
    format('{} hosts call {} every {} s, and no host called it before',
        toString(sources_count), subject, toString(round(period / 1000, 1))) AS summary
FROM destinations
LEFT JOIN known USING (subject)
WHERE sources_count >= 2 AND last_event > known_end
    AND probability <= {false_alarms:Float64} / tests_a_day
    AND (kind, subject) NOT IN (SELECT kind, subject FROM expected);
