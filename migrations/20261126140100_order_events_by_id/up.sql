-- Readers went by transaction and id, page by page, and put each page alone in the order of ids. Where an older
-- transaction changed a row after a younger one had, the later change could come on an earlier page. Readers go by id
-- now, within what their snapshot sees: of two changes of one row the later has the greater id, and is committed later.
CREATE INDEX events_id_idx ON events (id);

COMMENT ON INDEX events_id_idx IS 'Events in their order';
COMMENT ON COLUMN event_consumers.after_transaction IS 'Not used since events are read in the order of their ids';
COMMENT ON COLUMN event_consumers.after_id IS 'The part ends with the event of this id';

-- What was read in part in the other order comes again: at least once is what is promised.
UPDATE event_consumers SET reading = NULL, after_transaction = '0', after_id = 0 WHERE reading IS NOT NULL;
