-- Properties of the model `delayed` over many made ads.
BEGIN;
SELECT * FROM no_plan();

CREATE TEMP TABLE made AS
SELECT k, round((r[1] * 5000)::numeric, 2) AS total, CASE WHEN k % 3 > 0 THEN r[2] END AS max_change,
       (SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                   'ad_id', 'ad ' || j, 'impressions', floor(q[1] ^ 6 * 2000000), 'clicks', floor(q[2] ^ 3 * 5000),
                   'spend', round((q[3] ^ 4 * 9000)::numeric, 2), 'pipeline_value', 0, 'age_hours', q[5] * 2000,
                   'stages', jsonb_build_array(jsonb_build_array('lead', floor(q[4] * 100)),
                       jsonb_build_array('demo', floor(q[4] * q[1] * 60)), jsonb_build_array('won', floor(q[4] * q[1] * q[6] * 30))),
                   'won_value', CASE WHEN k % 4 > 0 THEN 10 ^ (k % 7 - 1) END,
                   'current_budget', CASE WHEN j % 4 > 0 THEN round((q[6] * 300)::numeric, 2) END,
                   'min_budget', CASE WHEN j % 3 = 0 THEN round((q[7] * 40)::numeric, 2) END,
                   'max_budget', CASE WHEN j % 5 < 2 THEN round((40 + q[8] * 200)::numeric, 2) END)) ORDER BY j)
          FROM generate_series(1, 1 + k % 40) j
          CROSS JOIN LATERAL (SELECT artery.draw_beta(1, 1, 1000 * k + j, 8) AS q) q) AS states
  FROM generate_series(1, 120) k CROSS JOIN LATERAL (SELECT artery.draw_beta(1, 1, -k, 2) AS r) r;
CREATE TEMP TABLE decided AS
SELECT m.k, m.total, m.max_change, d.*, (e.state ->> 'min_budget')::numeric AS min_budget,
       (e.state ->> 'max_budget')::numeric AS max_budget
  FROM made m
  CROSS JOIN LATERAL (SELECT s.*, row_number() OVER () AS place
                        FROM artery.select_budget(m.states, m.total, seed => m.k, max_change => m.max_change) s) d
  JOIN LATERAL jsonb_array_elements(m.states) WITH ORDINALITY e(state, place) ON e.place = d.place;
SELECT is((SELECT count(*) FROM decided WHERE metrics ->> 'model' = 'delayed'), (SELECT sum(1 + k % 40) FROM generate_series(1, 120) k),
          'one row per ad, by the model that stages ask for');
SELECT is_empty($$
    SELECT k, total, sum(recommended_budget) FROM decided GROUP BY k, total
    HAVING sum(recommended_budget) + coalesce(min((metrics ->> 'budget_unallocated')::numeric), 0) <> total $$,
    'amounts add up to the cent');
SELECT is_empty($$
    SELECT k, ad_id, current_budget, recommended_budget, max_change FROM decided
     WHERE abs(recommended_budget - current_budget) > current_budget * max_change::numeric + 0.0001 $$,
    'nothing moves by more than the largest change');
SELECT is_empty($$
    SELECT k, ad_id, recommended_budget, min_budget, max_budget FROM decided
     WHERE max_change IS NULL AND (recommended_budget < min_budget OR recommended_budget > max_budget) $$,
    'nothing leaves its own bounds');
SELECT is_empty($$
    SELECT k, ad_id, metrics FROM decided
     WHERE confidence IS NULL OR confidence < 0 OR confidence > 1 OR reason = ''
        OR NOT (metrics -> 'value_low')::float8 < (metrics -> 'value_high')::float8
        OR NOT (metrics -> 'probability_best')::float8 BETWEEN 0 AND 1
        OR NOT (metrics -> 'budget_low')::numeric <= (metrics -> 'budget_high')::numeric $$,
    'confidences and probabilities are shares, intervals have an extent');
SELECT is_empty($$
    SELECT k, sum((metrics -> 'probability_best')::float8) AS best, sum((metrics -> 'share')::float8) AS share FROM decided GROUP BY k
    HAVING abs(sum((metrics -> 'probability_best')::float8) - 1) > 1e-6 OR abs(sum((metrics -> 'share')::float8) - 1) > 1e-6 $$,
    'probabilities of being the best and shares add up to 1');

-- The order of ads changes nothing, not a cent and not a bit; nor does asking again.
SELECT is_empty($$
    SELECT d.k, d.ad_id, d.recommended_budget, s.recommended_budget
      FROM made m
      CROSS JOIN LATERAL (SELECT jsonb_agg(e ORDER BY md5(e ->> 'ad_id')) AS states FROM jsonb_array_elements(m.states) e) o
      CROSS JOIN LATERAL artery.select_budget(o.states, m.total, seed => m.k, max_change => m.max_change) s
      JOIN decided d ON d.k = m.k AND d.ad_id = s.ad_id
     WHERE d.recommended_budget <> s.recommended_budget OR d.metrics <> s.metrics OR d.confidence <> s.confidence $$,
    'neither order nor repetition changes anything');
SELECT ok(count(DISTINCT (s.metrics -> 'share')) > 5, 'another seed, another draw')
  FROM generate_series(1, 10) seed CROSS JOIN LATERAL artery.select_budget((SELECT states FROM made WHERE k = 39), 1000, seed => seed) s
 WHERE s.ad_id = 'ad 2';

-- More wins, more worth, whatever else holds.
SELECT is_empty($$
    SELECT m.k FROM made m
      CROSS JOIN LATERAL artery.select_budget(jsonb_set(m.states, '{0,stages}', '[["lead", 200], ["demo", 150], ["won", 100]]'), 1000, seed => 1) s
      JOIN decided d ON d.k = m.k AND d.ad_id = s.ad_id
     WHERE s.ad_id = 'ad 1' AND (s.metrics -> 'value_mean')::float8 <= (d.metrics -> 'value_mean')::float8 $$,
    'wins are worth something');
-- Six ads differ in their enquiries by as much as is said; of 20 each of the first two won 10 and 4.
CREATE FUNCTION pg_temp.worth_of_wins(differ float8) RETURNS float8 LANGUAGE sql AS $$
    SELECT max((s.metrics -> 'value_mean')::float8) FILTER (WHERE s.ad_id = 'ad 1')
           / max((s.metrics -> 'value_mean')::float8) FILTER (WHERE s.ad_id = 'ad 2')
      FROM artery.select_budget((SELECT jsonb_agg(jsonb_build_object('ad_id', 'ad ' || j, 'impressions', 1e6, 'clicks', 20000, 'spend', 5000,
               'pipeline_value', 0, 'age_hours', 2000, 'won_value', 100,
               'stages', jsonb_build_array(jsonb_build_array('lead', CASE WHEN j < 3 THEN 20 ELSE round(20 * differ ^ (-1) ^ j) END),
                   jsonb_build_array('won', CASE j WHEN 1 THEN 10 WHEN 2 THEN 4 ELSE round(7 * differ ^ (-1) ^ j) END)))) FROM generate_series(1, 6) j), 1000, seed => 1) s $$;
SELECT cmp_ok(pg_temp.worth_of_wins(5), '>', pg_temp.worth_of_wins(1) * 1.02, 'where ads differ early in the funnel, a difference later is believed more');

-- Of six ads half get twice the clicks, and 2 ^ power times the enquiries. Two new ads have one enquiry each: what
-- is the one with twice the clicks worth to the other?
CREATE FUNCTION pg_temp.worth_of_clicks(power float8) RETURNS float8 LANGUAGE sql AS $$
    SELECT max((s.metrics -> 'value_mean')::float8) FILTER (WHERE s.ad_id = 'ad 7')
           / max((s.metrics -> 'value_mean')::float8) FILTER (WHERE s.ad_id = 'ad 8')
      FROM artery.select_budget((SELECT jsonb_agg(jsonb_build_object('ad_id', 'ad ' || j, 'impressions', CASE WHEN j < 7 THEN 1e6 ELSE 1e4 END,
               'clicks', CASE WHEN j < 7 THEN 10000 ELSE 100 END * 2 ^ (j % 2), 'spend', CASE WHEN j < 7 THEN 5000 ELSE 50 END,
               'pipeline_value', 0, 'age_hours', 2000, 'won_value', 100,
               'stages', jsonb_build_array(jsonb_build_array('won', CASE WHEN j < 7 THEN round(200 * 2 ^ (power * (j % 2))) ELSE 1 END)))) FROM generate_series(1, 8) j), 1000, seed => 1) s $$;
SELECT cmp_ok(pg_temp.worth_of_clicks(1), '>', pg_temp.worth_of_clicks(0) * 1.1, 'whether clicks that come easily are worth less is learnt from the other ads');
SELECT cmp_ok(pg_temp.worth_of_clicks(1), '>', 1.2::float8, 'where they are not, they count');

-- The same counts, deals that take so many days: the share of the ad that won more.
CREATE FUNCTION pg_temp.share_of_better(days float8) RETURNS float8 LANGUAGE sql AS $$
    SELECT (s.metrics -> 'share')::float8
      FROM artery.select_budget((SELECT jsonb_agg(jsonb_build_object('ad_id', 'ad ' || j, 'impressions', 1e6, 'clicks', 20000, 'spend', 5000,
               'pipeline_value', 0, 'age_hours', 2000, 'won_value', 100, 'stages', jsonb_build_array(jsonb_build_array('won', won)),
               'hops', jsonb_build_array(jsonb_build_object('entered', 20000, 'reached', won, 'duration', won * days))))
          FROM (SELECT j, CASE j WHEN 1 THEN 9 ELSE 6 END AS won FROM generate_series(1, 4) j) x), 1000, seed => 1) s WHERE s.ad_id = 'ad 1' $$;
SELECT cmp_ok(pg_temp.share_of_better(60), '<', pg_temp.share_of_better(0.1) - 0.01,
    'where a mistake would go unnoticed for long, less is staked on a small lead');
SELECT cmp_ok(pg_temp.share_of_better(60), '>', 0.3::float8, 'but it is followed');

-- Three conversions of an ad with few clicks, beside ads with many that are 60 days old; all else alike, it has been shown for so many days.
CREATE FUNCTION pg_temp.worth_of_few(days float8) RETURNS float8 LANGUAGE sql AS $$
    SELECT (s.metrics -> 'value_mean')::float8
      FROM artery.select_budget((SELECT jsonb_agg(jsonb_build_object('ad_id', 'ad ' || j, 'impressions', 1e4 * k, 'clicks', 200 * k, 'spend', 100 * k,
               'pipeline_value', 0, 'age_hours', 24 * CASE j WHEN 1 THEN days ELSE 60 END, 'won_value', 100, 'stages', jsonb_build_array(jsonb_build_array('won', 3 * k)),
               'exposure', artery.fold_exposure('{2, 1}', ARRAY[5e3 * k, 5e3 * k], ARRAY[100 * k, 100 * k], ARRAY[50 * k, 50 * k]),
               'hops', jsonb_build_array(jsonb_build_object('entered', 200 * k, 'reached', 3 * k, 'duration', 3 * k))))
          FROM (SELECT j, CASE j WHEN 1 THEN 1 ELSE 10 END AS k FROM generate_series(1, 5) j) x), 1000, seed => 1) s WHERE s.ad_id = 'ad 1' $$;
SELECT cmp_ok(pg_temp.worth_of_few(60), '<', pg_temp.worth_of_few(3) * 0.95, 'slips come to an ad that is shown for long, however little');
SELECT cmp_ok(pg_temp.worth_of_few(60), '>', pg_temp.worth_of_few(3) * 0.5, 'but not all it has are slips');

-- Numbers at the ends of what is accepted are decided on too.
SELECT is((SELECT sum(recommended_budget) FROM artery.select_budget(jsonb_build_array(
    '{"ad_id": "a", "impressions": 0, "clicks": 0, "spend": 0, "pipeline_value": 0, "age_hours": 0, "stages": [["won", 0]], "won_value": 0}'::jsonb,
    '{"ad_id": "b", "impressions": 1e15, "clicks": 1e15, "spend": 1e12, "pipeline_value": 1e12, "age_hours": 1e7, "stages": [["won", 1e15]], "won_value": 1e12}'::jsonb,
    '{"ad_id": "c", "impressions": 1, "clicks": 1e15, "spend": 1e12, "pipeline_value": 0, "age_hours": 0, "stages": [["won", 1e15]], "won_value": 1}'::jsonb,
    '{"ad_id": "d", "impressions": 1e15, "clicks": 0, "spend": 0.01, "pipeline_value": 0, "age_hours": 1e7, "stages": [["won", 0]], "won_value": 1e12}'::jsonb),
    999.99, seed => 1)), 999.99, 'extremes add up');
SELECT is((SELECT recommended_budget FROM artery.select_budget((SELECT states - 'min_budget' FROM made WHERE k = 40), 77.01, seed => 1)), 77.01, 'one ad gets all');
SELECT is((SELECT sum(recommended_budget) FROM artery.select_budget((SELECT states FROM made WHERE k = 1), 0, seed => 1)), 0.00, 'no money is a budget too');

-- Sums made from the tables in parts are those made at once: nothing depends on when a run looks.
SELECT is(round((artery.fold_exposure('{2, 1, 0.5}', '{1000, 2000, 10}', '{10, 30, 1}', '{5, 8, 0.1}') -> 'impressions')::numeric, 6),
          round((1000 * h ^ 2 + 2000 * h + 10 * h ^ 0.5)::numeric, 6), 'impressions are discounted by age')
  FROM (SELECT sqrt((artery.fold_exposure('{2}', '{1}', '{0}', '{0}') -> 'impressions')::float8) AS h) x;
SELECT is((artery.fold_hop('{1, 3}', '{2, 1}', '{0.5, null}', '{1, 1}') -> k)::numeric, v, 'a step of the funnel: ' || k)
  FROM (VALUES ('entered', 3::numeric), ('reached', 2), ('duration', 1)) x(k, v);
SELECT throws_ok($$SELECT artery.fold_hop('{1}', '{1, 2}', NULL, NULL)$$, '22023', NULL, 'arrays must fit');
SELECT throws_ok($$SELECT artery.fold_hop('{NaN}', '{1}', NULL, NULL)$$, '22003', NULL, 'ages are finite');

SELECT * FROM finish();
ROLLBACK;
