-- fleet_scan: a source whose first contacts with hosts of the fleet do not become connections.
--
-- Source: threshold random walk (Jung, Paxson, Berger, Balakrishnan 2004) over the contacts that all agents saw.
-- Counted events: the first TCP contact of a source with a target, in the window and in the history before it. It has failed if
-- it became no connection.
-- Null hypothesis: first contacts of a source fail independently, each with a probability of at most theta_0. theta_0 is the
-- mean of the sources' rates in the fleet's own history, each by Laplace's rule, with one source of rate 1/2 more, and at most
-- 1/2 as for a single agent. Of a scan's contacts 0.9 fail, as for a single agent.
-- Bound: the likelihood ratio is a supermartingale that begins with 1 in each window. By Ville's inequality it ever reaches L
-- with a probability of at most 1/L. L is the number of sources in a day (those of this window, times the windows of a day)
-- divided by the accepted number of false alarms a day.
-- Limits: scans by UDP and ICMP, and of ports that are open on nearly every host, are not counted.
INSERT INTO fleet_incidents
WITH
    {window_s:Int64} * 1000 AS window_ms,
    intDiv({end_ms:Int64}, window_ms) * window_ms AS window_start,
    contacts AS
    (
        SELECT
            src_ip,
            dst_ip,
            min(first_ms) AS contact_ms,
            max(answered) AS is_answered,
            if(uniqExact(dst_port) = 1, any(dst_port), 0) AS port,
            uniqMergeState(agents) AS seen_by
        FROM pairs
        WHERE protocol = 6
        GROUP BY src_ip, dst_ip
        HAVING contact_ms >= window_start - {history_s:Int64} * 1000 AND contact_ms < {end_ms:Int64}
    ),
    (
        SELECT least(0.5, (0.5 + sum((failed + 1) / (tried + 2))) / (1 + count()))
        FROM
        (
            SELECT count() AS tried, countIf(is_answered = 0) AS failed
            FROM contacts
            WHERE contact_ms < window_start
            GROUP BY src_ip
        )
    ) AS theta_0,
    0.9 AS theta_1,
    (
        SELECT greatest(1, uniqExact(src_ip)) * 86400 / {window_s:Int64} / {false_alarms:Float64}
        FROM contacts
        WHERE contact_ms >= window_start
    ) AS ratio_needed,
    -- Only sources with so many targets can reach the ratio. The sketches decide this without reading pairs.
    (
        SELECT groupArray(src_ip)
        FROM
        (
            SELECT src_ip
            FROM source_minutes
            WHERE minute >= toStartOfMinute(fromUnixTimestamp64Milli(window_start, 'UTC'))
            GROUP BY src_ip
            HAVING uniqCombinedMerge(unanswered) >= 0.9 * log(ratio_needed) / log(theta_1 / theta_0)
        )
    ) AS candidates,
    found AS
    (
        SELECT
            src_ip AS subject,
            min(contact_ms) AS first_event,
            max(contact_ms) AS last_event,
            count() AS tried,
            countIf(is_answered = 0) AS failed,
            exp(-(failed * log(theta_1 / theta_0) + (tried - failed) * log((1 - theta_1) / (1 - theta_0)))) AS bound,
            arraySlice(arraySort(groupArray(dst_ip)), 1, 8) AS first_targets,
            uniqMerge(seen_by) AS seen_by_agents,
            if(uniqExact(port) = 1, any(port), 0) AS port_of_all
        FROM contacts
        WHERE contact_ms >= window_start AND has(candidates, src_ip)
        GROUP BY src_ip
        HAVING bound <= 1 / ratio_needed AND seen_by_agents >= 2
    ),
    known AS
    (
        SELECT subject, min(start_ms) AS known_start, max(end_ms) AS known_end
        FROM fleet_incidents
        WHERE kind = 'fleet_scan' AND end_ms >= window_start - window_ms
        GROUP BY subject
    )
SELECT
    'fleet_scan' AS kind,
    subject,
    if(known_start > 0, known_start, first_event) AS start_ms,
    last_event AS end_ms,
    {end_ms:Int64} AS updated_ms,
    if(known_start > 0, 'continued', 'open') AS state,
    'T1018' AS technique,
    bound AS probability,
    [subject] AS sources,
    1 AS sources_count,
    first_targets AS targets,
    tried AS targets_count,
    seen_by_agents AS agents,
    port_of_all AS service_port,
    0 AS period_ms,
    0 AS packets,
    format('{} tried {} hosts of {} agents for the first time, and {} did not answer',
        subject, toString(tried), toString(seen_by_agents), toString(failed)) AS summary
FROM found
LEFT JOIN known USING (subject)
WHERE last_event > known_end AND (kind, subject) NOT IN (SELECT kind, subject FROM expected);
