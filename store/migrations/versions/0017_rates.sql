-- What a minute of each quality costs, from when on. A session keeps the rate that it was created with.
CREATE TABLE rate_cards (
    version text PRIMARY KEY,
    lite integer NOT NULL CHECK (lite BETWEEN 0 AND 100000),
    standard integer NOT NULL CHECK (standard BETWEEN 0 AND 100000),
    pro integer NOT NULL CHECK (pro BETWEEN 0 AND 100000),
    effective_from timestamptz NOT NULL UNIQUE,
    published_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE rate_cards IS 'multipliers in thousandths; a published card is never changed: another one takes its place';
INSERT INTO rate_cards VALUES ('2026-11', 500, 1000, 2000, '1970-01-01Z');

CREATE FUNCTION refuse_card_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a published rate card is never changed: publish another one' USING ERRCODE = 'GR011';
END $$;
CREATE TRIGGER published BEFORE UPDATE OR DELETE OR TRUNCATE ON rate_cards
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_card_change();
