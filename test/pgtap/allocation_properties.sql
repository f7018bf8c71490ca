-- Properties of draws and allotments that hold for any input, over many made by seed.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

-- Draws: mean and variance within 4.5 standard errors, n = 20000.
-- Gamma(a): mean a, variance a, fourth central moment 3 a^2 + 6 a.
SELECT ok(abs(m.mean - s.shape) < 4.5 * sqrt(s.shape / 20000)
          AND abs(m.variance - s.shape) < 4.5 * sqrt((2 * s.shape ^ 2 + 6 * s.shape) / 20000),
          format('moments of gamma(%s): mean %s, variance %s', s.shape, m.mean, m.variance))
  FROM (VALUES (0.05::float8), (0.5), (1), (3), (10000)) s(shape)
  CROSS JOIN LATERAL (SELECT avg(x) AS mean, var_samp(x) AS variance FROM unnest(artery.draw_gamma(s.shape, 11, 20000)) x) m;
-- Beta(a, b): mean a / (a + b), variance a b / ((a + b)^2 (a + b + 1))
SELECT ok(abs(m.mean - s.a / (s.a + s.b)) < 4.5 * sqrt(v.variance / 20000) AND m.variance BETWEEN 0.9 * v.variance AND 1.1 * v.variance
          AND m.lowest >= 0 AND m.highest <= 1,
          format('moments of beta(%s, %s): mean %s, variance %s', s.a, s.b, m.mean, m.variance))
  FROM (VALUES (0.5::float8, 0.5::float8), (1, 1), (3, 1), (1, 30), (75, 28), (2427.12, 2574.88), (1.000003, 250001)) s(a, b)
  CROSS JOIN LATERAL (SELECT s.a * s.b / ((s.a + s.b) ^ 2 * (s.a + s.b + 1)) AS variance) v
  CROSS JOIN LATERAL (SELECT avg(x) AS mean, var_samp(x) AS variance, min(x) AS lowest, max(x) AS highest
                        FROM unnest(artery.draw_beta(s.a, s.b, 12, 20000)) x) m;

-- Kolmogorov and Smirnov: the largest distance from the exact distribution, where
-- there is a closed form, stays below 1.95 / sqrt(n) (one in a thousand).
CREATE TEMP TABLE drawn (name text, x float8, probability float8);
INSERT INTO drawn SELECT 'gamma(1)', x, 1 - exp(-x) FROM unnest(artery.draw_gamma(1, 21, 20000)) x;
INSERT INTO drawn SELECT 'gamma(3)', x, 1 - exp(-x) * (1 + x + x * x / 2) FROM unnest(artery.draw_gamma(3, 22, 20000)) x;
INSERT INTO drawn SELECT 'beta(0.05, 1)', x, x ^ 0.05 FROM unnest(artery.draw_beta(0.05, 1, 23, 20000)) x;
INSERT INTO drawn SELECT 'beta(1, 5)', x, 1 - (1 - x) ^ 5 FROM unnest(artery.draw_beta(1, 5, 24, 20000)) x;
INSERT INTO drawn SELECT 'beta(0.5, 0.5)', x, 2 / pi() * asin(sqrt(x)) FROM unnest(artery.draw_beta(0.5, 0.5, 25, 20000)) x;
INSERT INTO drawn SELECT 'beta(3, 1)', x, x ^ 3 FROM unnest(artery.draw_beta(3, 1, 26, 20000)) x;
SELECT ok(max(distance) < 1.95 / sqrt(20000), format('%s is distributed as it should be: %s', name, max(distance)))
  FROM (SELECT name, greatest(row_number() OVER each / 20000.0 - probability,
                              probability - (row_number() OVER each - 1) / 20000.0) AS distance
          FROM drawn WINDOW each AS (PARTITION BY name ORDER BY x)) d
 GROUP BY name ORDER BY name;
-- Where there is none, against the regularised incomplete gamma function by its series, P(a, x) = e^(-x + a ln x - ln Gamma(a + 1))
-- (1 + x / (a + 1) + x^2 / ((a + 1) (a + 2)) + ...), at sixty places of the sample.
CREATE FUNCTION pg_temp.gamma_p(a float8, x float8) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
    term float8 := 1;
    sum  float8 := 1;
    n    float8 := a;
    -- Stirling's series above 10, reached by the recurrence
    y    float8 := a + 1;
    log_gamma float8 := 0;
BEGIN
    WHILE y < 10 LOOP
        log_gamma := log_gamma - ln(y);
        y := y + 1;
    END LOOP;
    log_gamma := log_gamma + (y - 0.5) * ln(y) - y + 0.5 * ln(2 * pi()) + 1 / (12 * y) - 1 / (360 * y ^ 3) + 1 / (1260 * y ^ 5);
    WHILE term > sum * 1e-14 LOOP
        n := n + 1;
        term := term * x / n;
        sum := sum + term;
    END LOOP;
    RETURN exp(-x + a * ln(x) - log_gamma + ln(sum));
END $$;
SELECT ok(max(distance) < 1.95 / sqrt(20000), format('gamma(%s) is distributed as it should be: %s', shape, max(distance)))
  FROM (SELECT s.shape, abs(d.rank / 20000.0 - pg_temp.gamma_p(s.shape, d.x)) AS distance
          FROM (VALUES (0.05::float8), (0.5), (1), (3), (10000)) s(shape)
         CROSS JOIN LATERAL (SELECT x, row_number() OVER (ORDER BY x) AS rank FROM unnest(artery.draw_gamma(s.shape, 27, 20000)) x) d
         WHERE d.rank % 333 = 0) e
 GROUP BY shape ORDER BY shape;
SELECT throws_ok('SELECT artery.draw_beta(0, 1, 1)', '22003', NULL, 'a shape of 0 is refused');
SELECT throws_ok($$ SELECT artery.draw_gamma('NaN', 1) $$, '22003', NULL, 'NaN is no shape');
SELECT throws_ok('SELECT artery.draw_gamma(1, 1, -1)', '22003', NULL, 'so is a negative count');

-- Softmax: adds up exactly, keeps the order of the samples, is within a cent of the exact share.
SELECT ok(bool_and(a.total = c.total) AND bool_and(a.ordered) AND bool_and(a.close), 'softmax_allocation: 300 splits are exact, ordered and close')
  FROM (SELECT i, round((random_value[1] * 100000)::numeric, 2) AS total, random_value[3:3 + i % 60] AS samples,
               0.05 + random_value[2] * 3 AS temperature
          FROM generate_series(1, 300) i CROSS JOIN LATERAL (SELECT artery.draw_beta(1, 1, i, 70) AS random_value) r) c
  CROSS JOIN LATERAL (
      SELECT sum(b) AS total, coalesce(bool_and(b >= lag OR lag IS NULL), true) AS ordered,
             bool_and(abs(b - c.total::float8 * e / all_e) < 0.01000001) AS close
        FROM (SELECT b, lag(b) OVER (ORDER BY x, b) AS lag, exp(x / c.temperature) AS e, sum(exp(x / c.temperature)) OVER () AS all_e
                FROM unnest(artery.softmax_allocation(c.samples, c.total, c.temperature), c.samples) u(b, x)) s) a;

-- select_budget: whatever the ads and bounds, amounts are within the bounds, and add
-- up to the cent to the total less what metrics calls unallocated.
CREATE TEMP TABLE made AS
SELECT k, round((r[1] * 5000)::numeric, 2) AS total, CASE WHEN k % 3 > 0 THEN r[2] END AS max_change,
       (SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                   'ad_id', 'ad ' || j, 'impressions', floor(q[1] ^ 6 * 200000), 'clicks', floor(q[2] * 500),
                   'spend', round((q[3] ^ 4 * 9000)::numeric, 2), 'pipeline_value', round((q[4] ^ 4 * 50000)::numeric, 2),
                   'age_hours', q[5] * 800, 'current_budget', CASE WHEN j % 4 > 0 THEN round((q[6] * 300)::numeric, 2) END,
                   'min_budget', CASE WHEN j % 3 = 0 THEN round((q[7] * 40)::numeric, 2) END,
                   'max_budget', CASE WHEN j % 5 < 2 THEN round((40 + q[8] * 200)::numeric, 2) END)) ORDER BY j)
          FROM generate_series(1, 1 + k % 40) j
          CROSS JOIN LATERAL (SELECT artery.draw_beta(1, 1, 1000 * k + j, 8) AS q) q) AS states
  FROM generate_series(1, 200) k CROSS JOIN LATERAL (SELECT artery.draw_beta(1, 1, -k, 2) AS r) r;
CREATE TEMP TABLE decided AS
SELECT m.k, m.total, m.max_change, d.*, (e.state ->> 'min_budget')::numeric AS min_budget,
       (e.state ->> 'max_budget')::numeric AS max_budget
  FROM made m
  CROSS JOIN LATERAL (SELECT s.*, row_number() OVER () AS place
                        FROM artery.select_budget(m.states, m.total, seed => m.k, max_change => m.max_change) s) d
  JOIN LATERAL jsonb_array_elements(m.states) WITH ORDINALITY e(state, place) ON e.place = d.place;
SELECT is((SELECT count(*) FROM decided), (SELECT sum(1 + k % 40) FROM generate_series(1, 200) k), 'one row per ad');
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
    SELECT k FROM decided WHERE (metrics ->> 'budget_unallocated')::numeric > 0
       AND (metrics ->> 'bounded_by') IS NULL AND recommended_budget < metrics['wanted_budget']::numeric $$,
    'what is left over is left because of bounds');
SELECT is_empty($$
    SELECT k, ad_id, confidence FROM decided WHERE confidence < 0 OR confidence > 1 OR reason = '' $$,
    'confidences are shares, reasons are given');
-- metrics is written without the server's help: it must be what the server would have written
SELECT is_empty($$
    SELECT k, ad_id, metrics FROM decided
     WHERE metrics <> metrics::text::jsonb OR pg_column_size(metrics) <> pg_column_size(metrics::text::jsonb)
        OR jsonb_hash(metrics) <> jsonb_hash(metrics::text::jsonb)
        OR EXISTS (SELECT FROM jsonb_each(metrics) e WHERE metrics -> e.key IS DISTINCT FROM e.value) $$,
    'metrics are objects like any other');
SELECT is_empty($$
    SELECT d.k, d.ad_id, e.* FROM decided d CROSS JOIN LATERAL jsonb_each_text(d.metrics) e
     WHERE jsonb_typeof(d.metrics -> e.key) = 'number' AND e.key NOT LIKE '%budget%' AND e.key <> 'seed'
       AND e.value <> e.value::float8::numeric::text $$,
    'numbers are written as a cast to numeric writes them');
CREATE TEMP TABLE number AS
-- of 15 digits or of 17, which begin and end anywhere in the groups of four that a numeric has
SELECT i, CASE WHEN i % 2 = 0 THEN v.x::numeric::float8 ELSE v.x END AS value, round((0.01 + q[2] * 10 ^ (i % 11))::numeric, i % 13) + 0.01 AS spend
  FROM generate_series(1, 4000) i CROSS JOIN LATERAL (SELECT artery.draw_beta(1, 1, i, 2) AS q) q
 CROSS JOIN LATERAL (SELECT q[1] ^ 3 * 10 ^ (i % 23 - 10) AS x) v;
SELECT is_empty($$
    SELECT n.*, s.metrics FROM number n
      CROSS JOIN LATERAL artery.select_budget(jsonb_build_array(jsonb_build_object('ad_id', 'a', 'impressions', 1, 'clicks', 1,
               'spend', n.spend, 'pipeline_value', n.value, 'age_hours', 1)), 1, seed => 1) s
     WHERE s.metrics ->> 'pipeline_roas' <> (n.value / n.spend::float8)::numeric::text $$,
    'numbers of any size are read and written as casts do');
-- better data, better draw on average: the same ad with and without value
SELECT ok(avg((g.metrics ->> 'draw')::float8) > avg((b.metrics ->> 'draw')::float8) + 0.2, 'value is worth something')
  FROM generate_series(1, 200) seed
  CROSS JOIN LATERAL artery.select_budget('[{"ad_id": "a", "impressions": 2000, "clicks": 20, "spend": 100, "pipeline_value": 400, "age_hours": 100}]', 1, seed => seed) g
  CROSS JOIN LATERAL artery.select_budget('[{"ad_id": "a", "impressions": 2000, "clicks": 20, "spend": 100, "pipeline_value": 0, "age_hours": 100}]', 1, seed => seed) b;

-- Feedback: in whatever order and however often it is told, the facts are the same.
SELECT artery.add_tenant('properties');
CREATE FUNCTION pg_temp.told(ad text, places int[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    place int;
BEGIN
    PERFORM artery.register_ad('properties', ad, 'c', first_seen => '2024-03-01 00:00+00');
    FOREACH place IN ARRAY places LOOP
        IF place % 3 = 0 THEN
            PERFORM artery.record_ad_day('properties', ad, '2024-03-01'::date + place / 3, 100 * place, place, 10 * place);
        ELSE
            PERFORM artery.record_feedback('properties', ad, 50 * (place % 7), 25 * place, 1000 * place, 10 * place, place,
                                           '2024-03-01 00:00+00'::timestamptz + place * interval '7 hours');
        END IF;
    END LOOP;
    RETURN (SELECT string_agg(format('%s %s %s %s %s', d.day, d.impressions, d.spend, d.pipeline_value, d.source), ',' ORDER BY d.day)
              FROM artery.ad_day d WHERE d.tenant_id = 'properties' AND d.ad_id = ad);
END $$;
SELECT is(pg_temp.told('backward', ARRAY(SELECT generate_series(20, 1, -1))), pg_temp.told('forward', ARRAY(SELECT generate_series(1, 20))),
          'told backward as told forward');
SELECT is(pg_temp.told('shuffled', ARRAY(SELECT i FROM generate_series(1, 20) i ORDER BY md5(i::text)) || ARRAY[7, 3, 20, 1]),
          pg_temp.told('forward', ARRAY[20]), 'told in any order, some of it twice, as told once');
SELECT is(s.spend, (SELECT sum(d.spend) FROM artery.ad_day d WHERE d.tenant_id = s.tenant_id AND d.ad_id = s.ad_id),
          'totals of ' || s.ad_id || ' are the sum of its days')
  FROM artery.ad_state s WHERE s.tenant_id = 'properties' ORDER BY s.ad_id;

SELECT * FROM finish();
ROLLBACK;
