-- select_budget in FROM is a scan of its own, which says what the function says.
CREATE TEMP TABLE states AS
SELECT jsonb_agg(jsonb_build_object('ad_id', 'ad_' || i, 'impressions', 500 * i, 'clicks', 10 * i, 'spend', 7.5 * i,
           'pipeline_value', 20 * (i % 5) * i, 'age_hours', 15 * i) ORDER BY i) AS ads FROM generate_series(1, 12) i;
CREATE TEMP TABLE planned (ad_id text PRIMARY KEY, budget numeric);
INSERT INTO planned SELECT 'ad_' || i FROM generate_series(1, 12) i;

-- As a scan, and as the function where ordinality, whole rows or locked rows are asked for.
EXPLAIN (COSTS OFF, VERBOSE) SELECT s.ad_id FROM artery.select_budget('[]', 1) s WHERE s.reason <> '';
EXPLAIN (COSTS OFF) SELECT s.ad_id FROM artery.select_budget('[]', 1) WITH ORDINALITY s;
EXPLAIN (COSTS OFF) SELECT s FROM artery.select_budget('[]', 1) s;
EXPLAIN (COSTS OFF) UPDATE planned p SET budget = s.recommended_budget FROM artery.select_budget('[]', 1) s WHERE s.ad_id = p.ad_id;

-- The same rows, also where only some columns are read: 12 of each.
CREATE TEMP TABLE kept AS
SELECT k.* FROM states, artery.select_budget(ads, 1000, seed => 1, model => 'blended', max_change => 0.5) WITH ORDINALITY k;
SELECT count(*) FROM states, artery.select_budget(ads, 1000, seed => 1, model => 'blended', max_change => 0.5) s
  JOIN kept k USING (ad_id, current_budget, recommended_budget, confidence, reason, metrics)
 WHERE s.change_percentage IS NOT DISTINCT FROM k.change_percentage;
SELECT count(*) FROM states, artery.select_budget(ads, 1000, seed => 1, model => 'blended', max_change => 0.5) s
  JOIN kept k USING (ad_id, recommended_budget);
SELECT count(*) FROM states, artery.select_budget(ads, 1000, seed => 1, model => 'blended', max_change => 0.5) s
  JOIN kept k ON k.ad_id = s.ad_id AND md5(k.metrics::text) = md5(s.metrics::text);
SELECT count(*) FROM states, artery.select_budget(ads, 1000, seed => 1, model => 'blended', max_change => 0.5) s
 WHERE s.reason = (SELECT k.reason FROM kept k WHERE k.ad_id = s.ad_id);
SELECT s.ad_id FROM artery.select_budget('[]', 1) s;

-- A decision for each total: all of it is spent.
SELECT t.total, count(*), sum(s.recommended_budget)
  FROM states CROSS JOIN (VALUES (100), (200), (300)) t (total)
 CROSS JOIN LATERAL artery.select_budget(ads, t.total, seed => 1, model => 'blended') s GROUP BY 1 ORDER BY 1;

-- Looked at again and again, a decision without a seed is still one: what is asked of it differs, not what it was asked.
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_material = off;
SELECT sum(t.budget) FROM (
    SELECT (SELECT s.recommended_budget FROM artery.select_budget(
                (SELECT ads FROM states), 1000, model => 'blended') s WHERE s.ad_id = p.ad_id OFFSET 0) AS budget FROM planned p) t;
SELECT count(*), sum(s.recommended_budget) FROM planned p
  JOIN artery.select_budget((SELECT ads FROM states), 1000, model => 'blended') s ON s.ad_id >= p.ad_id AND s.ad_id <= p.ad_id;
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET enable_material;

-- Forth and back: ad_1 to ad_3, ad_2, then behind the last, which is ad_12, and before the first.
BEGIN;
DECLARE walk SCROLL CURSOR FOR
    SELECT s.ad_id, s.reason <> '' AS explained FROM artery.select_budget((SELECT ads FROM states), 1000, seed => 1, model => 'blended') s;
FETCH 3 FROM walk;
FETCH BACKWARD 1 FROM walk;
MOVE ALL FROM walk;
FETCH PRIOR FROM walk;
MOVE BACKWARD ALL FROM walk;
FETCH NEXT FROM walk;
COMMIT;

-- As the function: changes of rows, inserted rows, rows as a whole.
UPDATE planned p SET budget = s.recommended_budget
  FROM states, artery.select_budget(ads, 1000, seed => 1, model => 'blended', max_change => 0.5) s WHERE s.ad_id = p.ad_id;
SELECT count(*) FROM planned p JOIN kept k ON k.ad_id = p.ad_id AND k.recommended_budget = p.budget;
DELETE FROM planned;
INSERT INTO planned SELECT s.ad_id, s.recommended_budget FROM states, artery.select_budget(ads, 1000, seed => 1, model => 'blended', max_change => 0.5) s;
SELECT count(*) FROM planned p JOIN kept k ON k.ad_id = p.ad_id AND k.recommended_budget = p.budget;
SELECT count(s) FROM states, artery.select_budget(ads, 1000, seed => 1, model => 'blended') s;

-- Errors, and the right to execute, are the function's.
SELECT s.ad_id FROM artery.select_budget('{}', 1) s;
CREATE ROLE regress_select_scan;
BEGIN;
REVOKE EXECUTE ON FUNCTION artery.select_budget FROM PUBLIC;
GRANT USAGE ON SCHEMA artery TO regress_select_scan;
SET ROLE regress_select_scan;
SELECT s.ad_id FROM artery.select_budget('[]', 1) s;
ROLLBACK;
DROP ROLE regress_select_scan;
