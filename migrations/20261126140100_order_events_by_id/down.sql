DROP INDEX events_id_idx;
COMMENT ON COLUMN event_consumers.after_transaction IS 'The part ends with the event of this transaction';
COMMENT ON COLUMN event_consumers.after_id IS '... and this id';

UPDATE event_consumers SET reading = NULL, after_transaction = '0', after_id = 0 WHERE reading IS NOT NULL;
