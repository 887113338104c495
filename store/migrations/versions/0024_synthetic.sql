-- What an account has drawn on its faces.
ALTER TABLE accounts
    ADD COLUMN label text CHECK (label <> ''),
    ADD COLUMN label_corner text NOT NULL DEFAULT 'bottom-left'
        CHECK (label_corner IN ('top-left', 'top-right', 'bottom-left', 'bottom-right'));
COMMENT ON COLUMN accounts.label IS 'drawn on each frame of sessions that begin from now on; null: nothing is';

-- The shape of an avatar's frames, which a session must know before its face is opened.
SELECT in_versions('avatars', $$
    ALTER TABLE {schema}.avatars ADD COLUMN shape text NOT NULL DEFAULT 'square' CHECK (shape IN ('square', 'portrait'))
$$);

-- A view keeps the columns that its table had when it was made.
DO $$
DECLARE
    schema text := 'avatars_v' || (SELECT active FROM projections WHERE name = 'avatars');
BEGIN
    EXECUTE format('CREATE OR REPLACE VIEW r.avatars AS SELECT * FROM %I.avatars WHERE status <> %L', schema, 'deleted');
    EXECUTE format('CREATE OR REPLACE VIEW r.all_avatars AS SELECT * FROM %I.avatars', schema);
END $$;
