DROP TRIGGER knowledge_points_note_swept ON knowledge_points;
DROP TRIGGER price_revisions_note_swept ON price_revisions;
DROP FUNCTION note_swept_history();
DROP TABLE swept_history;
