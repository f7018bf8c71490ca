-- Objects that are written without the server's help must be what the server would have written.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

-- Objects of 0 to 80 pairs, whose keys, values and lengths are made by seed: some alike in both, some nested, some null.
CREATE FUNCTION pg_temp.made(seed integer, size integer) RETURNS jsonb LANGUAGE sql AS $$
    SELECT coalesce(jsonb_object_agg(left(md5((v % 90)::text), 1 + v % 7), CASE v % 8
               WHEN 0 THEN to_jsonb(v * 1.25) WHEN 1 THEN to_jsonb(repeat('x', v % 50)) WHEN 2 THEN 'null'
               WHEN 3 THEN to_jsonb(v % 3 = 0) WHEN 4 THEN jsonb_build_array(v, 'y', jsonb_build_object('z', v / 7.0))
               WHEN 5 THEN jsonb_build_object('a', repeat('b', v % 5), 'c', v) WHEN 6 THEN '{}' ELSE to_jsonb(v::float8 ^ -3) END), '{}')
      FROM (SELECT abs(hashint4(seed * 1000 + i)) % 10007 AS v FROM generate_series(1, size) i) n
$$;
CREATE TEMP TABLE pair AS
SELECT i, pg_temp.made(i, i % 81) AS a, pg_temp.made(-i, (i * 7) % 81) AS b FROM generate_series(1, 1500) i;
SELECT cmp_ok(max((SELECT count(*) FROM jsonb_object_keys(p.a || p.b)))::int, '>', 64, 'some have more keys than one offset covers') FROM pair p;
CREATE FUNCTION pg_temp.differs(x jsonb, y jsonb) RETURNS boolean LANGUAGE sql AS $$
    -- as stored, byte for byte
    SELECT x::text <> y::text OR pg_column_size(x) <> pg_column_size(y) OR jsonb_hash(x) <> jsonb_hash(y) OR jsonb_send(x) <> jsonb_send(y)
        OR EXISTS (SELECT FROM jsonb_each(y) e WHERE x -> e.key IS DISTINCT FROM e.value)
$$;
SELECT is_empty($$ SELECT * FROM pair WHERE pg_temp.differs(artery.join_objects(a, b), a || b) $$, 'objects are joined as || joins them');
SELECT is(artery.join_objects(NULL, '{"a": 1}'), '{"a": 1}', 'nothing with an object is the object');
SELECT is(artery.join_objects('{"a": 1}', NULL), '{"a": 1}', 'an object with nothing, too');
SELECT is(artery.join_objects(NULL, NULL), NULL, 'of nothing comes nothing');
SELECT is(artery.join_objects('[1]', '{"a": 1}'), '[1, {"a": 1}]', 'what is no object is joined as || does');

CREATE TEMP TABLE field AS
SELECT i, CASE WHEN i % 5 > 0 THEN repeat('ä"' || i, i % 40) END AS t, CASE WHEN i % 7 > 0 THEN i * 922337203685::bigint * (i % 9999) END AS n,
       CASE WHEN i % 3 > 0 THEN (i * 1.10) ^ (i % 60) END AS d,
       CASE WHEN i % 11 > 0 THEN (ARRAY[i / 7.0::float8, i, -i * 1e14, 1e-9 / i, 1e300 * i, 'NaN', 'Infinity', -0.0])[1 + i % 8] END AS f
  FROM generate_series(1, 2000) i;
SELECT is_empty($$
    SELECT f.* FROM field f
     WHERE pg_temp.differs(artery.make_object('text', f.t, 'n', f.n, 'numeric', f.d, 'float', f.f, 'm', f.n),
                           jsonb_strip_nulls(jsonb_build_object('text', f.t, 'n', f.n, 'numeric', f.d, 'float', f.f, 'm', f.n))) $$,
    'objects are made as jsonb_build_object makes them');
SELECT is(artery.make_object('n', 'NaN'::numeric), '{"n": "NaN"}', 'what is no number in JSON is a text');

-- States of ads, with 0 to 16 stages of which some were reached, lists of more numbers than one offset covers among them.
CREATE TEMP TABLE state (i integer, made jsonb);
-- not compressed, so that their sizes can be compared
ALTER TABLE state ALTER COLUMN made SET STORAGE PLAIN;
INSERT INTO state
SELECT i, artery.funnel_state(
           ARRAY(SELECT repeat('s', 1 + k % 5) || k FROM generate_series(1, i % 17) k), CASE WHEN i % 3 > 0 THEN (1.10 * i) ^ (i % 40) END,
           CASE WHEN i % 4 > 0 THEN artery.exposure_sums(NULL, ARRAY[0, 1], ARRAY[i, i / 3.0], ARRAY[1, i / 7.0], ARRAY[i % 2, 5]) END, i % 5,
           CASE WHEN i % 5 > 0 THEN artery.hop_sums(NULL, 0, ARRAY[i % 90], ARRAY[i / 9.0], NULL, NULL) END, ARRAY[1, 2, i % 17],
           (SELECT array_agg(artery.hop_sums(NULL, 0, ARRAY[k], ARRAY[i / 9.0], ARRAY[k], ARRAY[i / 11.0]) ORDER BY k) FROM generate_series(1, 3) k),
           ARRAY[0.5, 1, 2 * i]) AS made
  FROM generate_series(1, 300) i;
SELECT is_empty($$ SELECT * FROM state WHERE pg_temp.differs(made, made::text::jsonb) $$, 'states are objects like any other');

-- A list of them, of more bytes than its first room holds several times over; as array_agg makes it, byte for byte.
SELECT is(md5(array_send(artery.list_objects(a ORDER BY i))), md5(array_send(array_agg(a ORDER BY i))), 'a list of objects is the array of them') FROM pair;
SELECT ok(pg_column_size(x.list) > 5000000 AND md5(array_send(x.list)) = md5(array_send(x.same)), 'also of megabytes')
  FROM (SELECT artery.list_objects(p.long ORDER BY p.i) AS list, array_agg(p.long ORDER BY p.i) AS same
          FROM (SELECT i, a || jsonb_build_object('t', repeat(md5(i::text), 100)) AS long FROM pair) p) x;
SELECT is(artery.list_objects(o), ARRAY['{"a": 1}', '{}']::jsonb[], 'without the nulls') FROM (VALUES (NULL::jsonb), ('{"a": 1}'), (NULL), ('{}')) v(o);
SELECT is(artery.list_objects(o), NULL, 'of nulls there is none') FROM (VALUES (NULL::jsonb)) v(o);
SELECT is(artery.list_objects(a), NULL, 'nor of nothing') FROM pair WHERE false;
SELECT is((SELECT count(DISTINCT jsonb_array_length(made -> 'hops')) FROM state), 17::bigint, 'of every length');

SELECT * FROM finish();
ROLLBACK;
