-- Versions of the projections: one is written and read, another may be filled beside it (projections/versions.py) ---

CREATE TABLE projections (
    name text PRIMARY KEY,
    active integer NOT NULL DEFAULT 1,
    building integer,
    leftover integer[] NOT NULL DEFAULT '{}',
    last integer NOT NULL DEFAULT 1,
    began_at timestamptz,
    swapped_at timestamptz
);
COMMENT ON COLUMN projections.active IS 'its tables are in the schema <name>_v<active>, and readers have the views in r';
COMMENT ON COLUMN projections.building IS 'what is filled beside it: its checkpoints, parked and states are those of <name>@<building>';
COMMENT ON COLUMN projections.leftover IS 'replaced or abandoned, and still to be dropped: the schemas <name>_v<n>_old';
COMMENT ON COLUMN projections.last IS 'no number is given twice';
INSERT INTO projections (name) VALUES ('sessions'), ('usage'), ('history'), ('avatars');

-- A definition, as PostgreSQL prints it, in another schema.
CREATE FUNCTION in_schema(p_definition text, p_from text, p_to text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT regexp_replace(p_definition, '\m' || p_from || '\.', p_to || '.', 'g')
$$;

-- Empty tables as those of another schema are by now, whatever migrations have changed: with their indexes, constraints,
-- comments, settings, functions and triggers, under the same names. Partitions are left to whoever needs them.
CREATE FUNCTION clone_schema(p_from text, p_to text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    source record;
    definition text;
BEGIN
    EXECUTE format('CREATE SCHEMA %I', p_to);
    FOR definition IN SELECT pg_get_functiondef(f.oid) FROM pg_proc f
        WHERE f.pronamespace = p_from::regnamespace ORDER BY f.proname
    LOOP
        EXECUTE in_schema(definition, p_from, p_to);
    END LOOP;
    FOR source IN SELECT c.oid, format('%I.%I', p_to, c.relname) AS made, c.oid::regclass::text AS name, c.reloptions,
            pg_get_partkeydef(c.oid) AS key, obj_description(c.oid, 'pg_class') AS comment
        FROM pg_class c WHERE c.relnamespace = p_from::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        ORDER BY c.relname
    LOOP
        EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL EXCLUDING INDEXES)', source.made, source.name)
            || coalesce(' PARTITION BY ' || source.key, '')
            || coalesce(' WITH (' || array_to_string(source.reloptions, ', ') || ')', '');
        EXECUTE format('COMMENT ON TABLE %s IS %L', source.made, source.comment);
        FOR definition IN
            SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', source.made, k.conname, pg_get_constraintdef(k.oid))
                FROM pg_constraint k WHERE k.conrelid = source.oid AND k.contype IN ('p', 'u', 'x')
            UNION ALL
            SELECT replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ') FROM pg_index i
                WHERE i.indrelid = source.oid
                AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid)
            UNION ALL
            SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t WHERE t.tgrelid = source.oid AND NOT t.tgisinternal
        LOOP
            EXECUTE in_schema(definition, p_from, p_to);
        END LOOP;
    END LOOP;
END $$;

-- Whoever reads a view in r reads the other schema from now on. In one order, and each is locked until the end.
CREATE FUNCTION point_views(p_from text, p_to text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    view record;
BEGIN
    FOR view IN SELECT DISTINCT v.oid, v.relname
        FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid JOIN pg_class v ON v.oid = w.ev_class
            JOIN pg_class t ON t.oid = d.refobjid
        WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
            AND t.relnamespace = p_from::regnamespace AND v.relnamespace = 'r'::regnamespace AND v.relkind = 'v'
        ORDER BY v.relname
    LOOP
        EXECUTE format('CREATE OR REPLACE VIEW r.%I AS ', view.relname)
            || in_schema(pg_get_viewdef(view.oid), p_from, p_to);
    END LOOP;
END $$;

-- For migrations from here on: `p_sql`, with {schema}, for each version of a projection that there is.
CREATE FUNCTION in_versions(p_name text, p_sql text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    version integer;
BEGIN
    PERFORM 1 FROM projections p WHERE p.name = p_name FOR UPDATE;
    FOR version IN SELECT v FROM projections p, unnest(array_remove(ARRAY[p.active, p.building], NULL)) v
        WHERE p.name = p_name
    LOOP
        EXECUTE replace(p_sql, '{schema}', p_name || '_v' || version);
    END LOOP;
END $$;
