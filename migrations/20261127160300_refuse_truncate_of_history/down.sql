DO $$
DECLARE
    kept REGCLASS;
    refusal NAME;
BEGIN
    FOR kept, refusal IN
        SELECT tgrelid, tgname FROM pg_trigger
        WHERE tgfoid = 'refuse_truncate()'::regprocedure
            AND tgrelid <> ALL (ARRAY['users', 'portfolios', 'positions']::regclass[])
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', refusal, kept);
    END LOOP;
END;
$$;

CREATE OR REPLACE FUNCTION refuse_truncate() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    RAISE insufficient_privilege USING
        MESSAGE = format('%I is not truncated: the audit log would not record what became of its rows', TG_TABLE_NAME),
        HINT = 'DELETE is written down, row by row';
END;
$$;

COMMENT ON FUNCTION refuse_truncate() IS 'Refuses what the audit log could not record';

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION refuse_truncate() SET search_path = %I, pg_temp', current_schema());
END;
$$;
