-- Endpoints: why one is disabled, and as many secrets as sign -----------------------------------------------------

ALTER TABLE webhook_endpoints
    ADD COLUMN disabled_reason text CHECK (disabled_reason IN ('gone', 'failing')),
    ADD COLUMN disabled_at timestamptz;
COMMENT ON COLUMN webhook_endpoints.disabled_reason IS 'why we disabled it; null where its customer did, or nobody';

CREATE TABLE webhook_secrets (
    endpoint_id text NOT NULL REFERENCES webhook_endpoints (id) ON DELETE CASCADE,
    n integer NOT NULL,
    key_id text NOT NULL,
    secret bytea NOT NULL,
    until timestamptz,
    PRIMARY KEY (endpoint_id, n)
);
COMMENT ON COLUMN webhook_secrets.n IS 'the newest is the highest, and never ends';
COMMENT ON COLUMN webhook_secrets.secret IS 'wrapped under the master key key_id';
COMMENT ON COLUMN webhook_secrets.until IS 'one that was rotated out signs beside the newest until then';
INSERT INTO webhook_secrets (endpoint_id, n, key_id, secret) SELECT id, 1, secret_key_id, secret FROM webhook_endpoints;
ALTER TABLE webhook_endpoints DROP COLUMN secret_key_id, DROP COLUMN secret;

-- Once a batch the fan-out asks who wants what is sent to nobody who has not named it.
CREATE INDEX webhook_endpoints_opted ON webhook_endpoints (account_id)
    WHERE enabled AND events && ARRAY['session.heartbeat', 'usage.recorded'];

-- Deliveries: looked at by account and session, and asked for again -----------------------------------------------

ALTER TABLE deliveries ADD COLUMN attempts_before integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN deliveries.attempts_before IS
    'attempts that were made before it was asked for again: its schedule began anew behind them';
CREATE INDEX deliveries_account ON deliveries (account_id, id);
CREATE INDEX deliveries_session ON deliveries (session_id, id) WHERE session_id <> '';

-- Send one again, or at once if it waits for its next attempt. Its schedule begins anew; its id and its attempts stay.
-- Returns 'again', 'disabled' (its endpoint), or null where the account has no such delivery.
CREATE FUNCTION redeliver(p_account text, p_id text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    allowed boolean;
BEGIN
    -- the endpoint before its deliveries: the order of whoever deletes it
    SELECT w.enabled INTO allowed FROM deliveries d JOIN webhook_endpoints w ON w.id = d.endpoint_id
        WHERE d.id = p_id AND d.account_id = p_account FOR KEY SHARE OF w;
    IF allowed IS NOT TRUE THEN
        RETURN CASE WHEN allowed IS NOT NULL THEN 'disabled' END;
    END IF;
    UPDATE deliveries d SET state = 'pending', reason = NULL, finished_at = NULL, next_at = now(),
            attempts_before = CASE WHEN d.state = 'pending' THEN d.attempts_before ELSE d.attempts END
        WHERE d.id = p_id AND (d.claimed_until > now()) IS NOT TRUE;
    PERFORM pg_notify('delivery_due', '');
    RETURN 'again';
END $$;

-- Send these events of the account's feed to the endpoint, the first after p_begin, one each p_pace. What was sent
-- before is sent again under the same id; what is pending stays as it is. Returns how many, null if the endpoint is gone
-- or disabled.
CREATE FUNCTION replay_deliveries(
    p_account text, p_endpoint text, p_ids text[], p_positions bigint[], p_begin interval, p_pace interval
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    made integer;
BEGIN
    PERFORM 1 FROM webhook_endpoints w WHERE w.id = p_endpoint AND w.account_id = p_account AND w.enabled FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO deliveries AS d (id, endpoint_id, account_id, session_id, event_id, type, seq, body, next_at)
        SELECT DISTINCT ON (x.id) x.id, p_endpoint, p_account, f.session_id, f.event_id, f.type, f.seq, f.body,
            now() + p_begin + x.n * p_pace
        FROM unnest(p_ids, p_positions) WITH ORDINALITY AS x (id, position, n)
        JOIN feed_events f ON f.account_id = p_account AND f.position = x.position
        ON CONFLICT (endpoint_id, event_id) DO UPDATE SET state = 'pending', reason = NULL, finished_at = NULL,
            attempts_before = d.attempts, next_at = excluded.next_at
        WHERE d.state <> 'pending';
    GET DIAGNOSTICS made = ROW_COUNT;
    PERFORM pg_notify('delivery_due', '');
    RETURN made;
END $$;

-- The feed: what a replay of one session is made of ---------------------------------------------------------------

ALTER TABLE feed_events
    ADD COLUMN session_id text NOT NULL DEFAULT '',
    ADD COLUMN seq integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN feed_events.session_id IS 'empty: of no session';
UPDATE feed_events SET
    session_id = convert_from(body, 'UTF8')::json -> 'data' ->> 'id', seq = (convert_from(body, 'UTF8')::json ->> 'seq')::integer
    WHERE type LIKE 'session.%';
CREATE INDEX feed_events_session ON feed_events (session_id, seq) WHERE session_id <> '';

DROP FUNCTION append_to_feeds(text[], text[], text[], bytea[]);
-- Accounts in order: two processes that append to the same ones wait for each other, and not in a circle. What the log says
-- of accounts that are none is told to nobody.
CREATE FUNCTION append_to_feeds(
    p_accounts text[], p_events text[], p_types text[], p_sessions text[], p_seqs integer[], p_bodies bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO feeds AS f
        SELECT x.account_id, count(*) FROM unnest(p_accounts) AS x (account_id)
        WHERE EXISTS (SELECT 1 FROM accounts a WHERE a.id = x.account_id) GROUP BY 1 ORDER BY 1
        ON CONFLICT (account_id) DO UPDATE SET position = f.position + excluded.position;
    INSERT INTO feed_events (account_id, position, event_id, type, session_id, seq, body)
        SELECT x.account_id, f.position + 1 - row_number() OVER (PARTITION BY x.account_id ORDER BY x.n DESC),
            x.event_id, x.type, x.session_id, x.seq, x.body
        FROM unnest(p_accounts, p_events, p_types, p_sessions, p_seqs, p_bodies) WITH ORDINALITY
            AS x (account_id, event_id, type, session_id, seq, body, n)
        JOIN feeds f ON f.account_id = x.account_id;
    PERFORM pg_notify('account_events', x.account_id) FROM unnest(p_accounts) AS x (account_id) GROUP BY x.account_id;
END $$;
