-- The history of each session: what happened, and what the session was from then on.
CREATE SCHEMA history_v1;

CREATE TABLE history_v1.session_events (
    session_id text NOT NULL,
    seq integer NOT NULL,
    account_id text NOT NULL,
    type text NOT NULL,
    public boolean NOT NULL,
    event_id text NOT NULL,
    attempt integer NOT NULL,
    occurred_ms bigint NOT NULL,
    recorded_ms bigint NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    detail bytea NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (session_id, seq)
);
COMMENT ON COLUMN history_v1.session_events.type IS 'as customers are told of it: a transition (events/sessions.py)';
COMMENT ON COLUMN history_v1.session_events.detail IS 'the event''s data as in the log, erasable fields encrypted';
COMMENT ON COLUMN history_v1.session_events.state IS
    'the fold state after it, without `created`, which is the detail of seq 1, and `seen`';
CREATE VIEW r.session_events AS SELECT * FROM history_v1.session_events;

CREATE TABLE history_v1.attempts (
    session_id text NOT NULL,
    attempt integer NOT NULL,
    n integer NOT NULL,
    late_frames bigint NOT NULL,
    dropped_frames bigint NOT NULL,
    skew_ms bigint,
    PRIMARY KEY (session_id, attempt)
) WITH (fillfactor = 60);
COMMENT ON TABLE history_v1.attempts IS 'what the last accepted heartbeat of each attempt said of its frames';
CREATE VIEW r.attempts AS SELECT * FROM history_v1.attempts;
