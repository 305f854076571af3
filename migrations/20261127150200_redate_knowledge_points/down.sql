DROP TRIGGER knowledge_points_redate ON knowledge_points;
DROP FUNCTION redate_knowledge_points();
