-- Command side: written in a request or by a reactor -------------------------------------------------------------

CREATE TABLE plans (
    key text PRIMARY KEY,
    name text NOT NULL,
    monthly_price_cents integer NOT NULL,
    included_credits integer NOT NULL,
    extra_credit_unit_micros integer NOT NULL,
    max_concurrency integer NOT NULL,
    custom_avatar_slots integer NOT NULL,
    extra_avatar_slot_cents integer NOT NULL,
    session_time_limit_seconds integer NOT NULL
);
INSERT INTO plans VALUES
    ('self_hosted', 'Self-hosted', 0, 0, 0, 10000, 1000, 0, 3600),
    ('trial', 'Trial', 0, 60, 0, 2, 1, 0, 600);

CREATE TABLE accounts (
    id text PRIMARY KEY,
    name text NOT NULL,
    plan text NOT NULL REFERENCES plans (key),
    idle_timeout_seconds integer NOT NULL DEFAULT 30,
    live_sessions integer NOT NULL DEFAULT 0 CHECK (live_sessions >= 0),
    data_key_id text,
    data_key_master text,
    data_key bytea,
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 60);
COMMENT ON COLUMN accounts.live_sessions IS 'number of admissions; only admit() and release() change it';
COMMENT ON COLUMN accounts.data_key IS 'wrapped under the master key data_key_master; null once the account is erased';

CREATE TABLE api_keys (
    id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES accounts (id),
    name text NOT NULL,
    shown text NOT NULL,
    hash bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

CREATE TABLE workers (
    worker_id text PRIMARY KEY,
    partition integer NOT NULL,
    public_key text NOT NULL,
    qualities text[] NOT NULL,
    phase text NOT NULL CHECK (phase IN ('ready', 'draining', 'gone')),
    registered_at timestamptz NOT NULL DEFAULT now(),
    gone_at timestamptz
);

CREATE TABLE slots (
    worker_id text NOT NULL REFERENCES workers (worker_id),
    slot integer NOT NULL,
    qualities text[] NOT NULL,
    open boolean NOT NULL DEFAULT true,
    session_id text UNIQUE,
    PRIMARY KEY (worker_id, slot)
) WITH (fillfactor = 60);
-- Slot 0 of every worker before slot 1 of any: load spreads over workers.
CREATE INDEX slots_free ON slots (slot, worker_id) WHERE session_id IS NULL AND open;

CREATE TABLE admissions (
    session_id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES accounts (id),
    event_id text NOT NULL,
    worker_id text NOT NULL,
    state text NOT NULL DEFAULT 'live' CHECK (state IN ('live', 'ending', 'over')),
    acknowledged boolean NOT NULL DEFAULT false,
    target_hash bytea NOT NULL,
    body_hmac bytea NOT NULL,
    created_ms bigint NOT NULL,
    resource text NOT NULL,
    touched_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70);
COMMENT ON TABLE admissions IS
    'one row per live session, from before its first event until the sessions projection has it after its last';
-- Both hashes cover the account, so each look-up has one index and no plan to get wrong.
CREATE UNIQUE INDEX admissions_target ON admissions (target_hash) WHERE state = 'live';
CREATE INDEX admissions_body ON admissions (body_hmac);
CREATE INDEX admissions_worker ON admissions (worker_id);

CREATE TABLE session_secrets (
    session_id text PRIMARY KEY,
    key_id text NOT NULL,
    task bytea NOT NULL
);
COMMENT ON TABLE session_secrets IS 'the sealed task with the worker token, for reassignment; deleted at the terminal state';

CREATE TABLE idempotency_keys (
    account_id text NOT NULL,
    key text NOT NULL,
    body_hmac bytea NOT NULL,
    session_id text NOT NULL,
    done boolean NOT NULL DEFAULT false,
    response text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, key)
);
CREATE INDEX idempotency_keys_session ON idempotency_keys (session_id);

CREATE TABLE abandoned (
    session_id text PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE abandoned IS 'creates that were answered 503: if one still reaches the log, no webhook tells of it';

CREATE TABLE webhook_endpoints (
    id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES accounts (id),
    url text NOT NULL,
    events text[] NOT NULL,
    description text NOT NULL DEFAULT '',
    enabled boolean NOT NULL DEFAULT true,
    secret_key_id text NOT NULL,
    secret bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX webhook_endpoints_account ON webhook_endpoints (account_id);

CREATE TABLE deliveries (
    id text PRIMARY KEY,
    endpoint_id text NOT NULL REFERENCES webhook_endpoints (id) ON DELETE CASCADE,
    account_id text NOT NULL,
    session_id text NOT NULL,
    event_id text NOT NULL,
    type text NOT NULL,
    seq integer NOT NULL,
    body bytea NOT NULL,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'given_up')),
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    UNIQUE (endpoint_id, event_id)
) WITH (fillfactor = 70);
CREATE INDEX deliveries_due ON deliveries (next_at) WHERE state = 'pending';
CREATE INDEX deliveries_order ON deliveries (endpoint_id, session_id, seq) WHERE state = 'pending';

CREATE TABLE delivery_attempts (
    delivery_id text NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    n integer NOT NULL,
    at timestamptz NOT NULL,
    status integer,
    latency_ms integer NOT NULL,
    error text,
    answer text,
    PRIMARY KEY (delivery_id, n)
);

-- Consumers of the log -----------------------------------------------------------------------------------------

CREATE TABLE checkpoints (
    name text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    generation bigint NOT NULL DEFAULT 0,
    next_offset bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (name, topic, partition)
) WITH (fillfactor = 50);

CREATE TABLE fold_states (
    consumer text NOT NULL,
    session_id text NOT NULL,
    partition integer NOT NULL,
    live boolean NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (consumer, session_id)
) WITH (fillfactor = 60);
CREATE INDEX fold_states_live ON fold_states (consumer, partition) WHERE live;

CREATE TABLE parked (
    consumer text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    session_id text NOT NULL,
    "offset" bigint NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, session_id)
);

-- Projections: functions of the log alone, in versioned schemas; readers use the views in schema r ---------------

CREATE SCHEMA r;
CREATE SCHEMA sessions_v1;
CREATE SCHEMA usage_v1;

CREATE TABLE sessions_v1.sessions (
    session_id text PRIMARY KEY,
    partition integer NOT NULL,
    hidden boolean NOT NULL,
    account_id text,
    avatar_id text,
    quality text,
    status text NOT NULL,
    seq integer NOT NULL,
    attempt integer NOT NULL,
    worker_id text NOT NULL,
    created_ms bigint NOT NULL,
    started_ms bigint,
    first_frame_ms bigint,
    ended_ms bigint,
    end_reason text,
    failure_code text,
    billed_ms bigint NOT NULL,
    frames bigint NOT NULL,
    credit_us bigint NOT NULL,
    state bytea NOT NULL
) WITH (fillfactor = 60);
COMMENT ON COLUMN sessions_v1.sessions.state IS 'the fold state (events/sessions.py), from which the resource is made';
CREATE INDEX sessions_by_account ON sessions_v1.sessions (account_id, session_id DESC);
CREATE VIEW r.sessions AS SELECT * FROM sessions_v1.sessions WHERE NOT hidden;

CREATE TABLE usage_v1.usage_events (
    id text NOT NULL,
    object text NOT NULL,
    account_id text NOT NULL,
    session_id text NOT NULL,
    avatar_id text NOT NULL,
    attempt integer NOT NULL,
    n integer NOT NULL,
    kind text NOT NULL,
    quality text NOT NULL,
    billed_as text NOT NULL,
    multiplier_milli integer NOT NULL,
    rate_card text NOT NULL,
    from_ms bigint NOT NULL,
    to_ms bigint NOT NULL,
    billable_ms bigint NOT NULL,
    frames bigint NOT NULL,
    credit_us bigint NOT NULL,
    flags text NOT NULL,
    event_id text NOT NULL,
    prev_hash text NOT NULL,
    hash text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    recorded_ms bigint NOT NULL,
    PRIMARY KEY (partition, "offset", recorded_ms)
) PARTITION BY RANGE (recorded_ms);
COMMENT ON TABLE usage_v1.usage_events IS 'append-only; a correction is a usage.adjusted event in the log';
COMMENT ON COLUMN usage_v1.usage_events.recorded_ms IS 'the log''s append time; also the key of the monthly partitions';
CREATE INDEX usage_events_session ON usage_v1.usage_events (session_id, "offset");
CREATE INDEX usage_events_account ON usage_v1.usage_events (account_id, recorded_ms);
CREATE VIEW r.usage_events AS SELECT * FROM usage_v1.usage_events;

CREATE FUNCTION usage_v1.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: append a usage.adjusted event instead' USING ERRCODE = 'GR010';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON usage_v1.usage_events
    FOR EACH ROW EXECUTE FUNCTION usage_v1.refuse_change();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON usage_v1.usage_events
    FOR EACH STATEMENT EXECUTE FUNCTION usage_v1.refuse_change();

-- The partition of the month that holds a time; made on first need by the usage projection.
CREATE FUNCTION usage_v1.ensure_month(p_ms bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    month timestamp := date_trunc('month', to_timestamp(p_ms / 1000.0) AT TIME ZONE 'UTC');
    name text := 'usage_events_' || to_char(month, 'YYYY_MM');
BEGIN
    IF to_regclass('usage_v1.' || name) IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtext(name));
        EXECUTE 'CREATE TABLE IF NOT EXISTS usage_v1.' || quote_ident(name)
            || ' PARTITION OF usage_v1.usage_events FOR VALUES FROM ('
            || (extract(epoch FROM month AT TIME ZONE 'UTC') * 1000)::bigint || ') TO ('
            || (extract(epoch FROM (month + interval '1 month') AT TIME ZONE 'UTC') * 1000)::bigint || ')';
        -- a trigger for TRUNCATE is not inherited by partitions
        EXECUTE 'CREATE OR REPLACE TRIGGER no_truncate BEFORE TRUNCATE ON usage_v1.' || quote_ident(name)
            || ' FOR EACH STATEMENT EXECUTE FUNCTION usage_v1.refuse_change()';
    END IF;
END $$;

-- Admission ----------------------------------------------------------------------------------------------------
-- One round trip. RAISE rolls everything back, so a refused request leaves nothing. Lock order everywhere: account,
-- admission, slot. GR001: no free slot; GR002: the plan's cap; GR003: the key was revoked.

CREATE FUNCTION admit(
    p_key_id text, p_account text, p_session text, p_event text, p_quality text, p_target bytea, p_body bytea,
    p_idempotency_key text, p_created_ms bigint, p_resource text, p_secret_key text, p_task bytea,
    OUT outcome text, OUT session_id text, OUT event_id text, OUT worker_id text, OUT public_key text,
    OUT resource text, OUT created_ms bigint
) LANGUAGE plpgsql
-- The next free slot is the first entry of slots_free. Without statistics the planner would fetch and sort all of them.
SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    cap integer;
    live integer;
    revoked timestamptz;
    idem idempotency_keys%ROWTYPE;
    adm admissions%ROWTYPE;
    free_slot integer;
BEGIN
    SELECT p.max_concurrency, a.live_sessions, k.revoked_at INTO cap, live, revoked
        FROM accounts a JOIN plans p ON p.key = a.plan JOIN api_keys k ON k.id = p_key_id
        WHERE a.id = p_account FOR UPDATE OF a;
    IF revoked IS NOT NULL THEN
        RAISE EXCEPTION 'api key revoked' USING ERRCODE = 'GR003';
    END IF;

    IF p_idempotency_key IS NOT NULL THEN
        SELECT * INTO idem FROM idempotency_keys i WHERE i.account_id = p_account AND i.key = p_idempotency_key;
        IF FOUND AND idem.created_at < now() - interval '24 hours' AND idem.done THEN
            DELETE FROM idempotency_keys i WHERE i.account_id = p_account AND i.key = p_idempotency_key;
        ELSIF FOUND THEN
            IF idem.body_hmac <> p_body THEN
                outcome := 'key_reused';
                RETURN;
            END IF;
            session_id := idem.session_id;
            IF idem.done THEN
                outcome := 'replayed';
                resource := idem.response;
                RETURN;
            END IF;
            SELECT * INTO adm FROM admissions a WHERE a.session_id = idem.session_id FOR UPDATE;
        END IF;
    ELSE
        -- No condition on state: with one, the planner may walk all of admissions_target, whose predicate it implies.
        SELECT * INTO adm FROM admissions a WHERE a.body_hmac = p_body ORDER BY a.created_ms DESC LIMIT 1 FOR UPDATE;
        IF adm.state <> 'live' OR adm.created_ms <= p_created_ms - 60000 THEN
            adm := NULL;
        END IF;
        IF adm.session_id IS NOT NULL AND adm.acknowledged THEN
            outcome := 'replayed';
            session_id := adm.session_id;
            resource := adm.resource;
            RETURN;
        END IF;
    END IF;

    IF adm.session_id IS NOT NULL THEN
        session_id := adm.session_id;
        IF adm.touched_at > clock_timestamp() - interval '6 seconds' THEN
            outcome := 'in_flight';
            RETURN;
        END IF;
        -- The first request died between admission and answer: go on with its ids, which count once in the log.
        UPDATE admissions a SET touched_at = clock_timestamp() WHERE a.session_id = adm.session_id;
        SELECT w.public_key INTO public_key FROM workers w WHERE w.worker_id = adm.worker_id;
        outcome := 'resumed';
        event_id := adm.event_id;
        worker_id := adm.worker_id;
        resource := adm.resource;
        created_ms := adm.created_ms;
        RETURN;
    END IF;

    SELECT a.session_id INTO session_id FROM admissions a
        WHERE a.target_hash = p_target AND a.state = 'live';
    IF session_id IS NOT NULL THEN
        outcome := 'superseding';
        RETURN;
    END IF;

    IF live >= cap THEN
        RAISE EXCEPTION 'plan cap' USING ERRCODE = 'GR002';
    END IF;
    UPDATE accounts SET live_sessions = live_sessions + 1 WHERE id = p_account;

    SELECT s.worker_id, s.slot INTO worker_id, free_slot FROM slots s
        WHERE s.session_id IS NULL AND s.open AND p_quality = ANY (s.qualities)
        ORDER BY s.slot, s.worker_id LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no free slot' USING ERRCODE = 'GR001';
    END IF;
    UPDATE slots s SET session_id = p_session WHERE s.worker_id = admit.worker_id AND s.slot = free_slot;

    INSERT INTO admissions (session_id, account_id, event_id, worker_id, target_hash, body_hmac, created_ms, resource)
        VALUES (p_session, p_account, p_event, worker_id, p_target, p_body, p_created_ms, p_resource);
    INSERT INTO session_secrets VALUES (p_session, p_secret_key, p_task);
    IF p_idempotency_key IS NOT NULL THEN
        INSERT INTO idempotency_keys (account_id, key, body_hmac, session_id, response)
            VALUES (p_account, p_idempotency_key, p_body, p_session, p_resource);
    END IF;

    SELECT w.public_key INTO public_key FROM workers w WHERE w.worker_id = admit.worker_id;
    outcome := 'admitted';
    session_id := p_session;
    event_id := p_event;
    resource := p_resource;
    created_ms := p_created_ms;
END $$;

-- Give back everything that ended sessions hold. Idempotent. An admission stays as `over` while the sessions projection
-- has not got the session, so that GET goes on answering from it; `p_forget` is for sessions that nobody may see.
CREATE FUNCTION release(p_sessions text[], p_forget boolean DEFAULT false) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM accounts a
        WHERE a.id IN (SELECT d.account_id FROM admissions d WHERE d.session_id = ANY (p_sessions))
        ORDER BY a.id FOR UPDATE;
    WITH over AS (
        UPDATE admissions d SET state = 'over'
            WHERE d.session_id = ANY (p_sessions) AND d.state <> 'over' RETURNING d.account_id
    ), counted AS (
        SELECT o.account_id, count(*) AS n FROM over o GROUP BY o.account_id
    )
    UPDATE accounts a SET live_sessions = a.live_sessions - c.n FROM counted c WHERE a.id = c.account_id;
    DELETE FROM admissions d WHERE d.session_id = ANY (p_sessions)
        AND (p_forget OR EXISTS (SELECT 1 FROM sessions_v1.sessions s WHERE s.session_id = d.session_id));
    UPDATE slots s SET session_id = NULL WHERE s.session_id = ANY (p_sessions);
    IF FOUND THEN
        PERFORM pg_notify('slot_free', '');
    END IF;
    DELETE FROM session_secrets x WHERE x.session_id = ANY (p_sessions);
END $$;
