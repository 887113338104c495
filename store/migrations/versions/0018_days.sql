-- Which sessions ended between two offsets of a partition.
CREATE INDEX session_events_ends ON history_v1.session_events (partition, "offset")
    WHERE type IN ('session.ended', 'session.failed', 'session.canceled');

-- Sealed days: what was decided and signed, once for each day. Leaves and levels follow from the ledger and the offsets, and
-- are kept so that a path is found without reading a day's sessions again.
CREATE TABLE sealed_days (
    day date PRIMARY KEY,
    leaves integer NOT NULL,
    left_out text[] NOT NULL,
    offsets bigint[] NOT NULL,
    previous text NOT NULL,
    root text NOT NULL,
    hash text NOT NULL,
    key_id text NOT NULL,
    public_key text NOT NULL,
    signature text NOT NULL,
    sealed_ms bigint NOT NULL,
    published boolean NOT NULL DEFAULT false
);
COMMENT ON COLUMN sealed_days.offsets IS 'by partition of sessions.v1: where the next day begins';
COMMENT ON COLUMN sealed_days.published IS 'its event has been acknowledged';

CREATE TABLE day_leaves (
    session_id text COLLATE "C" NOT NULL,
    day date NOT NULL,
    partition integer NOT NULL,
    index integer NOT NULL,
    entries integer NOT NULL,
    PRIMARY KEY (session_id, day)
);
CREATE INDEX day_leaves_partition ON day_leaves (partition, day);
COMMENT ON COLUMN day_leaves.entries IS 'of the session by then: the leaf is over the first so many';

CREATE TABLE day_levels (
    day date NOT NULL,
    level smallint NOT NULL,
    hashes bytea NOT NULL,
    PRIMARY KEY (day, level)
);
COMMENT ON TABLE day_levels IS 'the tree of a day, from its leaves (0) to its root: 32 bytes a node, in order';
ALTER TABLE day_levels ALTER COLUMN hashes SET STORAGE EXTERNAL; -- so that substring() reads what it returns, not all

CREATE FUNCTION refuse_day_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a sealed day is never changed' USING ERRCODE = 'GR012';
END $$;
CREATE TRIGGER sealed BEFORE UPDATE OF day, leaves, left_out, offsets, previous, root, hash, key_id, public_key, signature,
    sealed_ms OR DELETE OR TRUNCATE ON sealed_days FOR EACH STATEMENT EXECUTE FUNCTION refuse_day_change();
CREATE TRIGGER sealed BEFORE UPDATE OR DELETE OR TRUNCATE ON day_leaves
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_day_change();
CREATE TRIGGER sealed BEFORE UPDATE OR DELETE OR TRUNCATE ON day_levels
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_day_change();
