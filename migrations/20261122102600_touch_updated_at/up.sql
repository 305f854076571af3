-- updated_at had a default and never moved again. A trigger moves it whoever writes; a later change in
-- one transaction moves it further, and an update that changes nothing leaves it.
CREATE FUNCTION touch_updated_at() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    -- The clock may have been set back, or may not have moved a whole microsecond.
    NEW.updated_at := GREATEST(clock_timestamp(), OLD.updated_at + INTERVAL '1 microsecond');
    RETURN NEW;
END;
$$;

COMMENT ON FUNCTION touch_updated_at() IS
    'Moves updated_at forward on every change of a row, also twice in one transaction';

CREATE TRIGGER users_touch_updated_at
    BEFORE UPDATE ON users
    FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER portfolios_touch_updated_at
    BEFORE UPDATE ON portfolios
    FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER positions_touch_updated_at
    BEFORE UPDATE ON positions
    FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER analysis_results_touch_updated_at
    BEFORE UPDATE ON analysis_results
    FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION touch_updated_at();

COMMENT ON COLUMN users.updated_at IS 'Time of the latest change, kept by a trigger';
COMMENT ON COLUMN portfolios.updated_at IS 'Time of the latest change, kept by a trigger';
COMMENT ON COLUMN positions.updated_at IS 'Time of the latest change, kept by a trigger';
COMMENT ON COLUMN analysis_results.updated_at IS 'Time of the latest change, kept by a trigger';
