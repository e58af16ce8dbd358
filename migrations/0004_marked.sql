-- What: the schemas of projections say what they are: only builds that do so are ever dropped.
-- Kind: expand. Nothing depends on it but that builds which were made before it are dropped when they are replaced.
-- Back: nothing; DELETE FROM migrations_of_crossfade WHERE version = 4.

COMMENT ON SCHEMA projections IS 'what is asked of the projections of crossfade';
COMMENT ON SCHEMA projections_shape IS 'the tables that builds of the projections of crossfade are made after';

DO $$
DECLARE
    build text;
BEGIN
    FOR build IN SELECT projection || '_' || number FROM projections.generation LOOP
        IF to_regnamespace(build) IS NOT NULL THEN
            EXECUTE format('COMMENT ON SCHEMA %I IS %L', build, 'a build of a projection of crossfade');
        END IF;
    END LOOP;
END
$$;
