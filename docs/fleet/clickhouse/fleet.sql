-- What the fleet stores besides the rows: which rows have arrived, which pairs of hosts exist, totals by minute, and the
-- incidents of the fleet. Run it after rows.sql.

-- Whether an address is that of one host, and not only on its own link: no multicast, broadcast and link-local address.
CREATE FUNCTION IF NOT EXISTS is_routed AS (address) ->
    NOT match(address, '^(22[4-9]|23[0-9]|255)\\.|^169\\.254\\.|^ff|^fe[89ab]|^0\\.0\\.0\\.0$');

-- Every row that has arrived, by its number. A gap in the numbers of an agent is a lost row.
CREATE TABLE IF NOT EXISTS messages
(
    agent LowCardinality(String),
    generation UInt64 CODEC(Delta, ZSTD),
    sequence UInt64 CODEC(Delta, ZSTD),
    type LowCardinality(String),
    received DateTime('UTC') DEFAULT now() CODEC(Delta, ZSTD)
)
ENGINE = ReplacingMergeTree
ORDER BY (agent, generation, sequence)
TTL received + INTERVAL 30 DAY;

CREATE MATERIALIZED VIEW IF NOT EXISTS messages_of_intake TO messages AS
SELECT
    JSONExtractString(row, 'agent') AS agent,
    JSONExtractUInt(row, 'generation') AS generation,
    JSONExtractUInt(row, 'sequence') AS sequence,
    JSONExtractString(row, 'type') AS type
FROM intake
WHERE JSONType(row, 'generation') = 'Int64' AND JSONType(row, 'sequence') = 'Int64' AND agent != '' AND type != '';

-- Messages that are no rows. They are kept for a week, so that their cause can be found.
CREATE TABLE IF NOT EXISTS rejected
(
    received DateTime('UTC') DEFAULT now(),
    row String CODEC(ZSTD)
)
ENGINE = MergeTree
ORDER BY received
TTL received + INTERVAL 7 DAY;

CREATE MATERIALIZED VIEW IF NOT EXISTS rejected_of_intake TO rejected AS
SELECT row
FROM intake
WHERE NOT (JSONType(row, 'generation') = 'Int64' AND JSONType(row, 'sequence') = 'Int64'
    AND JSONExtractString(row, 'agent') != '' AND JSONExtractString(row, 'type') != '');

-- The rows of each start of an agent: how many are missing, and whether the last one, the summary, has arrived.
CREATE VIEW IF NOT EXISTS deliveries AS
SELECT
    agent,
    generation,
    uniqExact(sequence) AS received,
    max(sequence) + 1 - uniqExact(sequence) AS missing,
    max(type = 'summary') AS has_ended
FROM messages
GROUP BY agent, generation;

-- Every pair of hosts with its service, without neighbour discovery. Minimum, maximum and sketches do not change when a row arrives twice, so this view
-- needs no deduplication. A pair is answered when its connection was completed, as seen from either side:
-- the initiator has sent ACK, or, where only its peer is seen, the peer has sent more than RST.
CREATE TABLE IF NOT EXISTS pairs
(
    src_ip String CODEC(ZSTD),
    dst_ip String CODEC(ZSTD),
    protocol UInt8,
    dst_port UInt16,
    first_ms SimpleAggregateFunction(min, Int64),
    last_ms SimpleAggregateFunction(max, Int64),
    answered SimpleAggregateFunction(max, UInt8),
    agents AggregateFunction(uniq, String)
)
ENGINE = AggregatingMergeTree
ORDER BY (dst_ip, protocol, dst_port, src_ip)
TTL toDateTime(intDiv(last_ms, 1000)) + INTERVAL 30 DAY;

CREATE MATERIALIZED VIEW IF NOT EXISTS pairs_of_flows TO pairs AS
SELECT
    src_ip,
    dst_ip,
    protocol,
    dst_port,
    min(bidirectional_first_seen_ms) AS first_ms,
    max(bidirectional_last_seen_ms) AS last_ms,
    -- Missing numbers of packets with a flag are no evidence of a scan.
    max(ifNull(if(protocol = 6,
        src2dst_ack_packets > 0 OR (src2dst_packets = 0 AND dst2src_packets > dst2src_rst_packets),
        dst2src_packets > 0), true)) AS answered,
    uniqState(toString(agent)) AS agents
FROM flows
WHERE is_routed(dst_ip) AND NOT ifNull(protocol = 58 AND icmp_type BETWEEN 133 AND 137, false)
GROUP BY src_ip, dst_ip, protocol, dst_port;

-- The number of targets of each source over all agents, as sketches (HyperLogLog) of each minute.
CREATE TABLE IF NOT EXISTS source_minutes
(
    minute DateTime('UTC') CODEC(Delta, ZSTD),
    src_ip String CODEC(ZSTD),
    targets AggregateFunction(uniqCombined, String),
    unanswered AggregateFunction(uniqCombined, String),
    agents AggregateFunction(uniq, String)
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(minute)
ORDER BY (minute, src_ip)
TTL minute + INTERVAL 30 DAY;

CREATE MATERIALIZED VIEW IF NOT EXISTS source_minutes_of_flows TO source_minutes AS
SELECT
    toStartOfMinute(fromUnixTimestamp64Milli(bidirectional_first_seen_ms, 'UTC')) AS minute,
    src_ip,
    uniqCombinedState(dst_ip) AS targets,
    uniqCombinedState(if(protocol = 6 AND src2dst_ack_packets = 0, dst_ip, '')) AS unanswered,
    uniqState(toString(agent)) AS agents
FROM flows
WHERE is_routed(dst_ip) AND NOT ifNull(protocol = 58 AND icmp_type BETWEEN 133 AND 137, false)
GROUP BY minute, src_ip;

-- Totals by minute. jobs/rollup.sql computes them again from deduplicated rows while rows still arrive. A total only grows
-- when a late row arrives, so the largest is the newest, and computing a minute twice does no harm.
CREATE TABLE IF NOT EXISTS agent_minutes
(
    minute DateTime('UTC') CODEC(Delta, ZSTD),
    agent LowCardinality(String),
    flows SimpleAggregateFunction(max, UInt64),
    packets SimpleAggregateFunction(max, UInt64),
    bytes SimpleAggregateFunction(max, UInt64),
    anomalies SimpleAggregateFunction(max, UInt64),
    sources AggregateFunction(uniqCombined, String),
    targets AggregateFunction(uniqCombined, String)
)
ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(minute)
ORDER BY (minute, agent)
TTL minute + INTERVAL 400 DAY;

-- Packets to each network (/24, /64) in flows that became no connection, by minute.
CREATE TABLE IF NOT EXISTS prefix_minutes
(
    minute DateTime('UTC') CODEC(Delta, ZSTD),
    prefix String CODEC(ZSTD),
    packets SimpleAggregateFunction(max, UInt64),
    bytes SimpleAggregateFunction(max, UInt64),
    sources AggregateFunction(uniqCombined, String),
    targets AggregateFunction(uniqCombined, String),
    agents AggregateFunction(uniq, String)
)
ENGINE = AggregatingMergeTree
PARTITION BY toDate(minute)
ORDER BY (minute, prefix)
TTL minute + INTERVAL 60 DAY;

-- Subjects that the operator expects: a new service that all hosts use, a monitor. They become no incident.
CREATE TABLE IF NOT EXISTS expected
(
    kind LowCardinality(String),
    subject String,
    reason String
)
ENGINE = ReplacingMergeTree
ORDER BY (kind, subject);

-- Incidents of the fleet. The latest row of a kind, subject and start is its state.
CREATE TABLE IF NOT EXISTS fleet_incidents
(
    kind LowCardinality(String) COMMENT 'fleet_scan, fleet_flood, fleet_beacon or fleet_first_seen',
    subject String COMMENT 'The source, the network, or the destination',
    start_ms Int64 COMMENT 'Unix time of its first event',
    end_ms Int64 COMMENT 'Unix time of its last event so far',
    updated_ms Int64 COMMENT 'Unix time of the evaluation',
    state LowCardinality(String) COMMENT 'open at its start, continued later',
    technique LowCardinality(String) COMMENT 'Technique of MITRE ATT&CK',
    probability Float64 COMMENT 'Bound on the probability of a false alarm, under the assumptions of DETECTION.md',
    sources Array(String) COMMENT 'First source hosts',
    sources_count UInt64 COMMENT 'Number of source hosts',
    targets Array(String) COMMENT 'First target hosts',
    targets_count UInt64 COMMENT 'Number of target hosts',
    agents UInt64 COMMENT 'Number of agents that saw a part of it',
    service_port UInt16 COMMENT 'Port of the service, 0 for several',
    period_ms UInt64 COMMENT 'Time between two calls of a beacon, otherwise 0',
    packets UInt64 COMMENT 'Packets of the largest minute of a flood, otherwise 0',
    summary String COMMENT 'The incident in one sentence'
)
ENGINE = ReplacingMergeTree(updated_ms)
ORDER BY (kind, subject, start_ms)
TTL toDateTime(intDiv(end_ms, 1000)) + INTERVAL 400 DAY;
