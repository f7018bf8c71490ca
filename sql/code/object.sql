-- object: objects of jsonb made and joined for thousands of rows

CREATE OR REPLACE FUNCTION artery.make_object(VARIADIC "any")
RETURNS jsonb
LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_make_object';
COMMENT ON FUNCTION artery.make_object("any") IS
'jsonb_build_object without the nulls, for keys that are constants and values of type text, bigint, numeric or float8.';

CREATE OR REPLACE FUNCTION artery.join_objects(a jsonb, b jsonb)
RETURNS jsonb
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_join_objects';
COMMENT ON FUNCTION artery.join_objects(jsonb, jsonb) IS
'Two objects as one: a || b, and where one of them is null the other.';
