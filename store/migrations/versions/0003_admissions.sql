-- Who works on a create ------------------------------------------------------------------------------------------

ALTER TABLE admissions ADD COLUMN tries integer NOT NULL DEFAULT 1;
COMMENT ON COLUMN admissions.tries IS
    'requests that have worked on it, each for 6 s from touched_at; only the latest may give it up';

-- A slot is held by one attempt of a session. While it moves, a session holds two: that of the accepted attempt, and the
-- one that is reserved for the next, until the log has accepted or refused the decision.
ALTER TABLE slots ADD COLUMN attempt integer, ADD COLUMN expected_seq integer, ADD COLUMN reserved_at timestamptz;
COMMENT ON COLUMN slots.expected_seq IS 'of the decision that this slot is reserved for; null once the log has accepted it';
UPDATE slots SET attempt = 1 WHERE session_id IS NOT NULL;
ALTER TABLE slots DROP CONSTRAINT slots_session_id_key;
ALTER TABLE slots ADD CONSTRAINT slots_one_per_attempt UNIQUE (session_id, attempt);
ALTER TABLE slots ADD CONSTRAINT slots_attempt CHECK ((session_id IS NULL) = (attempt IS NULL));

-- What is pruned, by age -----------------------------------------------------------------------------------------

ALTER TABLE fold_states ADD COLUMN over_since timestamptz;
COMMENT ON COLUMN fold_states.over_since IS 'when the consumer saw the session end; null while it lives';
UPDATE fold_states SET over_since = now() WHERE NOT live;
CREATE INDEX fold_states_over ON fold_states (consumer, over_since) WHERE over_since IS NOT NULL;
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
CREATE INDEX deliveries_finished ON deliveries (finished_at) WHERE state <> 'pending';
CREATE INDEX abandoned_at ON abandoned (at);

-- Admission ------------------------------------------------------------------------------------------------------
-- One round trip. RAISE rolls everything back, so a refused request leaves nothing. Lock order everywhere: account,
-- admission, slot. GR001: no free slot; GR002: the plan's cap; GR003: the key was revoked.

-- Whether the create of an admission, whose row is locked, is known to be in the log. What the sessions projection has is
-- marked: whoever is told of it now must not have it given up by a request that has not heard from Kafka yet.
CREATE FUNCTION in_the_log(adm admissions) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF adm.session_id IS NULL OR adm.acknowledged THEN
        RETURN adm.acknowledged;
    END IF;
    UPDATE admissions a SET acknowledged = true WHERE a.session_id = adm.session_id
        AND EXISTS (SELECT 1 FROM sessions_v1.sessions s WHERE s.session_id = a.session_id);
    RETURN FOUND;
END $$;

DROP FUNCTION admit(text, text, text, text, text, bytea, bytea, text, bigint, text, text, bytea);

CREATE FUNCTION admit(
    p_key_id text, p_account text, p_session text, p_event text, p_quality text, p_target bytea, p_body bytea,
    p_idempotency_key text, p_created_ms bigint, p_resource text, p_secret_key text, p_task bytea,
    OUT outcome text, OUT session_id text, OUT tries integer, OUT event_id text, OUT worker_id text,
    OUT public_key text, OUT resource text, OUT created_ms bigint
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
        IF FOUND THEN
            SELECT * INTO adm FROM admissions a WHERE a.session_id = idem.session_id FOR UPDATE;
            -- An admission goes, or ends, only once its create is in the log; one that was given up has no key here.
            adm.acknowledged := in_the_log(adm);
            idem.done := idem.done OR adm.session_id IS NULL OR adm.acknowledged OR adm.state <> 'live';
            IF idem.done AND idem.created_at < now() - interval '24 hours' THEN
                DELETE FROM idempotency_keys i WHERE i.account_id = p_account AND i.key = p_idempotency_key;
                adm := NULL;
            ELSE
                session_id := idem.session_id;
                IF idem.body_hmac <> p_body THEN
                    outcome := 'key_reused';
                    RETURN;
                END IF;
                IF idem.done THEN
                    outcome := 'replayed';
                    resource := idem.response;
                    RETURN;
                END IF;
            END IF;
        END IF;
    ELSE
        -- No condition on state: with one, the planner may walk all of admissions_target, whose predicate it implies.
        SELECT * INTO adm FROM admissions a WHERE a.body_hmac = p_body ORDER BY a.created_ms DESC LIMIT 1 FOR UPDATE;
        IF adm.state <> 'live' OR adm.created_ms <= p_created_ms - 60000 THEN
            adm := NULL;
        END IF;
        IF adm.session_id IS NOT NULL AND in_the_log(adm) THEN
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
        UPDATE admissions a SET touched_at = clock_timestamp(), tries = a.tries + 1
            WHERE a.session_id = adm.session_id RETURNING a.tries INTO tries;
        SELECT w.public_key INTO public_key FROM workers w WHERE w.worker_id = adm.worker_id;
        outcome := 'resumed';
        event_id := adm.event_id;
        worker_id := adm.worker_id;
        resource := adm.resource;
        created_ms := adm.created_ms;
        RETURN;
    END IF;

    SELECT * INTO adm FROM admissions a WHERE a.target_hash = p_target AND a.state = 'live';
    IF FOUND THEN
        session_id := adm.session_id;
        -- An end must never come before its create: whoever waits for that answer would be told of a session that is
        -- none. Until the create is known to be in the log, its place is taken.
        outcome := CASE WHEN adm.acknowledged OR EXISTS (
            SELECT 1 FROM sessions_v1.sessions s WHERE s.session_id = adm.session_id
        ) THEN 'superseding' ELSE 'in_flight' END;
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
    UPDATE slots s SET session_id = p_session, attempt = 1
        WHERE s.worker_id = admit.worker_id AND s.slot = free_slot;

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
    tries := 1;
    event_id := p_event;
    resource := p_resource;
    created_ms := p_created_ms;
END $$;

-- Give back everything that ended sessions hold. Idempotent. An admission stays as `over` until the sessions projection
-- has the session's end, so that GET goes on saying `ending`; `p_forget` is for sessions that nobody may see.
CREATE OR REPLACE FUNCTION release(p_sessions text[], p_forget boolean DEFAULT false) RETURNS void LANGUAGE plpgsql AS $$
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
        AND (p_forget OR EXISTS (
            SELECT 1 FROM sessions_v1.sessions s
            WHERE s.session_id = d.session_id AND s.status IN ('ended', 'failed', 'canceled')));
    IF p_forget THEN
        -- A retry must make a new session, not be told of one that is none.
        DELETE FROM idempotency_keys i WHERE i.session_id = ANY (p_sessions);
    END IF;
    UPDATE slots s SET session_id = NULL, attempt = NULL, expected_seq = NULL, reserved_at = NULL
        WHERE s.session_id = ANY (p_sessions);
    IF FOUND THEN
        PERFORM pg_notify('slot_free', '');
    END IF;
    DELETE FROM session_secrets x WHERE x.session_id = ANY (p_sessions);
END $$;
