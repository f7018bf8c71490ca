-- select_budget: exact sums, bounds, seeds, and what it refuses
CREATE FUNCTION ads(n integer) RETURNS jsonb LANGUAGE sql IMMUTABLE
RETURN (SELECT jsonb_agg(jsonb_build_object(
    'ad_id', 'ad_' || i, 'impressions', 500 * i, 'clicks', 10 * i, 'spend', 7.5 * i,
    'pipeline_value', 20 * (i % 5) * i, 'cash_revenue', 0, 'age_hours', 5 * i) ORDER BY i) FROM generate_series(1, n) i);

-- in input order, to the cent, by seed
SELECT ad_id, current_budget, recommended_budget, round(change_percentage::numeric, 2) AS change, round(confidence::numeric, 4) AS confidence, reason
  FROM artery.select_budget(ads(5), 1000.01, seed => 42);
SELECT sum(recommended_budget), count(DISTINCT metrics ->> 'seed') FROM artery.select_budget(ads(7), 999.99);
SELECT count(*) FROM (
    SELECT * FROM artery.select_budget(ads(50), 500, seed => 1) EXCEPT
    SELECT * FROM artery.select_budget(ads(50), 500, seed => 1)) d;
SELECT count(*) > 40 AS other_seed_other_answer FROM (
    SELECT ad_id, metrics -> 'draw' FROM artery.select_budget(ads(50), 500, seed => 1) EXCEPT
    SELECT ad_id, metrics -> 'draw' FROM artery.select_budget(ads(50), 500, seed => 2)) d;
-- an ad's draw depends on the seed and its id, not on its place among others
SELECT count(DISTINCT metrics -> 'draw')
  FROM (SELECT * FROM artery.select_budget(ads(3), 500, seed => -9) UNION ALL
        SELECT * FROM artery.select_budget(ads(30), 800, seed => -9)) a WHERE ad_id = 'ad_2';
-- a seed that was not given is told, and gives the same again
WITH first AS MATERIALIZED (SELECT * FROM artery.select_budget(ads(10), 100))
SELECT count(*) FROM first f
  JOIN artery.select_budget(ads(10), 100, seed => (SELECT (metrics ->> 'seed')::bigint FROM first LIMIT 1)) s
    ON f.ad_id = s.ad_id AND f.recommended_budget = s.recommended_budget;

-- what a row explains
SELECT string_agg(k, ' ' ORDER BY k) FROM artery.select_budget(ads(1), 10), jsonb_object_keys(metrics) k;
-- one ad gets all; no money is a budget too; no ads are no rows
SELECT recommended_budget, change_percentage FROM artery.select_budget(ads(1), 10);
SELECT sum(recommended_budget) FROM artery.select_budget(ads(3), 0);
SELECT * FROM artery.select_budget('[]', 100);

-- current budget: given, else spend per day of life, one day at least
SELECT ad_id, current_budget FROM artery.select_budget('[
    {"ad_id": "given", "impressions": 1, "clicks": 0, "spend": 70, "pipeline_value": 0, "age_hours": 72, "current_budget": 12.345},
    {"ad_id": "by spend", "impressions": 1, "clicks": 0, "spend": 70, "pipeline_value": 0, "age_hours": 72},
    {"ad_id": "young", "impressions": 1, "clicks": 0, "spend": 70, "pipeline_value": 0, "age_hours": 2}]', 100);

-- bounds: sums stay exact while they can be kept
CREATE TEMP TABLE bounded AS
SELECT b.* FROM artery.select_budget((SELECT jsonb_agg(e || jsonb_build_object('current_budget', 10 * (row_number + 1)))
    FROM (SELECT e, row_number() OVER () FROM jsonb_array_elements(ads(20)) e) x), 2000, seed => 3, max_change => 0.5) b;
SELECT sum(current_budget), sum(recommended_budget), bool_and(abs(change_percentage) <= 50) AS within_half FROM bounded;
SELECT ad_id, recommended_budget, metrics ->> 'bounded_by' AS bounded_by
  FROM artery.select_budget('[
    {"ad_id": "low", "impressions": 100, "clicks": 1, "spend": 1, "pipeline_value": 0, "age_hours": 72, "min_budget": 70},
    {"ad_id": "high", "impressions": 100, "clicks": 1, "spend": 1, "pipeline_value": 0, "age_hours": 72, "max_budget": 5.05},
    {"ad_id": "rest", "impressions": 100, "clicks": 1, "spend": 1, "pipeline_value": 0, "age_hours": 72}]', 100, seed => 1);
-- 3 * 10 * 1.5 = 45 of 100 can be placed, and 3 * 10 * 0.5 = 15 is more than 12
SELECT sum(recommended_budget), min(metrics ->> 'budget_unallocated'), min(metrics ->> 'bounded_by')
  FROM artery.select_budget((SELECT jsonb_agg(e || '{"current_budget": 10}') FROM jsonb_array_elements(ads(3)) e), 100, max_change => 0.5);
SELECT sum(recommended_budget), min(metrics ->> 'budget_unallocated'), min(metrics ->> 'bounded_by')
  FROM artery.select_budget((SELECT jsonb_agg(e || '{"current_budget": 10}') FROM jsonb_array_elements(ads(3)) e), 12, max_change => 0.5);
-- the largest change comes before a minimum it cannot reach
SELECT recommended_budget FROM artery.select_budget((SELECT jsonb_agg(e || '{"current_budget": 10, "min_budget": 50}')
    FROM jsonb_array_elements(ads(1)) e), 100, max_change => 0.5);
-- nothing changes where nothing may
SELECT bool_and(recommended_budget = current_budget) FROM artery.select_budget(ads(9), 100, max_change => 0);

-- DNA scores from outside replace an ad's own: 1 + 0.2 * 0.5 and, clamped, 1 + 0.2 * 1
SELECT ad_id, metrics -> 'dna_boost' AS dna_boost
  FROM artery.select_budget((SELECT jsonb_agg(e || '{"dna_score": 0.1}') FROM jsonb_array_elements(ads(4)) e), 100,
                            '{"ad_1": 0.5, "ad_2": 3, "ad_3": null, "other": 1}', 1);
-- a key that is not known is not taken for one that is
SELECT metrics ->> 'ignored_keys' AS ignored FROM artery.select_budget(
    '[{"ad_id": "a", "impressions": 1, "clicks": 0, "spend": 1, "pipeline_value": 0, "age_hours": 1, "max_buget": 5, "name": "x"}]', 10);
-- 100,000 ads
SELECT count(*), sum(recommended_budget) FROM artery.select_budget(ads(100000), 123456.78, seed => 5);
-- the largest total, to the last cent
SELECT sum(recommended_budget) FROM artery.select_budget(ads(3), 999999999999.99, seed => 5);

-- as an array of states: the same, with the state of each
SELECT count(*) FROM (
    SELECT u.*, (SELECT a FROM jsonb_array_elements(ads(50)) a WHERE a ->> 'ad_id' = u.ad_id)
      FROM artery.select_budget_units(ads(50), 500, NULL, 1, 'blended', 0.5, 2) u EXCEPT
    SELECT * FROM artery.select_budget_units(ARRAY(SELECT jsonb_array_elements(ads(50))), 500, NULL, 1, 'blended', 0.5, 2)) d;
-- also where it is no scan of its own
SELECT count(*) FROM (
    SELECT u FROM artery.select_budget_units(ARRAY(SELECT jsonb_array_elements(ads(50))), 500, NULL, 1, 'blended', 0.5, 2) u EXCEPT
    SELECT artery.select_budget_units(ARRAY(SELECT jsonb_array_elements(ads(50))), 500, NULL, 1, 'blended', 0.5, 2)) d;
SELECT * FROM artery.select_budget_units(ARRAY['{"ad_id": "a"}', NULL]::jsonb[], 500, NULL, 1, 'blended', NULL, 2);
SELECT * FROM artery.select_budget_units(ARRAY['[]']::jsonb[], 500, NULL, 1, 'blended', NULL, 2);

-- refused
SELECT * FROM artery.select_budget(NULL, 100);
SELECT * FROM artery.select_budget('[]', NULL);
SELECT * FROM artery.select_budget('{}', 100);
SELECT * FROM artery.select_budget('5', 100);
SELECT * FROM artery.select_budget('[5]', 100);
SELECT * FROM artery.select_budget('[[]]', 100);
SELECT * FROM artery.select_budget('[{"impressions": 1}]', 100);
SELECT * FROM artery.select_budget('[{"ad_id": 5}]', 100);
SELECT * FROM artery.select_budget(ads(1) || ads(1), 100);
SELECT * FROM artery.select_budget('[{"ad_id": "a", "impressions": 1}]', 100);
SELECT * FROM artery.select_budget(jsonb_set(ads(1), '{0,spend}', '"NaN"'), 100);
SELECT * FROM artery.select_budget(jsonb_set(ads(1), '{0,spend}', '-0.01'), 100);
SELECT * FROM artery.select_budget(jsonb_set(ads(1), '{0,impressions}', '1e400'), 100);
SELECT * FROM artery.select_budget(jsonb_set(ads(1), '{0,age_hours}', 'null'), 100);
SELECT * FROM artery.select_budget(jsonb_set(ads(1), '{0,clicks}', '[1]'), 100);
SELECT * FROM artery.select_budget(jsonb_set(ads(1), '{0,ad_id}', to_jsonb(repeat('x', 300))), 100);
SELECT * FROM artery.select_budget(jsonb_build_array(ads(1) -> 0 || '{"min_budget": 2, "max_budget": 1}'), 100);
SELECT * FROM artery.select_budget(ads(1), -1);
SELECT * FROM artery.select_budget(ads(1), 'NaN');
SELECT * FROM artery.select_budget(ads(1), 100, '[]');
SELECT * FROM artery.select_budget(ads(1), 100, '{"ad_1": "high"}');
SELECT * FROM artery.select_budget(ads(1), 100, model => 'oracle');
SELECT * FROM artery.select_budget(ads(1), 100, max_change => -0.1);
SELECT * FROM artery.select_budget(ads(1), 100, max_change => 'NaN');
DROP FUNCTION ads;
