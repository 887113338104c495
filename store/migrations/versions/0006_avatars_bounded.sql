-- Deleted avatars stay in the projection for ever; what an account holds must not be searched among them.
CREATE INDEX avatars_held ON avatars_v1.avatars (account_id, avatar_id DESC) WHERE status <> 'deleted';

CREATE INDEX avatar_admissions_open ON avatar_admissions (created_at) WHERE NOT acknowledged;
COMMENT ON COLUMN avatar_admissions.acknowledged IS
    'the upload is in the log; until then whatever is stored for the avatar is removed a minute after created_at';
COMMENT ON COLUMN avatar_admissions.deleted IS 'the slot is free: the avatar was deleted, or its upload given up';

COMMENT ON COLUMN parked.session_id IS 'the record''s key: a session, or an avatar for the consumer `avatars`';
