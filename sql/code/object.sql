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

CREATE OR REPLACE FUNCTION artery.list_add(list internal, object jsonb)
RETURNS internal
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_list_add';
COMMENT ON FUNCTION artery.list_add(internal, jsonb) IS 'One more object of artery.list_objects.';

CREATE OR REPLACE FUNCTION artery.list_end(list internal)
RETURNS jsonb[]
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_list_end';
COMMENT ON FUNCTION artery.list_end(internal) IS 'What artery.list_objects comes to.';

CREATE OR REPLACE AGGREGATE artery.list_objects(jsonb) (
    SFUNC = artery.list_add, STYPE = internal, FINALFUNC = artery.list_end, FINALFUNC_MODIFY = READ_WRITE, PARALLEL = SAFE
);
COMMENT ON AGGREGATE artery.list_objects(jsonb) IS
'array_agg of objects, without the nulls, in the order in which they come; for thousands of long ones.';
