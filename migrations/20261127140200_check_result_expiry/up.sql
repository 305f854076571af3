-- A result that had expired when it was computed could be stored by other programs. Only a new one is refused: to let a
-- result expire, also one from a clock that is ahead, its expiry is set to now.
CREATE OR REPLACE FUNCTION move_analysis_version() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.expires_at <= NEW.calculated_at THEN
        RAISE check_violation USING MESSAGE = 'a result expires after it was computed',
            TABLE = 'analysis_results', COLUMN = 'expires_at',
            CONSTRAINT = 'analysis_results_expires_later';
    END IF;
    NEW.version := nextval('cache_version');
    RETURN NEW;
END;
$$;

COMMENT ON FUNCTION move_analysis_version() IS
    'Moves version on every change of a result, and refuses a new one that expires before it was computed';

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION move_analysis_version() SET search_path = %I, pg_temp', current_schema());
END;
$$;
