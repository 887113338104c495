-- Store that these deliveries were answered with a success, with an attempt each; returns those of their endpoints that
-- were failing until now. A success counts whoever has claimed the delivery since; what is decided already stays so.
--
-- Endpoints that are being deleted are passed, not waited for, and nothing of them is left to store. Of all others the
-- row is held against a delete, which would want our deliveries in an order of its own.
CREATE FUNCTION record_delivered(
    p_ids text[], p_endpoints text[], p_at timestamptz[], p_status integer[], p_latency integer[], p_answer text[]
) RETURNS text[] LANGUAGE plpgsql
-- Each delivery is one probe of the primary key, whatever the statistics say.
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
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
