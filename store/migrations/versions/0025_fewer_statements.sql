-- Admission in fewer statements ------------------------------------------------------------------------------------
-- It decides as before, for processes of both versions. Each statement costs PostgreSQL 20 to 80 µs, whatever it does:
-- the bucket, the slot with its worker, and what is stored are one each, and nothing is added up where nothing is limited.

CREATE OR REPLACE FUNCTION admit_session(
    p_key_id text, p_account text, p_session text, p_event text, p_quality text, p_target bytea, p_body bytea,
    p_idempotency_key text, p_created_ms bigint, p_resource text, p_secret_key text, p_task bytea,
    OUT outcome text, OUT session_id text, OUT tries integer, OUT event_id text, OUT worker_id text,
    OUT public_key text, OUT resource text, OUT created_ms bigint, OUT rate_limit integer, OUT rate_remaining integer,
    OUT rate_reset_s integer
) LANGUAGE plpgsql
-- The next free slot is the first entry of slots_free. Without statistics the planner would fetch and sort all of them.
SET enable_sort = off SET enable_bitmapscan = off SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    cap integer;
    key_cap integer;
    live integer;
    revoked timestamptz;
    filled timestamptz;
    a_create interval;
    moment timestamptz;
    idem idempotency_keys%ROWTYPE;
    adm admissions%ROWTYPE;
    gated boolean;
BEGIN
    SELECT p.max_concurrency, a.live_sessions, k.revoked_at, k.max_concurrency,
            coalesce(k.creates_per_minute, p.creates_per_minute), a.credit_gated
        INTO cap, live, revoked, key_cap, rate_limit, gated
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
            SELECT 1 FROM r.all_sessions s WHERE s.session_id = adm.session_id
        ) THEN 'superseding' ELSE 'in_flight' END;
        RETURN;
    END IF;

    IF live >= cap THEN
        RAISE EXCEPTION 'plan cap' USING ERRCODE = 'GR002';
    END IF;
    IF key_cap IS NOT NULL AND key_cap <= (
        SELECT count(*) FROM admissions a WHERE a.key_id = p_key_id AND a.state <> 'over'
    ) THEN
        RAISE EXCEPTION 'key cap' USING ERRCODE = 'GR004';
    END IF;

    -- Most accounts have neither; then nothing needs to be added up.
    IF gated OR EXISTS (SELECT 1 FROM spending_limits l WHERE l.account_id = p_account) THEN
        PERFORM refuse_spent(p_account, p_key_id);
    END IF;

    -- The bucket of the key, as the time at which it is full again: a minute from now at the most, or a clock has stepped
    -- back, and it counts as full. The account's lock is its lock.
    moment := clock_timestamp();
    a_create := interval '1 minute' / rate_limit;
    UPDATE key_rates r SET full_at = a_create
            + CASE WHEN r.full_at > moment + interval '1 minute' THEN moment ELSE greatest(r.full_at, moment) END
        WHERE r.key_id = p_key_id
            AND (r.full_at > moment + interval '1 minute' OR r.full_at + a_create <= moment + interval '1 minute')
        RETURNING r.full_at INTO filled;
    IF NOT FOUND THEN
        SELECT r.full_at INTO filled FROM key_rates r WHERE r.key_id = p_key_id;
        IF FOUND THEN
            RAISE EXCEPTION 'rate' USING ERRCODE = 'GR005', DETAIL = concat_ws(' ', rate_limit,
                ceil(extract(epoch FROM filled - moment))::integer,
                ceil(extract(epoch FROM filled + a_create - moment - interval '1 minute'))::integer);
        END IF;
        filled := moment + a_create;
        INSERT INTO key_rates VALUES (p_key_id, filled);
    END IF;
    rate_remaining := floor(extract(epoch FROM moment + interval '1 minute' - filled) / extract(epoch FROM a_create));
    rate_reset_s := ceil(extract(epoch FROM filled - moment));

    UPDATE accounts SET live_sessions = live_sessions + 1 WHERE id = p_account;

    UPDATE slots s SET session_id = p_session, attempt = 1 FROM workers w
        WHERE (s.worker_id, s.slot) = (
            SELECT f.worker_id, f.slot FROM slots f
            WHERE f.session_id IS NULL AND f.open AND p_quality = ANY (f.qualities)
            ORDER BY f.slot, f.worker_id LIMIT 1 FOR UPDATE SKIP LOCKED
        ) AND w.worker_id = s.worker_id
        RETURNING s.worker_id, w.public_key INTO worker_id, public_key;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no free slot' USING ERRCODE = 'GR001';
    END IF;

    WITH secret AS (INSERT INTO session_secrets VALUES (p_session, p_secret_key, p_task))
    INSERT INTO admissions
        (session_id, account_id, key_id, event_id, worker_id, target_hash, body_hmac, created_ms, resource)
        VALUES (p_session, p_account, p_key_id, p_event, worker_id, p_target, p_body, p_created_ms, p_resource);
    IF p_idempotency_key IS NOT NULL THEN
        INSERT INTO idempotency_keys (account_id, key, body_hmac, session_id, response)
            VALUES (p_account, p_idempotency_key, p_body, p_session, p_resource);
    END IF;

    outcome := 'admitted';
    session_id := p_session;
    tries := 1;
    event_id := p_event;
    resource := p_resource;
    created_ms := p_created_ms;
END $$;

CREATE OR REPLACE FUNCTION keep_session_key(p_session text, p_key bytea) RETURNS bytea LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO session_keys (session_id, key) VALUES (p_session, p_key) ON CONFLICT (session_id) DO NOTHING;
    IF FOUND THEN
        RETURN p_key;
    END IF;
    RETURN (SELECT k.key FROM session_keys k WHERE k.session_id = p_session);
END $$;
