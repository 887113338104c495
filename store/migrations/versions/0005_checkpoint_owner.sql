ALTER TABLE checkpoints ADD COLUMN owner text NOT NULL DEFAULT '';
COMMENT ON COLUMN checkpoints.owner IS 'the process that bound it last, for people; the generation decides';
