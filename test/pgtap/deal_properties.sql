-- Whatever comes in whatever order, the increments of a deal add up to the value
-- of its present stage, and the outcome is that of the events in order.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SELECT artery.add_tenant('deal_properties', 'service_business');

-- 60 ways of 1 to 16 events: stages forward, back, lost, reopened, with and without
-- real values, some at one time. Each is recorded in three orders, the first by time.
SELECT setseed(0.42);
CREATE TEMP TABLE way AS
SELECT w.way, e.event, (ARRAY['lead', 'appointment_scheduled', 'show_up', 'closed_won', 'closed_lost'])[1 + floor(random() * 5)::int] AS stage,
       timestamptz '2025-01-01' + floor(random() * 12) * interval '1 day' AS at,
       CASE WHEN random() < 0.3 THEN round((random() * 30000)::numeric, 2) END AS real_value
  FROM generate_series(1, 60) w(way), LATERAL generate_series(1, 1 + (w.way * 7) % 16) e(event);
CREATE TEMP TABLE delivery AS
SELECT o.attempt, w.*, row_number() OVER (PARTITION BY o.attempt ORDER BY
       CASE WHEN o.attempt = 1 THEN extract(epoch FROM w.at) ELSE random() END, w.event) AS position
  FROM way w, generate_series(1, 3) o(attempt);

-- After each single event the invariant holds: counted as they come.
CREATE FUNCTION pg_temp.deliver() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_event  record;
    v_broken bigint := 0;
BEGIN
    FOR v_event IN SELECT * FROM delivery d ORDER BY d.attempt, d.position LOOP
        PERFORM artery.record_stage('deal_properties', v_event.way || '/' || v_event.attempt, v_event.stage, v_event.at, v_event.real_value,
                                    NULL, 'event ' || v_event.event);
        SELECT v_broken + count(*) INTO v_broken
          FROM artery.deal d
         WHERE d.tenant_id = 'deal_properties' AND d.deal_id = v_event.way || '/' || v_event.attempt
           AND d.stage_value IS DISTINCT FROM (SELECT sum(e.increment) FROM artery.deal_stage_event e
                                                WHERE e.tenant_id = d.tenant_id AND e.deal_id = d.deal_id);
    END LOOP;
    RETURN v_broken;
END
$$;
SELECT is(pg_temp.deliver(), 0::bigint, 'after every event the increments add up to the value of the present stage');
SELECT is(count(*), (SELECT count(*) FROM delivery), 'every event is kept')
  FROM artery.deal_stage_event WHERE tenant_id = 'deal_properties';

-- Worked out anew in plain SQL: value after an event, by time and then arrival.
CREATE TEMP TABLE expected AS
SELECT x.*, x.value - lag(x.value, 1, 0) OVER w AS increment, lag(x.stage) OVER w AS stage_from, row_number() OVER w AS rank
  FROM (SELECT d.attempt, d.way, d.event, d.at, d.position, d.stage,
               CASE WHEN d.stage = 'closed_won' THEN coalesce((
                   SELECT b.real_value FROM delivery b
                    WHERE b.attempt = d.attempt AND b.way = d.way AND b.real_value IS NOT NULL
                      AND (b.at, b.position) <= (d.at, d.position) ORDER BY b.at DESC, b.position DESC LIMIT 1), 15000)
                    ELSE (SELECT s.stage_value FROM artery.get_stages('deal_properties') s WHERE s.stage_name = d.stage) END AS value
          FROM delivery d) x
WINDOW w AS (PARTITION BY x.attempt, x.way ORDER BY x.at, x.position);
SELECT is((SELECT count(*) FROM (
    SELECT way || '/' || attempt, 'event ' || event, stage_from, stage, value, increment FROM expected
    EXCEPT SELECT deal_id, event_id, stage_from, stage_to, stage_value, increment FROM artery.deal_stage_event
            WHERE tenant_id = 'deal_properties') x), 0::bigint, 'every event has the stage before it, its value and its increment');
SELECT is((SELECT count(*) FROM expected x JOIN artery.deal d ON d.tenant_id = 'deal_properties' AND d.deal_id = x.way || '/' || x.attempt
            WHERE x.rank = (SELECT max(y.rank) FROM expected y WHERE (y.way, y.attempt) = (x.way, x.attempt))
              AND (d.stage, d.stage_value, d.is_won) IS DISTINCT FROM (x.stage, x.value, x.stage = 'closed_won')), 0::bigint,
          'every deal is in its last stage');

-- All of them again change nothing.
CREATE TEMP TABLE before AS SELECT * FROM artery.deal_stage_event WHERE tenant_id = 'deal_properties';
SELECT is((SELECT count(*) FROM delivery d, artery.record_stage('deal_properties', d.way || '/' || d.attempt, d.stage, d.at, d.real_value, NULL,
              'event ' || d.event) r WHERE r ->> 'status' <> 'duplicate'), 0::bigint, 'every repetition is a duplicate');
SELECT is_empty($$SELECT * FROM artery.deal_stage_event WHERE tenant_id = 'deal_properties' EXCEPT SELECT * FROM before$$, 'and changes nothing');

-- In bulk the outcome is the same.
SELECT artery.add_tenant('deal_bulk', 'service_business');
SELECT is((SELECT count(*) FROM jsonb_array_elements(artery.record_stages('deal_bulk', (SELECT jsonb_agg(jsonb_build_object(
              'deal_id', d.way, 'stage', d.stage, 'occurred_at', d.at, 'deal_value', d.real_value, 'event_id', 'event ' || d.event) ORDER BY d.position)
              FROM delivery d WHERE d.attempt = 2))) r WHERE r ->> 'status' = 'processed'), (SELECT count(*) FROM way), 'all are recorded in bulk');
SELECT is_empty($$SELECT e.deal_id || '/2', e.event_id, e.stage_from, e.stage_to, e.increment FROM artery.deal_stage_event e WHERE e.tenant_id = 'deal_bulk'
    EXCEPT SELECT e.deal_id, e.event_id, e.stage_from, e.stage_to, e.increment FROM artery.deal_stage_event e WHERE e.tenant_id = 'deal_properties'$$,
    'with the same increments');
SELECT * FROM finish();
ROLLBACK;
