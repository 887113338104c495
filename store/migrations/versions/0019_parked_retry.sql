-- Who owns a parked subject's partition looks here whether somebody has asked for it to be read again.
ALTER TABLE parked ADD COLUMN retry_asked timestamptz;
COMMENT ON COLUMN parked.retry_asked IS 'since when `greenroom parked retry` waits for its owner; null: nobody asked';
CREATE INDEX parked_asked ON parked (topic, partition, "offset") WHERE retry_asked IS NOT NULL;
