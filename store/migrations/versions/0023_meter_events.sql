-- Which entries of the ledger were sent to Stripe as meter events. Stripe itself knows an identifier for a day alone:
-- what is sent again after that is billed again.
CREATE TABLE meter_events (
    destination text NOT NULL,
    identifier text NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT now(),
    acknowledged_at timestamptz,
    PRIMARY KEY (destination, identifier)
);
COMMENT ON COLUMN meter_events.destination IS 'endpoint, mode of the key, name of the event';
COMMENT ON COLUMN meter_events.sent_at IS 'before it was sent for the first time';
COMMENT ON COLUMN meter_events.acknowledged_at IS 'null: the outcome is not known';
CREATE INDEX meter_events_sent ON meter_events (sent_at);
