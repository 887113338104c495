-- Deliveries of the endpoints that are still there and enabled; a delete waits until the caller's batch is stored. One behind
-- a delivery that waits for its next attempt falls due with that, or after a minute: else those that may not go yet would
-- stand before those that may.
CREATE FUNCTION insert_deliveries(
    p_ids text[], p_endpoints text[], p_accounts text[], p_sessions text[], p_events text[], p_types text[], p_seqs integer[],
    p_bodies bytea[]
) RETURNS void LANGUAGE plpgsql
-- Of a table that was empty a moment ago the planner would read all of it for each row, also when 20,000 come at once.
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    WITH there AS (
        SELECT w.id FROM webhook_endpoints w WHERE w.id = ANY (p_endpoints) AND w.enabled ORDER BY w.id FOR KEY SHARE
    )
    INSERT INTO deliveries (id, endpoint_id, account_id, session_id, event_id, type, seq, body, next_at)
    SELECT x.*, least(greatest(now(), before.next_at), now() + interval '1 minute')
    FROM unnest(p_ids, p_endpoints, p_accounts, p_sessions, p_events, p_types, p_seqs, p_bodies)
        AS x (id, endpoint_id, account_id, session_id, event_id, type, seq, body)
    JOIN there ON there.id = x.endpoint_id
    LEFT JOIN LATERAL (
        SELECT d.next_at FROM deliveries d
        WHERE d.state = 'pending' AND d.endpoint_id = x.endpoint_id AND d.session_id = x.session_id
            AND x.session_id <> '' AND d.claimed_until IS NULL AND NOT d.asked_again
        ORDER BY d.endpoint_id, d.session_id, d.seq LIMIT 1
    ) before ON true
    ON CONFLICT DO NOTHING;
    PERFORM pg_notify('delivery_due', '');
END $$;

-- Store that these deliveries were answered with a success, with an attempt each; returns those of their endpoints that
-- were failing until now. A success counts whoever has claimed the delivery since; what is decided already stays so.
--
-- Endpoints that are being deleted are passed, not waited for, and nothing of them is left to store. Of all others the
-- row is held against a delete, which would want our deliveries in an order of its own.
CREATE FUNCTION record_delivered(
    p_ids text[], p_endpoints text[], p_at timestamptz[], p_status integer[], p_latency integer[], p_answer text[]
) RETURNS text[] LANGUAGE plpgsql
-- Each delivery is one probe of the primary key, whatever the statistics say.
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    there text[];
    failing text[];
BEGIN
    SELECT array_agg(t.id), array_agg(t.id) FILTER (WHERE t.failing_since IS NOT NULL) INTO there, failing FROM (
        SELECT w.id, w.failing_since FROM webhook_endpoints w WHERE w.id = ANY (p_endpoints) FOR KEY SHARE SKIP LOCKED
    ) t;
    WITH delivered AS (
        UPDATE deliveries d SET state = 'delivered', attempts = d.attempts + 1, claimed_until = NULL,
            next_at = now(), finished_at = now()
        FROM unnest(p_ids, p_endpoints, p_at, p_status, p_latency, p_answer)
            AS x (id, endpoint_id, at, status, latency_ms, answer)
        WHERE d.id = x.id AND d.state = 'pending' AND x.endpoint_id = ANY (there)
        RETURNING d.id, d.attempts, x.at, x.status, x.latency_ms, x.answer
    )
    INSERT INTO delivery_attempts (delivery_id, n, at, status, latency_ms, answer)
    SELECT v.id, v.attempts, v.at, v.status, v.latency_ms, v.answer FROM delivered v;
    RETURN coalesce(failing, '{}');
END $$;

-- A claim used to look at 2048 deliveries, whatever it might take, and at all endpoints for which anything was pending, also
-- in five hours. Now it looks at four times what it may take, of those endpoints alone for which something is due. And
-- each claim is planned for itself: a plan that was made while the table was empty read all that is pending, for minutes.
CREATE OR REPLACE FUNCTION claim_deliveries(p_limit integer, p_lease interval, p_endpoint integer, p_account integer)
RETURNS text[] LANGUAGE plpgsql
-- Each step is one probe of an index, and the order that it asks for names the index.
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET enable_incremental_sort = off
SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    moment timestamptz;
    chosen text[];
BEGIN
    PERFORM pg_advisory_xact_lock(7237902);
    moment := clock_timestamp();
    WITH RECURSIVE waiting AS (
        (SELECT d.endpoint_id AS id, d.next_at FROM deliveries d WHERE d.state = 'pending'
            ORDER BY d.endpoint_id, d.next_at, d.seq LIMIT 1)
        UNION ALL
        SELECT n.endpoint_id, n.next_at FROM waiting w CROSS JOIN LATERAL (
            SELECT d.endpoint_id, d.next_at FROM deliveries d WHERE d.state = 'pending' AND d.endpoint_id > w.id
            ORDER BY d.endpoint_id, d.next_at, d.seq LIMIT 1
        ) n
    ), flying AS MATERIALIZED (
        SELECT d.account_id, d.endpoint_id, count(*) AS n FROM deliveries d
        WHERE d.state = 'pending' AND d.claimed_until > moment GROUP BY d.account_id, d.endpoint_id
    ), room AS MATERIALIZED (
        SELECT w.id, w.account_id, coalesce(e.n, 0) AS of_endpoint, coalesce(a.n, 0) AS of_account,
            least(
                CASE WHEN w.failing_since < moment - interval '30 seconds' THEN 1 ELSE p_endpoint END - coalesce(e.n, 0),
                p_account - coalesce(a.n, 0)
            ) AS free
        FROM waiting
        JOIN webhook_endpoints w ON w.id = waiting.id AND w.enabled
        LEFT JOIN flying e ON e.endpoint_id = w.id
        LEFT JOIN (SELECT f.account_id, sum(f.n)::bigint AS n FROM flying f GROUP BY f.account_id) a
            ON a.account_id = w.account_id
        WHERE waiting.next_at <= moment
    ), due AS (
        SELECT r.account_id, r.of_endpoint, r.of_account, c.id, c.next_at,
            row_number() OVER (PARTITION BY r.id ORDER BY c.next_at, c.seq) AS n
        FROM room r CROSS JOIN LATERAL (
            SELECT first.id, first.next_at, first.seq FROM (
                SELECT d.id, d.session_id, d.seq, d.next_at, d.created_at, d.asked_again FROM deliveries d
                WHERE d.state = 'pending' AND d.endpoint_id = r.id AND d.next_at <= moment
                    AND (d.claimed_until <= moment) IS NOT FALSE
                ORDER BY d.endpoint_id, d.next_at, d.seq LIMIT 256
            ) first
            -- Not NOT EXISTS, of which the planner may make a join that reads all that is pending.
            WHERE first.asked_again OR first.created_at <= moment - interval '1 minute' OR (
                SELECT e.seq FROM deliveries e WHERE e.state = 'pending' AND e.endpoint_id = r.id
                    AND e.session_id = first.session_id AND e.seq < first.seq AND NOT e.asked_again LIMIT 1) IS NULL
            -- No more of each than can come to something: a few times what may be taken is enough to choose from.
            LIMIT least(r.free, greatest(1, greatest(256, 4 * p_limit) / (SELECT count(*) FROM room WHERE free > 0)))
        ) c
        WHERE r.free > 0
    ), shared AS (
        SELECT d.id, d.next_at, d.of_account,
            row_number() OVER (PARTITION BY d.account_id ORDER BY d.of_endpoint + d.n, d.next_at) AS n
        FROM due d
    )
    SELECT array_agg(f.id) INTO chosen FROM (
        SELECT s.id FROM shared s WHERE s.of_account + s.n <= p_account ORDER BY s.of_account + s.n, s.next_at LIMIT p_limit
    ) f;
    -- By their ids alone, which OFFSET sees to: an index of what is pending would be read from end to end.
    SELECT coalesce(array_agg(m.id), '{}') INTO chosen FROM (
        SELECT d.id, d.state, d.next_at, d.claimed_until FROM deliveries d WHERE d.id = ANY (chosen)
        OFFSET 0 FOR UPDATE SKIP LOCKED
    ) m WHERE m.state = 'pending' AND m.next_at <= moment AND (m.claimed_until <= moment) IS NOT FALSE;
    UPDATE deliveries d SET next_at = moment + p_lease, claimed_until = moment + p_lease, claims = d.claims + 1
        WHERE d.id = ANY (chosen);
    RETURN chosen;
END $$;
