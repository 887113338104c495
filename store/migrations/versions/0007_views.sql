-- All that the projections have, hidden and deleted included: the command side asks whether something is in the log. Nobody
-- but a projection itself, and its views here, names its schema, so that another version can take its place.
CREATE VIEW r.all_sessions AS SELECT * FROM sessions_v1.sessions;
CREATE VIEW r.all_avatars AS SELECT * FROM avatars_v1.avatars;

-- What is live among years of sessions that are not.
CREATE INDEX sessions_active ON sessions_v1.sessions (account_id, session_id DESC)
    WHERE status IN ('queued', 'starting', 'running', 'ending');

DO $$
DECLARE
    function regproc;
BEGIN
    FOREACH function IN ARRAY ARRAY['in_the_log', 'admit']::regproc[] LOOP
        EXECUTE replace(pg_get_functiondef(function), 'sessions_v1.sessions', 'r.all_sessions');
    END LOOP;
END $$;

-- Give back everything that ended sessions hold. Idempotent. An admission stays as `over` until the sessions projection
-- has the session's end, so that GET goes on saying `ending`; of `p_hidden` nothing stays, since nobody may see them.
-- One call for a whole batch, and every step locks its rows in order: two rosters cannot wait for each other.
CREATE FUNCTION release(p_sessions text[], p_hidden text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM accounts a
        WHERE a.id IN (SELECT d.account_id FROM admissions d WHERE d.session_id = ANY (p_sessions))
        ORDER BY a.id FOR UPDATE;
    PERFORM 1 FROM admissions d WHERE d.session_id = ANY (p_sessions) ORDER BY d.session_id FOR UPDATE;
    WITH over AS (
        UPDATE admissions d SET state = 'over'
            WHERE d.session_id = ANY (p_sessions) AND d.state <> 'over' RETURNING d.account_id
    ), counted AS (
        SELECT o.account_id, count(*) AS n FROM over o GROUP BY o.account_id
    )
    UPDATE accounts a SET live_sessions = a.live_sessions - c.n FROM counted c WHERE a.id = c.account_id;
    DELETE FROM admissions d WHERE d.session_id = ANY (p_sessions)
        AND (d.session_id = ANY (p_hidden) OR EXISTS (
            SELECT 1 FROM r.all_sessions s
            WHERE s.session_id = d.session_id AND s.status IN ('ended', 'failed', 'canceled')));
    -- A retry must make a new session, not be told of one that is none.
    DELETE FROM idempotency_keys i WHERE i.session_id = ANY (p_hidden);
    PERFORM 1 FROM slots s WHERE s.session_id = ANY (p_sessions) ORDER BY s.worker_id, s.slot FOR UPDATE;
    UPDATE slots s SET session_id = NULL, attempt = NULL, expected_seq = NULL, reserved_at = NULL
        WHERE s.session_id = ANY (p_sessions);
    IF FOUND THEN
        PERFORM pg_notify('slot_free', '');
    END IF;
    DELETE FROM session_secrets x WHERE x.session_id = ANY (p_sessions);
END $$;

-- As processes of the version before call it, until they have been replaced.
CREATE OR REPLACE FUNCTION release(p_sessions text[], p_forget boolean DEFAULT false) RETURNS void LANGUAGE sql AS $$
    SELECT release(p_sessions, CASE WHEN p_forget THEN p_sessions ELSE '{}'::text[] END)
$$;
