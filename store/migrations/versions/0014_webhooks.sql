-- Endpoints: why one is disabled, and as many secrets as sign -----------------------------------------------------

ALTER TABLE webhook_endpoints
    ADD COLUMN disabled_reason text CHECK (disabled_reason IN ('gone', 'failing')),
    ADD COLUMN disabled_at timestamptz,
    ADD COLUMN replay_until timestamptz;
COMMENT ON COLUMN webhook_endpoints.replay_until IS 'until then replays keep it busy: the next one begins behind them';
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

-- The version before goes on meanwhile: it reads and writes the one secret of an endpoint. These columns, their triggers
-- and the old append_to_feeds go with the next version.
ALTER TABLE webhook_endpoints ALTER COLUMN secret_key_id DROP NOT NULL, ALTER COLUMN secret DROP NOT NULL;
CREATE FUNCTION webhook_secret_of_before() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO webhook_secrets (endpoint_id, n, key_id, secret) VALUES (new.id, 1, new.secret_key_id, new.secret);
    RETURN new;
END $$;
CREATE TRIGGER secret_of_before AFTER INSERT ON webhook_endpoints
    FOR EACH ROW WHEN (new.secret IS NOT NULL) EXECUTE FUNCTION webhook_secret_of_before();
CREATE FUNCTION webhook_secret_for_before() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE webhook_endpoints w SET secret_key_id = new.key_id, secret = new.secret
        WHERE w.id = new.endpoint_id AND w.secret IS DISTINCT FROM new.secret;
    RETURN new;
END $$;
CREATE TRIGGER secret_for_before AFTER INSERT ON webhook_secrets
    FOR EACH ROW EXECUTE FUNCTION webhook_secret_for_before();

-- Once a batch the fan-out asks who wants what is sent to nobody who has not named it.
CREATE INDEX webhook_endpoints_opted ON webhook_endpoints (account_id)
    WHERE enabled AND events && ARRAY['session.heartbeat', 'usage.recorded'];

-- Deliveries: looked at by account and session, and asked for again -----------------------------------------------

ALTER TABLE deliveries
    ADD COLUMN attempts_before integer NOT NULL DEFAULT 0,
    ADD COLUMN asked_again boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN deliveries.asked_again IS 'redelivered or replayed: it waits for none of its session, and none for it';
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
    UPDATE deliveries d SET state = 'pending', reason = NULL, finished_at = NULL, next_at = now(), asked_again = true,
            claims = CASE WHEN d.state = 'pending' THEN d.claims ELSE d.attempts END,
            attempts_before = CASE WHEN d.state = 'pending' THEN d.attempts_before ELSE d.attempts END
        WHERE d.id = p_id AND (d.claimed_until > now()) IS NOT TRUE;
    PERFORM pg_notify('delivery_due', '');
    RETURN 'again';
END $$;

-- Send these events of the account's feed to the endpoint, one each p_pace, behind those of its replays before. What was
-- sent before is sent again under the same id; what is pending stays as it is. Returns how many, null if the endpoint is
-- gone or disabled. The endpoint is locked against whoever stores a failure, who locks deliveries in another order.
CREATE FUNCTION replay_deliveries(
    p_account text, p_endpoint text, p_ids text[], p_positions bigint[], p_pace interval
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    made integer;
    beginning timestamptz;
BEGIN
    UPDATE webhook_endpoints w SET replay_until = greatest(now(), w.replay_until) + cardinality(p_ids) * p_pace
        WHERE w.id = p_endpoint AND w.account_id = p_account AND w.enabled
        RETURNING w.replay_until - cardinality(p_ids) * p_pace INTO beginning;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    INSERT INTO deliveries AS d
            (id, endpoint_id, account_id, session_id, event_id, type, seq, body, next_at, asked_again)
        SELECT DISTINCT ON (x.id) x.id, p_endpoint, p_account, f.session_id, f.event_id, f.type, f.seq, f.body,
            beginning + x.n * p_pace, true
        FROM unnest(p_ids, p_positions) WITH ORDINALITY AS x (id, position, n)
        JOIN feed_events f ON f.account_id = p_account AND f.position = x.position
        ON CONFLICT (endpoint_id, event_id) DO UPDATE SET state = 'pending', reason = NULL, finished_at = NULL,
            attempts_before = d.attempts, claims = d.attempts, next_at = excluded.next_at, asked_again = true
        WHERE d.state <> 'pending';
    GET DIAGNOSTICS made = ROW_COUNT;
    PERFORM pg_notify('delivery_due', '');
    RETURN made;
END $$;

-- The feed: what a replay of one session is made of ---------------------------------------------------------------

ALTER TABLE feed_events
    ADD COLUMN session_id text NOT NULL DEFAULT '',
    ADD COLUMN seq integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN feed_events.session_id IS 'empty: of no session, or from before this column; those are pruned in a month';
CREATE INDEX feed_events_session ON feed_events (session_id, seq) WHERE session_id <> '';

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

CREATE OR REPLACE FUNCTION append_to_feeds(p_accounts text[], p_events text[], p_types text[], p_bodies bytea[])
RETURNS void LANGUAGE sql AS $$
    SELECT append_to_feeds(
        p_accounts, p_events, p_types, array_fill(''::text, ARRAY[cardinality(p_accounts)]),
        array_fill(0, ARRAY[cardinality(p_accounts)]), p_bodies)
$$;

-- Avatars that were decided before are nobody's news.
INSERT INTO checkpoints (name, topic, partition, next_offset)
    SELECT 'avatar_webhooks', c.topic, c.partition, c.next_offset FROM checkpoints c WHERE c.name = 'avatars';
