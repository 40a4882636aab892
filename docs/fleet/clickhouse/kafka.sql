-- The topics of Kafka: rows arrive by one, and incidents of the fleet leave by another. Run it after rows.sql and fleet.sql,
-- because ClickHouse begins to read when `queue_to_intake` exists.
CREATE TABLE IF NOT EXISTS queue (row String)
ENGINE = Kafka
SETTINGS kafka_broker_list = 'kafka:9092',
    kafka_topic_list = 'flowml',
    kafka_group_name = 'clickhouse',
    kafka_format = 'RawBLOB',
    kafka_num_consumers = 1,
    kafka_max_block_size = 65536,
    kafka_flush_interval_ms = 2000;

CREATE MATERIALIZED VIEW IF NOT EXISTS queue_to_intake TO intake AS SELECT row FROM queue;

CREATE TABLE IF NOT EXISTS fleet_topic
(
    type String,
    kind String,
    subject String,
    start_ms Int64,
    end_ms Int64,
    updated_ms Int64,
    state String,
    technique String,
    probability Float64,
    sources Array(String),
    sources_count UInt64,
    targets Array(String),
    targets_count UInt64,
    agents UInt64,
    service_port UInt16,
    period_ms UInt64,
    packets UInt64,
    summary String
)
ENGINE = Kafka
SETTINGS kafka_broker_list = 'kafka:9092',
    kafka_topic_list = 'flowml.fleet',
    kafka_group_name = 'clickhouse',
    kafka_format = 'JSONEachRow';

CREATE MATERIALIZED VIEW IF NOT EXISTS fleet_incidents_to_topic TO fleet_topic AS
SELECT 'fleet_incident' AS type, * FROM fleet_incidents;
