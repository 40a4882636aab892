-- The statistics of all agents under one model, added up: the input of `flowml fleet merge`, one row for each cluster.
-- Parameters: model (the SHA-256 hash of its file), since_ms and end_ms (Unix time: the minutes that are merged).
SELECT
    model,
    max(model_number) AS model_number,
    learner,
    cluster,
    min(s.start_ms) AS start_ms,
    max(s.end_ms) AS end_ms,
    sum(s.rows) AS rows,
    sum(s.distance) AS distance,
    sumForEach(s.sums) AS sums,
    sumForEach(s.squares) AS squares,
    sumForEach(s.scores) AS scores
FROM statistics AS s FINAL
WHERE s.model = {model:String} AND s.end_ms > {since_ms:Int64} AND s.end_ms <= {end_ms:Int64}
GROUP BY model, learner, cluster
ORDER BY learner, cluster
SETTINGS output_format_json_quote_64bit_integers = 0
