-- Deals: stages recorded in any order, real values, bulk, and what an ad's deals are worth.
-- Values of the template: lead 0, appointment_scheduled 2250, show_up 9000, closed_won 15000, closed_lost 0.
\set VERBOSITY terse
SET client_min_messages = warning;
SET timezone = 'UTC';
\pset null '(null)'
SELECT artery.add_tenant('deal_a', 'service_business'), artery.add_tenant('deal_b', 'service_business');
-- The way of a deal, with the check that must hold always: the increments add up to the value of the present stage.
CREATE FUNCTION pg_temp.way(deal text) RETURNS TABLE (at date, stage_from text, stage_to text, stage_value numeric,
    increment numeric, confidence numeric)
LANGUAGE sql AS $$
    SELECT e.occurred_at::date, e.stage_from, e.stage_to, e.stage_value, e.increment, e.confidence
      FROM artery.deal_stage_event e WHERE e.tenant_id = 'deal_a' AND e.deal_id = deal ORDER BY e.occurred_at, e.event_seq
$$;
CREATE FUNCTION pg_temp.now_in(deal text) RETURNS TABLE (stage text, since date, stage_value numeric, deal_value numeric,
    won boolean, began date, adds_up boolean)
LANGUAGE sql AS $$
    SELECT d.stage, d.stage_since::date, d.stage_value, d.deal_value, d.is_won, d.first_event_at::date,
           d.stage_value = (SELECT coalesce(sum(e.increment), 0) FROM artery.deal_stage_event e
                             WHERE e.tenant_id = d.tenant_id AND e.deal_id = d.deal_id)
      FROM artery.deal d WHERE d.tenant_id = 'deal_a' AND d.deal_id = deal
$$;

-- The answer, whole. Increment of a new deal: 0; of the second move: 2250 - 0.
SELECT jsonb_pretty(artery.record_stage('deal_a', 'd1', 'lead', '2025-06-01 10:00', crm_contact_id => 'c1'));
SELECT artery.record_stage('deal_a', 'd1', 'appointmentscheduled', '2025-06-02 10:00', NULL, NULL, 'e2');
-- Again, by its id, and without one by deal, stage and time: the stored result.
SELECT artery.record_stage('deal_a', 'd1', 'appointmentscheduled', '2025-06-02 10:00', NULL, NULL, 'e2');
SELECT artery.record_stage('deal_a', 'd1', 'lead', '2025-06-01 10:00') ->> 'status';
SELECT artery.record_stage('deal_a', 'd1', 'appointment_scheduled', '2025-06-02 10:00') ->> 'status';
SELECT count(*) FROM artery.deal_stage_event WHERE tenant_id = 'deal_a' AND deal_id = 'd1';
SELECT crm_contact_id FROM artery.deal WHERE tenant_id = 'deal_a' AND deal_id = 'd1';

-- Late: show_up was before closed_won, so 9000 - 2250 comes in between and closed_won keeps 15000 - 9000.
SELECT artery.record_stage('deal_a', 'd1', 'closedwon', '2025-06-05') #>> '{synthetic_revenue,incremental}' AS won_increment;
SELECT artery.record_stage('deal_a', 'd1', 'show_up', '2025-06-04') -> 'synthetic_revenue' AS late_show_up;
SELECT * FROM pg_temp.way('d1');
SELECT * FROM pg_temp.now_in('d1');
-- The repeated event answers with its corrected increment: 15000 - 9000.
SELECT artery.record_stage('deal_a', 'd1', 'closed_won', '2025-06-05') AS repeated;

-- A real value after the deal was won: 18000 - 15000; a correction down: 17000 - 18000.
SELECT artery.record_stage('deal_a', 'd1', 'closed_won', '2025-06-06', 18000) -> 'synthetic_revenue' AS real_value;
SELECT artery.record_stage('deal_a', 'd1', 'closed_won', '2025-06-07', 17000) -> 'synthetic_revenue' AS corrected;
-- An older real value that comes late changes what was before it was replaced only: 16000 instead of 15000 until the 6th.
SELECT artery.record_stage('deal_a', 'd1', 'show_up', '2025-06-04 12:00', 16000) -> 'synthetic_revenue' AS late_value;
SELECT * FROM pg_temp.way('d1');
SELECT * FROM pg_temp.now_in('d1');
-- Lost, reopened, won again: the real value is still known.
SELECT artery.record_stage('deal_a', 'd1', 'closedlost', '2025-06-08') #>> '{synthetic_revenue,incremental}' AS lost;
SELECT artery.record_stage('deal_a', 'd1', 'show_up', '2025-06-09') #>> '{synthetic_revenue,incremental}' AS reopened;
SELECT artery.record_stage('deal_a', 'd1', 'closedwon', '2025-06-10') #>> '{synthetic_revenue,incremental}' AS won_again;
SELECT * FROM pg_temp.now_in('d1');
-- The same stage and time with a value not told yet is no repetition.
SELECT artery.record_stage('deal_a', 'd1', 'closedwon', '2025-06-10', 20000) ->> 'status';
SELECT artery.record_stage('deal_a', 'd1', 'closedwon', '2025-06-10', 20000) ->> 'status';
SELECT * FROM pg_temp.now_in('d1');
-- At one time the order of arrival decides.
SELECT s, artery.record_stage('deal_a', 'd2', s, '2025-06-01') #>> '{synthetic_revenue,incremental}' AS increment
  FROM unnest('{show_up,lead,appointment_scheduled}'::text[]) s;
SELECT * FROM pg_temp.now_in('d2');

-- Wrong input changes nothing.
DO $$
DECLARE
    v_call text;
BEGIN
    FOREACH v_call IN ARRAY ARRAY[
        $a$(NULL, 'd1', 'lead')$a$, $a$('deal_a', NULL, 'lead')$a$, $a$('deal_a', 'd1', NULL)$a$, $a$('deal_nobody', 'd1', 'lead')$a$,
        $a$('deal_a', '', 'lead')$a$, $a$('deal_a', repeat('x', 257), 'lead')$a$, $a$('deal_a', 'd1', 'unheard')$a$,
        $a$('deal_a', 'd1', 'lead', '2009-12-31 23:59:59')$a$, $a$('deal_a', 'd1', 'lead', artery.now() + interval '25 hours')$a$,
        $a$('deal_a', 'd1', 'lead', 'infinity')$a$, $a$('deal_a', 'd1', 'lead', '-infinity')$a$,
        $a$('deal_a', 'd1', 'lead', deal_value => -0.01)$a$, $a$('deal_a', 'd1', 'lead', deal_value => 'NaN')$a$,
        $a$('deal_a', 'd1', 'lead', deal_value => 'Infinity')$a$, $a$('deal_a', 'd1', 'lead', crm_contact_id => repeat('x', 257))$a$,
        $a$('deal_a', 'd1', 'lead', event_id => repeat('x', 257))$a$]
    LOOP
        BEGIN
            EXECUTE 'SELECT artery.record_stage' || v_call;
            RAISE WARNING '%: accepted', v_call;
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING '%: % %', v_call, SQLSTATE, CASE WHEN SQLERRM LIKE 'occurred_at%' THEN 'occurred_at ...' ELSE left(SQLERRM, 60) END;
        END;
    END LOOP;
END
$$;
SELECT count(*) FROM artery.deal_stage_event WHERE tenant_id = 'deal_a' AND deal_id = 'd1';
-- The first and last moments that are accepted.
SELECT artery.record_stage('deal_a', 'd3', 'lead', '2010-01-01') ->> 'status',
       artery.record_stage('deal_a', 'd3', 'show_up', artery.now() + interval '24 hours') ->> 'status';

-- Empty ids of contact and event are none.
SELECT r ->> 'status' FROM generate_series(1, 2), artery.record_stage('deal_a', 'd4', 'lead', '2025-06-01', NULL, '', '') r;

-- Bulk: one result per element in its order; what fails leaves the others standing.
SELECT r.ordinality, r.value ->> 'status' AS status, r.value ->> 'deal_id' AS deal, r.value ->> 'stage_to' AS stage,
       r.value #> '{synthetic_revenue,incremental}' AS increment, r.value ->> 'sqlstate' AS state, r.value ->> 'message' AS message
  FROM jsonb_array_elements(artery.record_stages('deal_a', '[
    {"deal_id": "z", "stage": "lead", "occurred_at": "2025-06-01"},
    {"deal_id": "b", "stage": "lead", "occurred_at": "2025-06-01T00:00:00Z", "event_id": "b1"},
    {"deal_id": 77, "stage": "closedwon", "occurred_at": "2025-06-01", "deal_value": 100.5},
    {"deal_id": "z", "stage": "show_up", "occurred_at": "2025-06-02", "deal_value": null},
    {"deal_id": "b", "stage": "lead", "occurred_at": "2025-06-01T00:00:00Z", "event_id": "b1"},
    {"deal_id": "q", "stage": "unheard"},
    {"stage": "lead"}, {"deal_id": "q"}, {"deal_id": true, "stage": "lead"}, 5, null, [],
    {"deal_id": "q", "stage": "lead", "occurred_at": "yesterday-ish"},
    {"deal_id": "q", "stage": "lead", "deal_value": "ten"},
    {"deal_id": "q", "stage": "lead", "deal_value": -1},
    {"deal_id": "q", "stage": "lead", "tenant_id": "deal_b"},
    {"deal_id": "q", "stage": "lead", "stages": "x"}]')) WITH ORDINALITY r ORDER BY r.ordinality;
SELECT artery.record_stages('deal_a', '[]');
SELECT artery.record_stages('deal_a', '{}');
SELECT artery.record_stages('deal_a', '5');
SELECT artery.record_stages('deal_a', NULL);
SELECT artery.record_stages('deal_nobody', '[]');
SELECT count(*) FROM artery.deal WHERE tenant_id = 'deal_a' AND deal_id = 'q';
SELECT count(*) FROM artery.deal WHERE tenant_id = 'deal_b';

-- High value: more than 1000 at a confidence of at least 0.5 asks for a decision, once at a time.
SELECT artery.add_tenant('deal_high', 'service_business', settings => '{"high_value": 2250, "high_value_confidence": 0.6}');
SELECT artery.record_stage('deal_high', 'h1', 'appointment_scheduled', '2025-06-01') ->> 'status' AS at_the_threshold;
SELECT count(*) FROM artery.job WHERE tenant_id = 'deal_high';
SELECT artery.configure_tenant('deal_high', '{"high_value": 2249.99, "high_value_confidence": 0.61}') IS NOT NULL;
SELECT artery.record_stage('deal_high', 'h2', 'appointment_scheduled', '2025-06-01') ->> 'status' AS too_uncertain;
SELECT count(*) FROM artery.job WHERE tenant_id = 'deal_high';
SELECT artery.configure_tenant('deal_high', '{"high_value_confidence": 0.60}') IS NOT NULL;
SELECT artery.record_stage('deal_high', 'h3', 'appointment_scheduled', '2025-06-01') ->> 'status' AS high_value;
SELECT artery.record_stage('deal_high', 'h4', 'appointment_scheduled', '2025-06-01') ->> 'status' AS once_at_a_time;
SELECT job_name, data, singleton_key FROM artery.job WHERE tenant_id = 'deal_high';

-- What ad_1 brought. Deals: a1 in appointment_scheduled (2250), a2 won for 20000, a3 won without a real value (15000, no
-- cash), a4 lost (0). Conversions: a synthetic one of 40 (pipeline), a real one of 60 (both), one of deal a1 (counted as
-- the deal). Pipeline 2250 + 20000 + 15000 + 0 + 40 + 60 = 37350; cash 20000 + 60 = 20060; 4 + 2 conversions.
SELECT artery.register_ad('deal_b', 'ad_1', 'camp_1', 'set_1');
SELECT artery.track_click('deal_b', 'camp_1', 'ad_1', 'k' || i, click_timestamp => '2025-06-01 08:00') FROM generate_series(1, 7) i;
SELECT artery.identify('deal_b', crm_deal_id => 'a' || i, click_id => 'k' || i, seen_at => '2025-06-01 09:00') > 0 FROM generate_series(1, 4) i;
SELECT r.value ->> 'status' AS status, r.value ->> 'stage_to' AS stage, r.value -> 'attribution' AS attribution
  FROM jsonb_array_elements(artery.record_stages('deal_b', '[
    {"deal_id": "a1", "stage": "appointment_scheduled", "occurred_at": "2025-06-02"},
    {"deal_id": "a2", "stage": "closed_won", "occurred_at": "2025-06-03", "deal_value": 20000},
    {"deal_id": "a3", "stage": "closed_won", "occurred_at": "2025-06-04"},
    {"deal_id": "a4", "stage": "closed_lost", "occurred_at": "2025-06-05"}]')) r;
SELECT (artery.attribute_conversion('deal_b', 'v5', 'cart', 40, '2025-06-02', 'k5', is_synthetic => true)).success,
       (artery.attribute_conversion('deal_b', 'v6', 'sale', 60, '2025-06-03', 'k6')).success,
       (artery.attribute_conversion('deal_b', 'v7', 'form', 999, '2025-06-03', 'k7', crm_deal_id => 'a1')).success;
-- Without spend no roas.
SELECT * FROM artery.ad_roas('deal_b', 'ad_1');
SELECT artery.record_ad_day('deal_b', 'ad_1', '2025-06-01', 1000, 10, 100), artery.record_ad_day('deal_b', 'ad_1', '2025-06-03', 1000, 10, 50);
-- 37350 / 150 = 249; 20060 / 150 = 133.73.
SELECT spend, pipeline_value, cash_revenue, round(pipeline_roas, 2) AS pipeline_roas, round(cash_roas, 2) AS cash_roas, conversions,
       avg_confidence FROM artery.ad_roas('deal_b', 'ad_1');
-- From the 3rd on: deals a2 to a4 and v6; spend of the 3rd. Until then: deal a1 and v5; spend of the 1st.
SELECT spend, pipeline_value, cash_revenue, conversions FROM artery.ad_roas('deal_b', 'ad_1', '2025-06-03');
SELECT spend, pipeline_value, cash_revenue, conversions FROM artery.ad_roas('deal_b', 'ad_1', NULL, '2025-06-03');
SELECT spend, pipeline_value, cash_revenue, conversions FROM artery.ad_roas('deal_b', 'ad_1', '2025-06-02', '2025-06-03');
-- Registered, without any data.
SELECT artery.register_ad('deal_b', 'ad_2', 'camp_1');
SELECT * FROM artery.ad_roas('deal_b', 'ad_2');
-- Not registered, and all that is known of it is a click.
SELECT artery.track_click('deal_b', 'camp_1', 'ad_clicked', 'click_only', click_timestamp => '2025-06-01 10:00');
SELECT spend, pipeline_value, conversions FROM artery.ad_roas('deal_b', 'ad_clicked');

-- Refused.
\set VERBOSITY default
SELECT * FROM artery.ad_roas('deal_b', 'ad_nobody');
SELECT * FROM artery.ad_roas('deal_b', 'ad_1', '2025-06-03', '2025-06-03');
\set VERBOSITY terse
SELECT * FROM artery.ad_roas('deal_b', NULL);
SELECT * FROM artery.ad_roas('deal_nobody', 'ad_1');

-- Weighted: 2250 * 0.60; 35000 * 1.00 with 20000 real.
SELECT stage_name, deals, attributed_deals, synthetic_value, weighted_value, cash_revenue, round(avg_confidence, 2) AS avg_confidence
  FROM artery.v_synthetic_revenue_summary WHERE tenant_id = 'deal_b' ORDER BY stage_name;

-- A role with EXECUTE only, bound to deal_b.
CREATE ROLE deal_role;
GRANT USAGE ON SCHEMA artery TO deal_role;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA artery TO deal_role;
SELECT artery.grant_tenant('deal_b', 'deal_role');
SET ROLE deal_role;
SELECT artery.record_stage('deal_b', 'r1', 'lead', '2025-06-01') ->> 'status';
SELECT artery.record_stage('deal_b', 'r1', 'show_up', '2025-06-02') ->> 'status';
SELECT conversions FROM artery.ad_roas('deal_b', 'ad_1');
SELECT artery.record_stage('deal_a', 'r1', 'lead');
SELECT artery.record_stages('deal_a', '[]');
SELECT artery.ad_roas('deal_a', 'ad_1');
SELECT artery.replay_webhook_events('deal_a');
RESET ROLE;
DROP OWNED BY deal_role;
DELETE FROM artery.tenant_role WHERE role_name = 'deal_role';
DROP ROLE deal_role;
