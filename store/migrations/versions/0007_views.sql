-- All that the projections have, hidden and deleted included: the command side asks whether something is in the log. Nobody
-- but a projection itself, and its views here, names its schema, so that another version can take its place.
CREATE VIEW r.all_sessions AS SELECT * FROM sessions_v1.sessions;
CREATE VIEW r.all_avatars AS SELECT * FROM avatars_v1.avatars;

DO $$
DECLARE
    function regproc;
BEGIN
    FOREACH function IN ARRAY ARRAY['in_the_log', 'admit', 'release']::regproc[] LOOP
        EXECUTE replace(pg_get_functiondef(function), 'sessions_v1.sessions', 'r.all_sessions');
    END LOOP;
END $$;
