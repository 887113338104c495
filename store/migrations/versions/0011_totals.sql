-- What the ledger adds up to -------------------------------------------------------------------------------------
-- Kept by the ledger itself: whoever inserts an entry adds it to its totals, in the same transaction. Credit is numeric: each
-- session's fits a bigint, but nothing says that all together do, and a sum that does not would stop the ledger.

ALTER TABLE usage_v1.usage_events ADD COLUMN key_id text;
COMMENT ON COLUMN usage_v1.usage_events.key_id IS 'outside of the hash; null: written by a process of a version before';
CREATE OR REPLACE VIEW r.usage_events AS SELECT * FROM usage_v1.usage_events;

CREATE TABLE usage_v1.session_days (
    account_id text NOT NULL,
    day integer NOT NULL,
    session_id text NOT NULL,
    quality text NOT NULL,
    billable_ms bigint NOT NULL,
    frames bigint NOT NULL,
    credit_us numeric NOT NULL,
    PRIMARY KEY (account_id, day, session_id)
) WITH (fillfactor = 60);
COMMENT ON COLUMN usage_v1.session_days.day IS 'days since 1970-01-01 UTC, by recorded_ms';
CREATE VIEW r.session_days AS SELECT * FROM usage_v1.session_days;

CREATE TABLE usage_v1.months (
    account_id text NOT NULL,
    month date NOT NULL,
    key_id text NOT NULL,
    billable_ms bigint NOT NULL,
    credit_us numeric NOT NULL,
    PRIMARY KEY (account_id, month, key_id)
) WITH (fillfactor = 50);
COMMENT ON COLUMN usage_v1.months.month IS 'its first day in UTC, by recorded_ms';
COMMENT ON COLUMN usage_v1.months.key_id IS 'empty where the ledger does not know it';
CREATE VIEW r.usage_months AS SELECT * FROM usage_v1.months;

-- Rows in order: two processes that add to the same account wait for each other, and not in a circle.
CREATE FUNCTION usage_v1.add_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_v1.months AS t
        SELECT n.account_id, date_trunc('month', to_timestamp(n.recorded_ms / 1000) AT TIME ZONE 'UTC')::date,
            coalesce(n.key_id, ''), sum(n.billable_ms), sum(n.credit_us)
        FROM added n GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (account_id, month, key_id) DO UPDATE
            SET billable_ms = t.billable_ms + excluded.billable_ms, credit_us = t.credit_us + excluded.credit_us;
    INSERT INTO usage_v1.session_days AS t
        SELECT n.account_id, n.recorded_ms / 86400000, n.session_id, min(n.quality), sum(n.billable_ms), sum(n.frames),
            sum(n.credit_us)
        FROM added n GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (account_id, day, session_id) DO UPDATE SET billable_ms = t.billable_ms + excluded.billable_ms,
            frames = t.frames + excluded.frames, credit_us = t.credit_us + excluded.credit_us;
    RETURN NULL;
END $$;

-- What was entered before, and nothing twice: until this commits, nobody else enters anything.
LOCK TABLE usage_v1.usage_events IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO usage_v1.months
    SELECT account_id, date_trunc('month', to_timestamp(recorded_ms / 1000) AT TIME ZONE 'UTC')::date, '',
        sum(billable_ms), sum(credit_us)
    FROM usage_v1.usage_events GROUP BY 1, 2;
INSERT INTO usage_v1.session_days
    SELECT account_id, recorded_ms / 86400000, session_id, min(quality), sum(billable_ms), sum(frames), sum(credit_us)
    FROM usage_v1.usage_events GROUP BY 1, 2, 3;
CREATE TRIGGER add_up AFTER INSERT ON usage_v1.usage_events
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION usage_v1.add_up();

-- A sum as a bigint, for those who show it.
CREATE FUNCTION clamped(p numeric) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT greatest(least(p, 9000000000000000000), -9000000000000000000)::bigint
$$;
