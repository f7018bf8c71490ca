-- Properties of the guard: random histories, judged by the library and by a slow
-- checker that looks at every half minute of the window.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SET LOCAL client_min_messages = warning;
SELECT setseed(0.42) \g /dev/null

-- Times are whole minutes, so that nothing happens between two points of the grid.
CREATE TEMP TABLE tenant_rule (tenant_id text, minutes int, percent numeric, digits int);
INSERT INTO tenant_rule VALUES ('prop_1', 30, 20, 2), ('prop_2', 60, 12.5, 2), ('prop_3', 90, 20, 2), ('prop_4', 30, 33.3333, 0);
SELECT artery.add_tenant(tenant_id, currency => CASE digits WHEN 0 THEN 'JPY' ELSE 'USD' END, settings => jsonb_build_object(
           'velocity_window_hours', minutes / 60.0, 'velocity_percent', percent)) FROM tenant_rule \g /dev/null
INSERT INTO artery.budget_observation (tenant_id, budget_owner_id, observed_at, budget, source)
SELECT tenant_id, 'owner_' || n,
       timestamptz '2026-03-01 12:00+00' + floor((random() * 3 - 2) * minutes) * interval '1 minute',
       round((100 * (0.7 + 0.6 * random()))::numeric, digits), 'observed'
  FROM tenant_rule, generate_series(1, 40) n, generate_series(1, 6) WHERE random() < 0.8;

CREATE TEMP TABLE question AS
SELECT r.*, 'owner_' || n AS owner,
       timestamptz '2026-03-01 12:00+00' + floor((random() * 1.6 - 0.8) * minutes) * interval '1 minute' AS as_of,
       round((100 * (0.6 + 0.8 * random()))::numeric, digits) AS budget
  FROM tenant_rule r, generate_series(1, 40) n, generate_series(1, 2);

CREATE FUNCTION pg_temp.slow(q question, OUT lowest numeric, OUT highest numeric, OUT passes_at timestamptz) LANGUAGE sql AS $$
    WITH grid AS (
        SELECT t, (SELECT b.budget FROM artery.budget_observation b
                    WHERE b.tenant_id = q.tenant_id AND b.budget_owner_id = q.owner AND b.observed_at <= least(t, q.as_of)
                    ORDER BY b.observed_at DESC, b.observation_seq DESC LIMIT 1) AS budget
          FROM generate_series(q.as_of - (q.minutes - 0.5) * interval '1 minute', q.as_of + q.minutes * interval '1 minute',
                               interval '30 seconds') t),
    seen AS (
        SELECT m.t, min(g.budget) AS lowest, max(g.budget) AS highest
          FROM grid m JOIN grid g ON g.t > m.t - q.minutes * interval '1 minute' AND g.t <= m.t
         WHERE m.t >= q.as_of AND date_trunc('minute', m.t) = m.t GROUP BY m.t),
    passed AS (
        SELECT t FROM seen WHERE q.budget * 100 <= lowest * (100 + q.percent)
                             AND q.budget * 100 >= highest * (100 - q.percent) ORDER BY t LIMIT 1)
    SELECT seen.lowest, seen.highest, (SELECT t FROM passed) FROM seen WHERE t = q.as_of $$;

CREATE TEMP TABLE answer AS
SELECT q.*, s.lowest, s.highest, s.passes_at, v.*
  FROM question q, pg_temp.slow(q) s, artery.check_budget_velocity(q.tenant_id, q.owner, q.budget, q.as_of) v;

SELECT is_empty('SELECT * FROM answer WHERE allowed IS DISTINCT FROM coalesce(passes_at = as_of, false)',
    'allowed agrees with every half minute of the window');
SELECT is_empty('SELECT * FROM answer WHERE next_allowed_at IS DISTINCT FROM passes_at',
    'next_allowed_at is the first minute at which it passes');
SELECT is_empty($$ SELECT * FROM answer
     WHERE max_allowed IS DISTINCT FROM floor(lowest * (100 + percent) / 100 * 10.0 ^ digits) / 10.0 ^ digits
        OR min_allowed IS DISTINCT FROM ceil(highest * (100 - percent) / 100 * 10.0 ^ digits) / 10.0 ^ digits $$,
    'the bounds are those of the lowest and the highest budget, to the cent');
SELECT is_empty('SELECT * FROM answer WHERE base_budget IS DISTINCT FROM lowest AND base_budget IS DISTINCT FROM highest',
    'the base is a budget that was in force');
SELECT is_empty('SELECT * FROM answer WHERE lowest IS NOT NULL AND change_percentage <> round((budget / base_budget - 1) * 100, 4)',
    'the percentage is against the base');
SELECT cmp_ok((SELECT count(*) FROM answer WHERE allowed), '>', 50::bigint, 'many pass');
SELECT cmp_ok((SELECT count(*) FROM answer WHERE next_allowed_at > as_of), '>', 50::bigint, 'many pass later');
SELECT cmp_ok((SELECT count(*) FROM answer WHERE next_allowed_at IS NULL AND lowest IS NOT NULL), '>', 20::bigint, 'many never pass');

-- The hourly limit, the same way.
UPDATE artery.tenant SET settings = settings || '{"rate_limit_per_hour": 3}' WHERE tenant_id = 'prop_1';
INSERT INTO artery.campaign_action (tenant_id, campaign_id, acted_at, change_id, attempt, change_type)
SELECT 'prop_1', 'campaign_' || n, timestamptz '2026-03-01 12:00+00' - floor(random() * 150) * interval '1 minute',
       gen_random_uuid(), 1, 'STATUS_CHANGE' FROM generate_series(1, 60) n, generate_series(1, 10) WHERE random() < 0.8;
CREATE TEMP TABLE place AS
SELECT n, r.*, (SELECT count(*) FROM artery.campaign_action a
                 WHERE a.tenant_id = 'prop_1' AND a.campaign_id = 'campaign_' || n
                   AND a.acted_at > timestamptz '2026-03-01 11:00+00' AND a.acted_at <= '2026-03-01 12:00+00') AS counted,
       (SELECT min(t) FROM generate_series(timestamptz '2026-03-01 12:00+00', '2026-03-01 13:00+00', interval '1 minute') t
         WHERE 3 > (SELECT count(*) FROM artery.campaign_action a
                     WHERE a.tenant_id = 'prop_1' AND a.campaign_id = 'campaign_' || n AND a.acted_at > t - interval '60 minutes')) AS free_at
  FROM generate_series(1, 60) n, artery.check_rate_limit('prop_1', 'campaign_' || n, '2026-03-01 12:00+00') r;
SELECT is_empty('SELECT * FROM place WHERE current_count <> counted OR allowed <> (counted < 3)', 'places are counted in any 60 minutes');
SELECT is_empty('SELECT * FROM place WHERE next_allowed_at IS DISTINCT FROM free_at', 'a place frees at the first minute at which it does');

-- Ramps through claim, judge and settle, with somebody's hand in between at times.
SELECT artery.add_tenant('prop_ramp', settings => '{"dry_run": false, "fuzz_percent": 0, "jitter_ms_min": 0, "jitter_ms_max": 0}') \g /dev/null
SELECT artery.observe_budget('prop_ramp', 'ramp_' || n, round((20 + 400 * random())::numeric, 2), artery.now() - interval '1 day')
  FROM generate_series(1, 24) n \g /dev/null
CREATE TEMP TABLE wish AS
SELECT 'ramp_' || n AS owner, o.budget AS start, round(o.budget * CASE WHEN n % 2 = 0 THEN 1.05 + 2 * random() ELSE 0.95 - 0.7 * random() END::numeric, 2) AS target
  FROM generate_series(1, 24) n JOIN artery.budget_owner o ON o.tenant_id = 'prop_ramp' AND o.budget_owner_id = 'ramp_' || n;
SELECT artery.approve_ad_change('prop_ramp', artery.queue_ad_change('prop_ramp', 'campaign_' || owner,
           CASE WHEN target > start THEN 'BUDGET_INCREASE' ELSE 'BUDGET_DECREASE' END, NULL, jsonb_build_object('budget', target),
           'test', budget_owner_id => owner), 'test') FROM wish \g /dev/null
DO $$
DECLARE
    v_offset numeric := 0;
    v_hand   record;
    v_claim  record;
    v_live   jsonb;
BEGIN
    FOR i IN 1..70 LOOP
        v_offset := v_offset + round((60 + 20000 * random())::numeric);
        PERFORM set_config('artery.clock_offset', v_offset::text, true);
        -- Now and then somebody moves a budget a little in the direction of the wish.
        IF random() < 0.3 THEN
            SELECT w.owner, round(b * (1 + 0.05 * sign(w.target - w.start)), 2) AS budget INTO v_hand
              FROM wish w, artery.budget_in_force('prop_ramp', w.owner) b WHERE abs(w.target - b) > b * 0.1 ORDER BY random() LIMIT 1;
            PERFORM artery.observe_budget('prop_ramp', v_hand.owner, v_hand.budget, artery.moment()) WHERE v_hand.owner IS NOT NULL;
        END IF;
        FOR v_claim IN SELECT * FROM artery.claim_ad_changes(100) WHERE tenant_id = 'prop_ramp' LOOP
            v_live := jsonb_build_object('budget', artery.budget_in_force('prop_ramp', v_claim.target_id));
            IF (artery.judge_ad_change('prop_ramp', v_claim.change_id, v_claim.attempt, v_live)).verdict = 'send' THEN
                PERFORM artery.settle_ad_change('prop_ramp', v_claim.change_id, v_claim.attempt, 'applied');
            END IF;
        END LOOP;
    END LOOP;
END
$$;
CREATE TEMP TABLE step AS
SELECT s.budget_owner_id AS owner, s.observed_at, s.budget, w.target, min(e.budget) AS lowest, max(e.budget) AS highest,
       max(e.budget) FILTER (WHERE e.until = s.observed_at) AS before
  FROM artery.budget_observation s
  JOIN wish w ON w.owner = s.budget_owner_id
  JOIN (SELECT *, lead(observed_at, 1, 'infinity') OVER (PARTITION BY budget_owner_id ORDER BY observed_at, observation_seq) AS until
          FROM artery.budget_observation WHERE tenant_id = 'prop_ramp') e
    ON e.budget_owner_id = s.budget_owner_id AND e.observed_at < s.observed_at AND e.until > s.observed_at - interval '6 hours'
 WHERE s.tenant_id = 'prop_ramp' AND s.source = 'sent' GROUP BY 1, 2, 3, 4;
SELECT is_empty('SELECT * FROM step WHERE budget > lowest * 1.2 OR budget < highest * 0.8',
    'every step is within 20 % of every budget in force in the 6 hours before');
SELECT is_empty($$ SELECT * FROM step WHERE budget <> CASE WHEN target > before THEN least(target, floor(lowest * 120) / 100)
                                                           ELSE greatest(target, ceil(highest * 80) / 100) END $$,
    'every step is the largest the window allows');
SELECT is_empty('SELECT * FROM step WHERE abs(target - budget) >= abs(target - before)', 'every step comes nearer');
SELECT is_empty($$ SELECT w.*, c.state FROM wish w JOIN artery.ad_change c ON c.tenant_id = 'prop_ramp' AND c.target_id = w.owner
                    WHERE c.state <> CASE WHEN EXISTS (SELECT FROM artery.budget_observation b
                                WHERE b.tenant_id = 'prop_ramp' AND b.budget_owner_id = w.owner AND b.source = 'observed'
                                  AND b.budget <> w.start) THEN 'superseded' ELSE 'completed' END
                       OR c.state = 'completed' AND artery.budget_in_force('prop_ramp', w.owner) <> w.target $$,
    'every ramp reaches its wish unless somebody else edited the budget: then it ends');
SELECT is((SELECT count(*) FROM artery.ad_change_history WHERE tenant_id = 'prop_ramp' AND outcome IN ('step', 'completed')),
    (SELECT count(*) FROM step), 'every step has its row of history');
SELECT cmp_ok((SELECT count(*) FROM step), '>', 80::bigint, 'there were many steps');
SELECT * FROM finish();
ROLLBACK;
