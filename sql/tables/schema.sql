-- schema: made by the script, so that DROP EXTENSION takes it away again and a
-- schema that somebody planted under the name makes the installation fail

CREATE SCHEMA artery;
COMMENT ON SCHEMA artery IS 'Everything of extension artery.';
