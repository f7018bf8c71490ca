-- Clicks in partitions by time: made ahead, ids that come in once whatever the partition, expiry.
\set VERBOSITY terse
SELECT artery.add_tenant('part_a'), artery.add_tenant('part_b');

-- The first tenant brings what the week before, this one and the next two lie in, and one for other times.
SELECT bool_or(since <= artery.now() - interval '7 days') AS last_week, bool_or(since <= artery.now() AND until > artery.now()) AS this_week,
       bool_or(until > artery.now() + interval '14 days') AS ahead, count(*) FILTER (WHERE is_other) AS other,
       bool_and(extract(isodow FROM since AT TIME ZONE 'UTC') = 1) AS mondays
  FROM artery.v_click_partitions;

-- History lies in the one for other times, until it gets partitions. Clicks move along, none is lost.
SELECT artery.track_click('part_a', 'c', 'a', 'p' || i, ip_address => '192.0.2.1', click_timestamp => '2011-01-03 12:00+00'::timestamptz + i * interval '1 day')
  FROM generate_series(0, 9) i \g /dev/null
SELECT count(*) FROM artery.click_tracking_other WHERE tenant_id = 'part_a';
SELECT artery.make_click_partitions('2011-01-05', '2011-01-11', 7) AS weeks, artery.make_click_partitions('2011-01-03', '2011-01-16 23:59:59+00') AS again;
SELECT tableoid::regclass AS partition, count(*) FROM artery.click_tracking WHERE tenant_id = 'part_a' GROUP BY 1 ORDER BY 1;
-- Days before and between weeks; the days that are taken already are left alone. 2010-12-31 to 2011-01-02, then 17 and 18.
SELECT artery.make_click_partitions('2010-12-31', '2011-01-18 01:00+00', 1) AS days;
SELECT partition, since AT TIME ZONE 'UTC' AS since, until - since AS length
  FROM artery.v_click_partitions WHERE until < '2012-01-01' ORDER BY since;
SELECT artery.make_click_partitions('2009-12-31', '2011-01-01');
SELECT artery.make_click_partitions('2011-01-02', '2011-01-01');
SELECT artery.make_click_partitions('2011-01-02', '2011-01-02', 0);
SELECT artery.make_click_partitions('2010-01-01', '2011-06-01', 1);
\set VERBOSITY sqlstate
SELECT artery.make_click_partitions(artery.now(), artery.now() + interval '367 days');
SELECT artery.make_click_partitions(NULL, artery.now());
\set VERBOSITY terse

-- The same click with another time is the same click, in whichever partition either would lie.
SELECT artery.track_click('part_a', 'c', 'late', 'p1', click_timestamp => '2011-01-15'), artery.track_click('part_a', 'c', 'late', 'p1'),
       artery.track_click('part_a', 'c', 'late', 'p9', click_timestamp => '2015-01-15');
INSERT INTO artery.click_tracking (tenant_id, click_id, ad_id, click_timestamp) VALUES
    ('part_a', 'p2', 'late', artery.now()), ('part_a', 'p2', 'late', '2015-01-15'),
    ('part_a', 'q1', 'first', '2015-01-15'), ('part_a', 'q1', 'second', '2011-01-04'), ('part_b', 'p2', 'own', '2011-01-04');
SELECT click_id, ad_id, tenant_id, click_timestamp AT TIME ZONE 'UTC' AS at FROM artery.click_tracking
 WHERE tenant_id IN ('part_a', 'part_b') AND click_id IN ('p1', 'p2', 'p9', 'q1') ORDER BY 1, 3;
-- An id made here that comes back, too: it tells the time of its click.
SELECT artery.track_click('part_a', 'c', 'made', click_timestamp => '2011-01-06 07:08:09.123456+00') AS made \gset
SELECT artery.track_click('part_a', 'c', 'again', :'made', click_timestamp => '2014-01-01') = :'made' AS same;
INSERT INTO artery.click_tracking (tenant_id, click_id, ad_id) VALUES ('part_a', :'made', 'again');
SELECT count(*), min(ad_id) FROM artery.click_tracking WHERE tenant_id = 'part_a' AND click_id = :'made';
-- Others' ids in the same form are taken like any.
SELECT artery.track_click('part_a', 'c', 'a', '018d4c1e-0000-7000-8000-000000000000', click_timestamp => '2011-01-06') AS other,
       artery.track_click('part_a', 'c', 'b', '018d4c1e-0000-7000-8000-000000000000') AS again;
SELECT ad_id, tableoid::regclass FROM artery.click_tracking WHERE tenant_id = 'part_a' AND click_id LIKE '018d4c1e%';
-- A click that was removed may come again.
DELETE FROM artery.click_tracking WHERE tenant_id = 'part_a' AND click_id = 'p3';
SELECT artery.track_click('part_a', 'c', 'new', 'p3', click_timestamp => '2011-01-18') \g /dev/null
SELECT artery.track_click('part_a', 'c', 'newer', 'p3', click_timestamp => '2011-01-19') \g /dev/null
SELECT ad_id, tableoid::regclass FROM artery.click_tracking WHERE tenant_id = 'part_a' AND click_id = 'p3';

-- Without a time it is now, left out or null, by INSERT and by COPY; in the partition of now.
INSERT INTO artery.click_tracking (tenant_id, click_id) VALUES ('part_b', 'left_out');
INSERT INTO artery.click_tracking (tenant_id, click_id, click_timestamp) VALUES ('part_b', 'null', NULL), ('part_b', 'null', NULL);
INSERT INTO artery.click_tracking (tenant_id, ad_id, click_timestamp) VALUES ('part_b', 'no_id', NULL);
COPY artery.click_tracking (tenant_id, click_id, click_timestamp) FROM stdin;
part_b	copied	\N
\.
SELECT coalesce(ad_id, click_id) AS click, click_timestamp BETWEEN tracked_at - interval '1 minute' AND tracked_at AS now,
       tableoid <> 'artery.click_tracking_other'::regclass AS placed
  FROM artery.click_tracking WHERE tenant_id = 'part_b' AND click_timestamp > '2020-01-01' ORDER BY 1;
-- What RETURNING says is what is stored.
INSERT INTO artery.click_tracking (tenant_id, ad_id, click_timestamp) VALUES ('part_b', 'told', '2011-01-06')
RETURNING length(click_id), tracked_at IS NOT NULL AS taken;

-- Attribution finds clicks across partitions: the window reaches from the week into the one before, and to the last one.
SELECT artery.configure_tenant('part_a', '{"attribution_model": "layered"}') \g /dev/null
SELECT v.id, a.attributed_click_id, a.candidates, a.reason
  FROM (VALUES ('both', '2011-01-11 13:00+00'::timestamptz), ('before', '2011-01-18 12:00+00'), ('late', '2011-01-20 13:00+00')) v (id, at),
       LATERAL artery.attribute_conversion('part_a', v.id, 'lead', conversion_timestamp => v.at, ip_address => '192.0.2.1',
           click_id => CASE v.id WHEN 'before' THEN 'p9' WHEN 'late' THEN 'p0' END) a;

-- Expiry drops whole partitions and deletes the rest, in the one for other times too.
SELECT count(*) FROM artery.click_tracking WHERE click_timestamp < '2011-01-06' \gset
SELECT artery.expire_clicks('2011-01-06') = :count AS all_of_them;
SELECT partition FROM artery.v_click_partitions WHERE until < '2012-01-01' ORDER BY since;
SELECT count(*), min(click_timestamp) >= '2011-01-06' AS rest FROM artery.click_tracking WHERE tenant_id = 'part_a';
-- The ids of those are free again.
SELECT artery.track_click('part_a', 'c', 'again', 'p0', click_timestamp => '2011-01-04') \g /dev/null
SELECT ad_id, tableoid::regclass FROM artery.click_tracking WHERE tenant_id = 'part_a' AND click_id = 'p0';
SELECT artery.expire_clicks('2012-01-01') >= 8 AS expired;
SELECT count(*) FROM artery.v_click_partitions WHERE until < '2012-01-01';

-- What the worker does, step by step, where nobody else has left it anything to do.
DO $$ BEGIN FOR i IN 1..100 LOOP EXIT WHEN artery.keep_click_partitions(100000) IS NULL; END LOOP; END $$;
-- Six weeks on, some are missing.
BEGIN;
SET LOCAL artery.clock_offset = 3628800;
SELECT artery.keep_click_partitions(10) AS first, artery.keep_click_partitions(10) AS second;
SELECT bool_or(until > artery.now() + interval '14 days') AS ahead FROM artery.v_click_partitions;
ROLLBACK;
-- 130 days on, by artery.retention_clicks (90): made, then one partition a step, then the rest in batches.
BEGIN;
INSERT INTO artery.click_tracking (tenant_id, click_timestamp) SELECT 'part_b', artery.now() - i * interval '50 days' FROM generate_series(0, 1) i;
SET LOCAL artery.clock_offset = 11232000;
SELECT artery.keep_click_partitions(100000) AS step;
SELECT artery.keep_click_partitions(100000) AS step;
DO $$ BEGIN FOR i IN 1..100 LOOP EXIT WHEN artery.keep_click_partitions(100000) IS DISTINCT FROM 'dropped'; END LOOP; END $$;
SELECT count(*) FROM artery.click_tracking WHERE click_timestamp < artery.now() - interval '90 days';
ROLLBACK;
-- In a partition of more than 100,000 those that are too old wait until all of it can go.
BEGIN;
SELECT artery.make_click_partitions(date_trunc('day', artery.now()) - interval '90 days', date_trunc('day', artery.now()) - interval '90 days', 28) AS made;
INSERT INTO artery.click_tracking (tenant_id, click_id, click_timestamp) SELECT 'part_b', 'aged', date_trunc('day', artery.now()) - interval '90 days';
UPDATE pg_class SET reltuples = 100001 WHERE oid = (SELECT tableoid FROM artery.click_tracking WHERE tenant_id = 'part_b' AND click_id = 'aged');
SELECT artery.keep_click_partitions(10) AS step;
SELECT count(*) FROM artery.click_tracking WHERE tenant_id = 'part_b' AND click_id = 'aged';
UPDATE pg_class SET reltuples = 100000 WHERE oid = (SELECT tableoid FROM artery.click_tracking WHERE tenant_id = 'part_b' AND click_id = 'aged');
SELECT artery.keep_click_partitions(10) AS step;
SELECT count(*) FROM artery.click_tracking WHERE tenant_id = 'part_b' AND click_id = 'aged';
ROLLBACK;
-- Many clicks of a week that has no partition are moved to one; a few of a month before are not.
SET artery.clock_offset = -315360000;
INSERT INTO artery.click_tracking (tenant_id, click_id, click_timestamp)
SELECT 'part_b', 'many' || i, artery.now() - CASE WHEN i <= 10000 THEN interval '40 days' ELSE interval '75 days' END
  FROM generate_series(1, 10200) i;
SELECT count(*) FROM artery.click_tracking_other WHERE tenant_id = 'part_b';
SELECT artery.expire_clicks(artery.now() - interval '80 days') IS NOT NULL AS expired;
SELECT artery.keep_click_partitions(10) AS step;
SELECT artery.keep_click_partitions(10) AS step;
SELECT artery.keep_click_partitions(10) AS step;
SELECT count(*) FROM artery.click_tracking_other WHERE tenant_id = 'part_b';
SELECT count(*) FROM artery.click_tracking WHERE tenant_id = 'part_b' AND click_id LIKE 'many%';
RESET artery.clock_offset;
SELECT artery.expire_clicks('2020-01-01') >= 10200 AS expired;
