-- TRUNCATE fires no trigger of rows: bars were gone without a revision, so that what had been known before changed, and
-- results, corporate actions and events without a trace.
CREATE OR REPLACE FUNCTION refuse_truncate() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    RAISE insufficient_privilege USING
        MESSAGE = format('%I is not truncated: nothing would record what became of its rows', TG_TABLE_NAME),
        HINT = 'DELETE is written down, row by row';
END;
$$;

COMMENT ON FUNCTION refuse_truncate() IS 'Refuses what no trigger of rows could record';

-- A partition can be truncated by itself: each has the trigger. Those that are made later get it with their table.
DO $$
DECLARE
    kept REGCLASS;
BEGIN
    EXECUTE format('ALTER FUNCTION refuse_truncate() SET search_path = %I, pg_temp', current_schema());
    FOR kept IN
        SELECT unnest(ARRAY['price_history', 'price_revisions', 'corporate_actions', 'analysis_results',
            'events']::regclass[])
        UNION ALL
        SELECT inhrelid FROM pg_inherits WHERE inhparent = 'price_history'::regclass
    LOOP
        EXECUTE format(
            'CREATE TRIGGER %I BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate()',
            (SELECT relname FROM pg_class WHERE oid = kept) || '_refuse_truncate', kept);
    END LOOP;
END;
$$;
