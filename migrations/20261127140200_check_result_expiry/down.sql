CREATE OR REPLACE FUNCTION move_analysis_version() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    NEW.version := nextval('cache_version');
    RETURN NEW;
END;
$$;

COMMENT ON FUNCTION move_analysis_version() IS 'Moves version on every change of a result';

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION move_analysis_version() SET search_path = %I, pg_temp', current_schema());
END;
$$;
