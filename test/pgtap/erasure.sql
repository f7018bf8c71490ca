-- Erasure: afterwards no table of artery contains anything that names the
-- person. Every table, every column is searched; what is counted stays equal.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
\o /dev/null

-- Tables in which a text occurs anywhere, in any column.
CREATE FUNCTION pg_temp.found(needle text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_table regclass;
    v_there boolean;
    v_found text := '';
BEGIN
    FOR v_table IN SELECT oid FROM pg_class WHERE relnamespace = 'artery'::regnamespace AND relkind = ANY (ARRAY['r', 'p', 'm']::"char"[]) ORDER BY relname
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s x WHERE strpos(x::text, $1) > 0)', v_table) INTO v_there USING needle;
        IF v_there THEN
            v_found := v_found || ' ' || replace(v_table::text, 'artery.', '');
        END IF;
    END LOOP;
    RETURN trim(v_found);
END
$$;

-- HubSpot's events, signed v1.
CREATE FUNCTION pg_temp.hubspot(events jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT artery.hubspot_webhook(convert_to(events::text, 'UTF8'), jsonb_build_object('X-HubSpot-Signature',
               encode(sha256(convert_to('erasure-secret' || events::text, 'UTF8')), 'hex')))
$$;
CREATE FUNCTION pg_temp.event(type text, id bigint, object bigint, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('eventId', id, 'portalId', 88001, 'subscriptionType', type, 'objectId', object,
               'occurredAt', floor(extract(epoch FROM artery.now()) * 1000)::bigint - 3600000 + id) || more
$$;

-- What is counted: values of deals and conversions, credit of ads, attributions.
CREATE FUNCTION pg_temp.counted() RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(E'\n',
        (SELECT string_agg(format('%s %s %s %s %s', deal_id, stage, stage_value, ad_id, attribution_method), ',' ORDER BY deal_id)
           FROM artery.deal WHERE tenant_id = 'erasure'),
        (SELECT string_agg(format('%s %s %s %s %s', conversion_id, conversion_value, ad_id, attribution_method, attribution_confidence), ',' ORDER BY conversion_id)
           FROM artery.conversion_tracking WHERE tenant_id = 'erasure'),
        (SELECT string_agg(format('%s %s %s %s', ad_id, day, round(credit::numeric, 9), round(credit_without_id::numeric, 9)), ',' ORDER BY ad_id, day)
           FROM artery.v_ad_credit WHERE tenant_id = 'erasure'),
        (SELECT string_agg(format('%s %s %s %s %s', click_id, ad_id, campaign_id, utm_source, click_timestamp), ',' ORDER BY click_id)
           FROM artery.click_tracking WHERE tenant_id = 'erasure'),
        (SELECT r::text FROM artery.ad_roas('erasure', 'ad_1') r))
$$;

SELECT artery.add_tenant('erasure', 'service_business', settings => '{"hubspot_portal_ids": [88001], "hubspot_allow_v1": true}');
SELECT artery.set_secret('erasure', 'hubspot_client_secret', 'erasure-secret');
SELECT artery.register_ad('erasure', 'ad_1', 'camp_1', 'set_1'), artery.record_ad_day('erasure', 'ad_1', artery.now()::date, 100, 10, 50);

-- Two persons, p and q: clicks, forms, deals, conversions, events, jobs.
CREATE TEMP TABLE person (name text, contact bigint, deal bigint, ip inet, agent text, email text, fbclid text, fbp text, print text, tz text, ref text);
INSERT INTO person VALUES
    ('p', 770011, 550011, '203.0.113.71', 'AgentOfP/1', repeat('e1', 32), 'FBCLID-P', 'fb.1.1.7777771', repeat('f1', 32), 'Zone/OfP', 'https://ref.test/p'),
    ('q', 770022, 550022, '203.0.113.72', 'AgentOfQ/1', repeat('e2', 32), 'FBCLID-Q', 'fb.1.1.7777772', repeat('f2', 32), 'Zone/OfQ', 'https://ref.test/q');
SELECT artery.track_click('erasure', 'camp_1', 'ad_1', 'click_' || name, 'set_1', fbclid, 'GCLID-' || name, NULL, fbp, ip, agent,
           screen_width => 1170, timezone => tz, fingerprint_hash => print, landing_page_url => 'https://x.test/?fbclid=' || fbclid,
           referrer_url => ref, utm_source => 'facebook', click_timestamp => artery.now() - interval '3 hours') FROM person;
-- another click of the same device, which nothing else ties to the person
SELECT artery.track_click('erasure', 'camp_1', 'ad_1', 'again_' || name, ip_address => ip, user_agent => agent, fingerprint_hash => print,
           click_timestamp => artery.now() - interval '100 minutes') FROM person;
SELECT artery.identify('erasure', contact::text, email, NULL, 'click_' || name, fbclid, print, ip, agent, artery.now() - interval '2 hours', timezone => tz) FROM person;
SELECT artery.identify('erasure', email_hash => email, ip_address => ip, seen_at => artery.now() - interval '2 hours') FROM person;
SELECT artery.record_stage('erasure', deal::text, 'lead', artery.now() - interval '90 minutes', crm_contact_id => contact::text),
       artery.record_stage('erasure', deal::text, 'appointment_scheduled', artery.now() - interval '80 minutes') FROM person;
SELECT artery.attribute_conversion('erasure', 'conv_' || name, 'lead', 100, artery.now() - interval '1 hour', ip_address => ip, user_agent => agent,
           fingerprint_hash => print, timezone => tz, crm_contact_id => contact::text, raw_data => jsonb_build_object('email', email, 'ip', ip)) FROM person;
SELECT artery.attribute_conversion('erasure', 'anonymous_' || name, 'lead', 10, artery.now() - interval '1 hour', ip_address => ip, user_agent => agent) FROM person;
SELECT pg_temp.hubspot(jsonb_build_array(
           pg_temp.event('contact.propertyChange', 1000 + contact % 100, contact, jsonb_build_object('propertyName', 'email', 'propertyValue', email)),
           pg_temp.event('deal.associationChange', 2000 + contact % 100, NULL, jsonb_build_object('fromObjectId', deal, 'toObjectId', contact, 'associationType', 'DEAL_TO_CONTACT')),
           pg_temp.event('deal.propertyChange', 3000 + contact % 100, deal, jsonb_build_object('propertyName', 'dealname', 'propertyValue', 'Deal of ' || agent)),
           pg_temp.event('deal.propertyChange', 4000 + contact % 100, deal, jsonb_build_object('propertyName', 'dealstage', 'propertyValue', 'show_up')))) FROM person;
SELECT artery.enqueue_job('erasure', 'creative-dna-extraction', jsonb_build_object('contact', contact)),
       artery.enqueue_job('erasure', 'ad-change', jsonb_build_object('list', jsonb_build_array(email))) FROM person;
INSERT INTO artery.job_execution_history (tenant_id, job_id, job_name, attempt, outcome, data, result, queued_at, finished_at)
SELECT 'erasure', 1, 'ad-change', 1, 'completed', jsonb_build_object('who', contact), jsonb_build_object('email', email), artery.now(), artery.now() FROM person;
SELECT artery.fold_attribution_state('erasure');

CREATE TEMP TABLE needle AS
SELECT p.name, n.what, n.text FROM person p CROSS JOIN LATERAL (VALUES
    ('contact id', p.contact::text), ('address', host(p.ip)), ('agent', p.agent), ('e-mail hash', p.email), ('fbclid', p.fbclid), ('gclid', 'GCLID-' || p.name),
    ('fbp', p.fbp), ('fingerprint', p.print), ('time zone', p.tz), ('referrer', p.ref)) n (what, text);
CREATE TEMP TABLE counted AS SELECT pg_temp.counted() AS text;
CREATE TEMP TABLE others AS SELECT text, pg_temp.found(text) AS tables FROM needle WHERE name = 'q';
\o

SELECT isnt(pg_temp.found(text), '', what || ' is found before: ' || pg_temp.found(text)) FROM needle WHERE name = 'p';
SELECT ok(pg_temp.found('770011') LIKE ALL (ARRAY['%contact_evidence%', '%conversion_tracking%', '%deal%', '%job %', '%job_execution_history%', '%webhook_event%']),
    'the contact id is in every table that can have one');

SELECT is(artery.erase_contact('erasure', '770011') - 'traces', '{"evidence": 2, "clicks": 2, "conversions": 3, "deals": 1, "webhook_events": 3, "jobs": 3}'::jsonb,
    'erasing tells how many rows of each kind');
SELECT is(pg_temp.found(text), '', what || ' is in no table afterwards') FROM needle WHERE name = 'p';
SELECT is(pg_temp.counted(), (SELECT text FROM counted), 'deals, values, credit, and where and when was clicked are as before');
SELECT results_eq('SELECT text, pg_temp.found(text) FROM needle WHERE name = ''q'' ORDER BY text', 'SELECT text, tables FROM others ORDER BY text',
    'another person is as before');
SELECT is(artery.erase_contact('erasure', '770011'), '{"evidence": 0, "clicks": 0, "conversions": 0, "traces": 0, "deals": 0, "webhook_events": 0, "jobs": 0}'::jsonb,
    'again, there is nothing left to erase');
SELECT is((SELECT count(*) FROM artery.v_erasures WHERE tenant_id = 'erasure' AND requested_by = 'erase_contact'), 2::bigint, 'both are logged');
SELECT throws_ok('UPDATE artery.erasure_log SET counts = ''{}''', '55000', NULL, 'the log cannot be changed');
SELECT throws_ok('DELETE FROM artery.erasure_log', '55000', NULL, 'nor shortened');
SELECT throws_ok('TRUNCATE artery.erasure_log', '55000', NULL, 'nor emptied');

-- What comes later, by any door.
SELECT is(artery.identify('erasure', '770011', ip_address => '203.0.113.71', user_agent => 'AgentOfP/1'), NULL, 'evidence of the contact is not kept');
SELECT is(artery.identify('erasure', email_hash => upper(repeat('e1', 32)), fbclid => 'FBCLID-P'), NULL, 'nor that of the e-mail address');
SELECT is(artery.identify('erasure', '999', crm_deal_id => '550011', fbclid => 'FBCLID-P'), NULL, 'nor that of the deal');
SELECT is(artery.record_stage('erasure', '550011', 'closed_won', deal_value => 20000, crm_contact_id => '770011') ->> 'status', 'processed', 'the deal goes on');
SELECT is((SELECT stage_value FROM artery.deal WHERE tenant_id = 'erasure' AND deal_id = '550011'), 20000::numeric, 'with its value');
SELECT is((artery.attribute_conversion('erasure', 'late', 'sale', 500, crm_contact_id => '770011', ip_address => '203.0.113.71', user_agent => 'AgentOfP/1',
    fingerprint_hash => repeat('f1', 32), fbclid => 'FBCLID-P', raw_data => '{"email": "x"}')).success, false, 'a conversion is kept without traces');
SELECT lives_ok($$INSERT INTO artery.conversion_tracking (tenant_id, conversion_id, conversion_type, crm_deal_id, ip_address, timezone)
    VALUES ('erasure', 'late 2', 'sale', '550011', '203.0.113.71', 'Zone/OfP')$$, 'by INSERT too, and by the deal');
SELECT is((SELECT array_agg(r ->> 'status') FROM jsonb_array_elements(pg_temp.hubspot(jsonb_build_array(
           pg_temp.event('contact.propertyChange', 9001, 770011, '{"propertyName": "email", "propertyValue": "AgentOfP/1"}'),
           pg_temp.event('object.propertyChange', 9002, 770011, '{"objectTypeId": "0-1", "propertyName": "email", "propertyValue": "AgentOfP/1"}'),
           pg_temp.event('deal.associationChange', 9003, NULL, '{"fromObjectId": 550099, "toObjectId": 770011, "associationType": "DEAL_TO_CONTACT"}'),
           pg_temp.event('contact.privacyDeletion', 9004, 770011))) -> 'results') r),
    ARRAY['ignored', 'ignored', 'ignored', 'ignored'], 'events of the contact are ignored');
SELECT is(pg_temp.found(text), '', what || ' did not come back') FROM needle WHERE name = 'p';

-- HubSpot asks for it: the other person, with events of the same batch.
\o /dev/null
CREATE TEMP TABLE deletion AS SELECT jsonb_build_array(
    pg_temp.event('deal.associationChange', 9101, NULL, '{"fromObjectId": 550022, "toObjectId": 770022, "associationType": "DEAL_TO_CONTACT"}'),
    pg_temp.event('contact.privacyDeletion', 9102, 770022)) AS body;
\o
SELECT is((SELECT array_agg(r ->> 'status') FROM jsonb_array_elements(pg_temp.hubspot((SELECT body FROM deletion)) -> 'results') r),
    ARRAY['processed', 'processed'], 'contact.privacyDeletion is processed');
SELECT is(pg_temp.found(text), '', what || ' is in no table afterwards') FROM needle WHERE name = 'q';
SELECT is((SELECT array_agg(r ->> 'status') FROM jsonb_array_elements(pg_temp.hubspot((SELECT body FROM deletion)) -> 'results') r),
    ARRAY['duplicate', 'duplicate'], 'the same delivery again is known');
SELECT is(pg_temp.found('770022'), '', 'and leaves nothing');
SELECT is((SELECT array_agg(requested_by || ' ' || evidence ORDER BY erasure_id) FROM artery.v_erasures WHERE tenant_id = 'erasure'),
    ARRAY['erase_contact 2', 'erase_contact 0', 'hubspot 2'], 'the log tells who asked');
SELECT is((SELECT count(*) FROM artery.webhook_event WHERE tenant_id = 'erasure' AND status = ANY (ARRAY['stored', 'failed', 'unmapped'])), 0::bigint, 'no event is left open');
SELECT * FROM finish();
ROLLBACK;
