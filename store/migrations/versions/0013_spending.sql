-- What may be spent -----------------------------------------------------------------------------------------------

CREATE TABLE spending_limits (
    account_id text NOT NULL REFERENCES accounts (id),
    key_id text NOT NULL DEFAULT '',
    cap_us bigint CHECK (cap_us >= 0),
    thresholds_us bigint[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (account_id, key_id)
);
COMMENT ON TABLE spending_limits IS 'of a UTC month, in credit_us';
COMMENT ON COLUMN spending_limits.key_id IS 'empty: of the whole account';

CREATE TABLE thresholds_reached (
    account_id text NOT NULL,
    key_id text NOT NULL,
    month date NOT NULL,
    threshold_us bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, key_id, month, threshold_us)
);

-- What an account, or one of its keys, has spent in the current month.
CREATE FUNCTION spent_us(p_account text, p_key_id text) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(m.credit_us), 0) FROM r.usage_months m
    WHERE m.account_id = p_account AND m.month = date_trunc('month', now() AT TIME ZONE 'UTC')::date
        AND (p_key_id = '' OR m.key_id = p_key_id)
$$;

-- Credits --------------------------------------------------------------------------------------------------------

ALTER TABLE accounts ADD COLUMN credit_gated boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN accounts.credit_gated IS 'without credits it creates nothing, and what runs is ended';

CREATE TABLE credit_accounts (
    account_id text PRIMARY KEY REFERENCES accounts (id),
    settled_us numeric NOT NULL,
    overdrawn_us numeric NOT NULL DEFAULT 0 CHECK (overdrawn_us >= 0),
    entries integer NOT NULL DEFAULT 0
);
COMMENT ON COLUMN credit_accounts.settled_us IS 'of all that the ledger has ever billed it, what was taken from its grants';
COMMENT ON COLUMN credit_accounts.overdrawn_us IS 'spent beyond all grants: the next one pays it first';

CREATE TABLE credit_grants (
    id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES credit_accounts (account_id),
    granted_us numeric NOT NULL CHECK (granted_us > 0),
    left_us numeric NOT NULL CHECK (left_us >= 0),
    expires_at timestamptz,
    note text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX credit_grants_left ON credit_grants (account_id, expires_at) WHERE left_us > 0;

CREATE TABLE credit_entries (
    account_id text NOT NULL REFERENCES credit_accounts (account_id),
    n integer NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind text NOT NULL CHECK (kind IN ('grant', 'spend', 'expire', 'refund')),
    grant_id text,
    amount_us numeric NOT NULL,
    balance_us numeric NOT NULL,
    note text NOT NULL DEFAULT '',
    PRIMARY KEY (account_id, n)
);
COMMENT ON TABLE credit_entries IS 'every change of a balance; amounts are signed';

CREATE FUNCTION credit_balance(p_account text) RETURNS numeric LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(g.left_us), 0) - coalesce((SELECT c.overdrawn_us FROM credit_accounts c WHERE c.account_id = p_account), 0)
    FROM credit_grants g WHERE g.account_id = p_account AND g.left_us > 0 AND (g.expires_at IS NULL OR g.expires_at > now())
$$;

CREATE FUNCTION enter_credit(p_account text, p_kind text, p_grant text, p_amount numeric, p_note text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    number integer;
    balance numeric;
BEGIN
    UPDATE credit_accounts c SET entries = c.entries + 1 WHERE c.account_id = p_account RETURNING c.entries INTO number;
    SELECT coalesce(sum(g.left_us), 0) INTO balance FROM credit_grants g
        WHERE g.account_id = p_account AND g.left_us > 0;
    SELECT balance - c.overdrawn_us INTO balance FROM credit_accounts c WHERE c.account_id = p_account;
    INSERT INTO credit_entries (account_id, n, kind, grant_id, amount_us, balance_us, note)
        VALUES (p_account, number, p_kind, p_grant, p_amount, balance, p_note);
END $$;

-- Take what the ledger has billed since the last time from the grants, those that expire first before the others, then
-- let go what has expired. What was spent since the last time is taken before that: a grant that expires meanwhile still
-- pays for it. Negative amounts of the ledger (corrections) come back as a grant that does not expire.
CREATE FUNCTION settle_credits(p_account text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    account credit_accounts%ROWTYPE;
    billed numeric;
    rest numeric;
    part numeric;
    g credit_grants%ROWTYPE;
BEGIN
    SELECT * INTO account FROM credit_accounts c WHERE c.account_id = p_account FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT coalesce(sum(m.credit_us), 0) INTO billed FROM r.usage_months m WHERE m.account_id = p_account;
    rest := billed - account.settled_us;
    IF rest <> 0 THEN
        UPDATE credit_accounts c SET settled_us = billed WHERE c.account_id = p_account;
    END IF;
    IF rest < 0 THEN
        PERFORM add_credit(p_account, 'cg_' || md5(p_account || billed::text || account.entries::text), -rest, NULL, 'refund', '');
    ELSIF rest > 0 THEN
        FOR g IN SELECT * FROM credit_grants x WHERE x.account_id = p_account AND x.left_us > 0
            ORDER BY x.expires_at NULLS LAST, x.created_at, x.id
        LOOP
            part := least(rest, g.left_us);
            UPDATE credit_grants x SET left_us = x.left_us - part WHERE x.id = g.id;
            rest := rest - part;
            PERFORM enter_credit(p_account, 'spend', g.id, -part, '');
            EXIT WHEN rest = 0;
        END LOOP;
        IF rest > 0 THEN
            UPDATE credit_accounts c SET overdrawn_us = c.overdrawn_us + rest WHERE c.account_id = p_account;
            PERFORM enter_credit(p_account, 'spend', NULL, -rest, '');
        END IF;
    END IF;
    FOR g IN SELECT * FROM credit_grants x WHERE x.account_id = p_account AND x.left_us > 0 AND x.expires_at <= now()
        ORDER BY x.expires_at, x.id
    LOOP
        UPDATE credit_grants x SET left_us = 0 WHERE x.id = g.id;
        PERFORM enter_credit(p_account, 'expire', g.id, -g.left_us, '');
    END LOOP;
END $$;

-- Give credits: what is overdrawn is paid first. The account's row is locked by the caller, or made by it.
CREATE FUNCTION add_credit(
    p_account text, p_id text, p_amount numeric, p_expires timestamptz, p_kind text, p_note text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    owed numeric;
BEGIN
    SELECT least(c.overdrawn_us, p_amount) INTO owed FROM credit_accounts c WHERE c.account_id = p_account FOR UPDATE;
    UPDATE credit_accounts c SET overdrawn_us = c.overdrawn_us - owed WHERE c.account_id = p_account;
    INSERT INTO credit_grants (id, account_id, granted_us, left_us, expires_at, note)
        VALUES (p_id, p_account, p_amount, p_amount - owed, p_expires, p_note);
    PERFORM enter_credit(p_account, p_kind, p_id, p_amount, p_note);
END $$;

CREATE FUNCTION at_cap(p_account text, p_key_id text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT 1 FROM spending_limits l WHERE l.account_id = p_account AND l.key_id IN ('', p_key_id)
            AND l.cap_us <= spent_us(l.account_id, l.key_id))
$$;

CREATE FUNCTION without_credits(p_account text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT 1 FROM accounts a WHERE a.id = p_account AND a.credit_gated AND credit_balance(a.id) <= 0)
$$;

-- GR006: at the month's cap of the account or the key, or without credits. It reads rows that nobody locks for long; a
-- create that is let through a moment too early is ended by the roster a second later.
CREATE OR REPLACE FUNCTION refuse_spent(p_account text, p_key_id text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF at_cap(p_account, p_key_id) THEN
        RAISE EXCEPTION 'cap' USING ERRCODE = 'GR006', DETAIL = 'cap';
    END IF;
    IF without_credits(p_account) THEN
        RAISE EXCEPTION 'credits' USING ERRCODE = 'GR006', DETAIL = 'credits';
    END IF;
END $$;
