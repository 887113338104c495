-- Command side ---------------------------------------------------------------------------------------------------

CREATE TABLE avatar_admissions (
    avatar_id text PRIMARY KEY,
    account_id text NOT NULL REFERENCES accounts (id),
    resource text NOT NULL,
    acknowledged boolean NOT NULL DEFAULT false,
    deleted boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE avatar_admissions IS
    'what the API acknowledged and the avatars projection may not have yet: uploads, and deletions';
CREATE INDEX avatar_admissions_account ON avatar_admissions (account_id);

-- Projection -----------------------------------------------------------------------------------------------------

CREATE SCHEMA avatars_v1;

CREATE TABLE avatars_v1.avatars (
    avatar_id text PRIMARY KEY,
    account_id text,
    status text NOT NULL CHECK (status IN ('processing', 'ready', 'failed', 'deleted')),
    name_key_id text,
    name text,
    runtime_type text NOT NULL,
    asset text,
    face text,
    failure_reason text,
    created_ms bigint NOT NULL
);
COMMENT ON COLUMN avatars_v1.avatars.name IS 'encrypted under the account''s data key';
CREATE INDEX avatars_by_account ON avatars_v1.avatars (account_id, avatar_id DESC);
CREATE VIEW r.avatars AS SELECT * FROM avatars_v1.avatars WHERE status <> 'deleted';
