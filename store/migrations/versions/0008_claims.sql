-- Statistics that were taken while a backlog was being written say that there is none. The planner then found an endpoint's
-- deliveries by the constraint on events, and read and sorted all of them at every claim. What is due is asked for in the
-- order of deliveries_due now, and no plan may sort instead.
CREATE OR REPLACE FUNCTION claim_deliveries(p_limit integer, p_lease interval, p_endpoint integer, p_account integer)
RETURNS text[] LANGUAGE plpgsql
-- Each step is one probe of an index, and the order that it asks for names the index.
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET enable_incremental_sort = off AS $$
DECLARE
    moment timestamptz;
    chosen text[];
BEGIN
    PERFORM pg_advisory_xact_lock(7237902);
    moment := clock_timestamp();
    WITH RECURSIVE waiting AS (
        (SELECT d.endpoint_id AS id FROM deliveries d WHERE d.state = 'pending'
            ORDER BY d.endpoint_id, d.next_at, d.seq LIMIT 1)
        UNION ALL
        SELECT (SELECT d.endpoint_id FROM deliveries d WHERE d.state = 'pending' AND d.endpoint_id > w.id
            ORDER BY d.endpoint_id, d.next_at, d.seq LIMIT 1)
        FROM waiting w WHERE w.id IS NOT NULL
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
    ), due AS (
        SELECT r.account_id, r.of_endpoint, r.of_account, c.id, c.next_at,
            row_number() OVER (PARTITION BY r.id ORDER BY c.next_at, c.seq) AS n
        FROM room r CROSS JOIN LATERAL (
            SELECT first.id, first.next_at, first.seq FROM (
                SELECT d.id, d.session_id, d.seq, d.next_at, d.created_at FROM deliveries d
                WHERE d.state = 'pending' AND d.endpoint_id = r.id AND d.next_at <= moment
                    AND (d.claimed_until <= moment) IS NOT FALSE
                ORDER BY d.endpoint_id, d.next_at, d.seq LIMIT 256
            ) first
            -- Not NOT EXISTS, of which the planner may make a join that reads all that is pending.
            WHERE first.created_at <= moment - interval '1 minute' OR (
                SELECT e.seq FROM deliveries e WHERE e.state = 'pending' AND e.endpoint_id = r.id
                    AND e.session_id = first.session_id AND e.seq < first.seq LIMIT 1) IS NULL
            -- No more of each than can come to something: with many endpoints, one of each is enough to choose from.
            LIMIT least(r.free, greatest(1, 2048 / (SELECT count(*) FROM room WHERE free > 0)))
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
    SELECT coalesce(array_agg(m.id), '{}') INTO chosen FROM (
        SELECT d.id FROM deliveries d WHERE d.id = ANY (chosen) AND d.state = 'pending' AND d.next_at <= moment
            AND (d.claimed_until <= moment) IS NOT FALSE
        FOR UPDATE SKIP LOCKED
    ) m;
    UPDATE deliveries d SET next_at = moment + p_lease, claimed_until = moment + p_lease, claims = d.claims + 1
        WHERE d.id = ANY (chosen);
    RETURN chosen;
END $$;
