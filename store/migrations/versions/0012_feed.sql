-- The account's feed: everything that its customer is told of, in one order --------------------------------------

CREATE TABLE feeds (
    account_id text PRIMARY KEY,
    position bigint NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE feeds IS 'no reference to accounts: a create holds the account''s row, and would wait for a whole batch';
COMMENT ON COLUMN feeds.position IS
    'of its last event. Whoever appends holds this row until it commits: positions become visible in order, without gaps';

CREATE TABLE feed_events (
    account_id text NOT NULL,
    position bigint NOT NULL,
    event_id text NOT NULL,
    type text NOT NULL,
    body bytea NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (account_id, position)
);
COMMENT ON COLUMN feed_events.body IS 'as a webhook of the event carries it';
CREATE INDEX feed_events_at ON feed_events (at);

-- Accounts in order: two processes that append to the same ones wait for each other, and not in a circle. What the log says
-- of accounts that are none is told to nobody.
CREATE FUNCTION append_to_feeds(p_accounts text[], p_events text[], p_types text[], p_bodies bytea[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO feeds AS f
        SELECT x.account_id, count(*) FROM unnest(p_accounts) AS x (account_id)
        WHERE EXISTS (SELECT 1 FROM accounts a WHERE a.id = x.account_id) GROUP BY 1 ORDER BY 1
        ON CONFLICT (account_id) DO UPDATE SET position = f.position + excluded.position;
    INSERT INTO feed_events (account_id, position, event_id, type, body)
        SELECT x.account_id, f.position + 1 - row_number() OVER (PARTITION BY x.account_id ORDER BY x.n DESC),
            x.event_id, x.type, x.body
        FROM unnest(p_accounts, p_events, p_types, p_bodies) WITH ORDINALITY AS x (account_id, event_id, type, body, n)
        JOIN feeds f ON f.account_id = x.account_id;
    PERFORM pg_notify('account_events', x.account_id) FROM unnest(p_accounts) AS x (account_id) GROUP BY x.account_id;
END $$;
