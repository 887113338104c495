-- Live windows: what was counted in each minute (projections/live.py), and the workers of each (reactors/live_workers.py).
-- All of it may be thrown away: nothing that bills or decides reads it.
CREATE SCHEMA live_v1;

CREATE TABLE live_v1.counts (
    minute_ms bigint NOT NULL,
    dimension text NOT NULL,
    key text NOT NULL,
    measure text NOT NULL,
    value bigint NOT NULL,
    PRIMARY KEY (dimension, key, minute_ms, measure)
) WITH (fillfactor = 60);
CREATE INDEX counts_minute ON live_v1.counts (minute_ms, dimension);
COMMENT ON COLUMN live_v1.counts.minute_ms IS 'when it began, by the events'' own time';
COMMENT ON COLUMN live_v1.counts.dimension IS 'all, account, worker or quality';
COMMENT ON COLUMN live_v1.counts.measure IS
    'starts, active:<status>, first_frame:<bucket>, billable_ms, credit_us, failure:<code>, audio_stalls or late';
CREATE VIEW r.live_counts AS SELECT * FROM live_v1.counts;

CREATE TABLE live_v1.workers (
    minute_ms bigint NOT NULL,
    worker_id text NOT NULL,
    phase text NOT NULL,
    slots integer NOT NULL,
    held integer NOT NULL,
    at_ms bigint NOT NULL,
    PRIMARY KEY (minute_ms, worker_id)
) WITH (fillfactor = 60);
COMMENT ON TABLE live_v1.workers IS 'the last state record of each worker in each minute';
CREATE VIEW r.live_workers AS SELECT * FROM live_v1.workers;
