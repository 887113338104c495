-- A data key for each session. What is in the log already stays under its account's key.
CREATE TABLE session_keys (
    session_id text PRIMARY KEY,
    key bytea
);
COMMENT ON TABLE session_keys IS 'no row: a session of before, whose fields are under the key of its account';
COMMENT ON COLUMN session_keys.key IS 'wrapped under the data key of its account; null once the session is erased';

-- Returns the key that the session has: who goes on with the ids of another request goes on with its key.
CREATE FUNCTION keep_session_key(p_session text, p_key bytea) RETURNS bytea LANGUAGE sql AS $$
    INSERT INTO session_keys (session_id, key) VALUES (p_session, p_key) ON CONFLICT (session_id) DO NOTHING;
    SELECT k.key FROM session_keys k WHERE k.session_id = p_session
$$;

-- An account that is being erased gets no keys, avatars and endpoints any more; once it is erased, no session either,
-- whatever its admission had seen when it began.
ALTER TABLE accounts
    ADD COLUMN erasing_at timestamptz,
    ADD COLUMN erased_at timestamptz,
    ADD CONSTRAINT accounts_erased_rest CHECK (erased_at IS NULL OR live_sessions = 0);

CREATE TABLE erasures (
    subject text PRIMARY KEY,
    account_id text NOT NULL,
    event_id text NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now(),
    done_at timestamptz
);
COMMENT ON TABLE erasures IS 'accounts and sessions that were to be erased; what is not done is taken up by the next who asks';
