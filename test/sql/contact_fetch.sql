-- Reading contacts from HubSpot: what its answers mean, which deals are queued, what becomes of a reading.
\set VERBOSITY terse

-- Each answer with the class and what is taken from it, as expected; the output lists the wrong ones.
CREATE TEMP TABLE answer_case (n serial, status int, step text, body text, retry_after text, class text, wait int, detail text);
INSERT INTO answer_case (status, step, body, retry_after, class, wait, detail) VALUES
(200, 'deal', '{"id": "7"}', NULL, 'ok', 0, 'HTTP status 200'),
(207, 'contacts', '{"status": "COMPLETE", "results": [], "errors": [{"status": "error", "category": "OBJECT_NOT_FOUND"}]}', NULL, 'ok', 0, 'HTTP status 207'),
(401, 'deal', '{"status":"error","message":"The OAuth token used to make this call expired 5 hours ago.","category":"EXPIRED_AUTHENTICATION"}', NULL,
 'token', 0, 'HTTP status 401, EXPIRED_AUTHENTICATION'),
(401, 'deal', '', NULL, 'token', 0, 'HTTP status 401, and no JSON object'),
(403, 'contacts', '{"status":"error","category":"MISSING_SCOPES"}', NULL, 'token', 0, 'HTTP status 403, MISSING_SCOPES'),
-- a gateway in between, not HubSpot
(403, 'deal', '<html>blocked</html>', NULL, 'retry', 0, 'HTTP status 403, and no JSON object'),
(404, 'deal', '{"status":"error","message":"resource not found","category":"OBJECT_NOT_FOUND"}', NULL, 'gone', 0, 'HTTP status 404, OBJECT_NOT_FOUND'),
(404, 'deal', '{"status":"error","message":"Unable to find route"}', NULL, 'retry', 0, 'HTTP status 404'),
(404, 'contacts', '{"status":"error","message":"resource not found"}', NULL, 'retry', 0, 'HTTP status 404'),
-- ten seconds: the rolling window
(429, 'deal', '{"status":"error","errorType":"RATE_LIMIT","policyName":"TEN_SECONDLY_ROLLING"}', NULL, 'throttle', 10, 'HTTP status 429, TEN_SECONDLY_ROLLING'),
(429, 'deal', '{"status":"error","errorType":"RATE_LIMIT","policyName":"TEN_SECONDLY_ROLLING"}', '25', 'throttle', 25, 'HTTP status 429, TEN_SECONDLY_ROLLING'),
(429, 'deal', '{"status":"error","errorType":"RATE_LIMIT","policyName":"DAILY"}', NULL, 'throttle', 3600, 'HTTP status 429, DAILY'),
(429, 'deal', 'slow down', 'soon', 'throttle', 10, 'HTTP status 429, and no JSON object'),
(500, 'deal', '{"status":"error","message":"of ann@example.com"}', NULL, 'retry', 0, 'HTTP status 500'),
(503, 'deal', '', '120', 'retry', 120, 'HTTP status 503, and no JSON object'),
(477, 'deal', '{"message":"migration in progress"}', '999999999', 'retry', 86400, 'HTTP status 477'),
(400, 'contacts', '{"status":"error","category":"VALIDATION_ERROR"}', NULL, 'permanent', 0, 'HTTP status 400, VALIDATION_ERROR'),
(200, 'deal', 'not JSON', NULL, 'retry', 0, 'HTTP status 200, and no JSON object'),
(200, 'deal', '[1]', NULL, 'retry', 0, 'HTTP status 200, and no JSON object'),
(302, 'deal', '{}', NULL, 'retry', 0, 'HTTP status 302'),
(500, 'deal', '{"category":"ann@example.com"}', NULL, 'retry', 0, 'HTTP status 500');
SELECT c.n, c.status, a.answer
  FROM answer_case c, artery.classify_hubspot_answer(c.status, c.step, convert_to(c.body, 'UTF8'), c.retry_after) a (answer)
 WHERE (a.answer ->> 'class', (a.answer ->> 'wait_seconds')::int, a.answer ->> 'detail') IS DISTINCT FROM (c.class, c.wait, c.detail);

CREATE FUNCTION pg_temp.read(step text, body text) RETURNS jsonb LANGUAGE sql AS $$
    SELECT artery.classify_hubspot_answer(200, step, convert_to(body, 'UTF8')) - 'class' - 'detail' - 'wait_seconds'
$$;
-- Contacts of a deal: once each, ids only, and whether there are more.
SELECT pg_temp.read('deal', '{"id": "7", "properties": {}}');
SELECT pg_temp.read('deal', '{"id": "7", "associations": {"contacts": {"results": [{"id": "2", "type": "a"}, {"id": "2", "type": "b"},
    {"id": "x"}, {"id": 3}, 5, {"id": "99999999999999999999"}], "paging": {"next": {"after": "2", "link": "https://x"}}}}}');
SELECT pg_temp.read('deal', '{"id": "7", "associations": {"contacts": {"results": 5}}}');
SELECT pg_temp.read('deal', '{"associations": {}}');
SELECT pg_temp.read('associations', '{"results": [{"from": {"id": "7"}, "to": [{"toObjectId": 12}, {"toObjectId": "13"}]}]}');
SELECT pg_temp.read('associations', '{"results": [], "errors": [{}]}'), pg_temp.read('associations', '{}');
-- No more than 100 of them, and then no further page.
SELECT jsonb_array_length(a -> 'contacts') AS contacts, a -> 'after' AS after
  FROM pg_temp.read('deal', (SELECT format('{"id": "7", "associations": {"contacts": {"results": [%s], "paging": {"next": {"after": "x"}}}}}',
           string_agg(format('{"id": "%s"}', i), ',')) FROM generate_series(1, 150) i)) a;

-- Of a contact only what identify keeps; the hash is that of the address without spaces, in lower case.
SELECT pg_temp.read('contacts', '{"results": [{"id": "2", "properties": {"email": " Ann@Example.com ", "firstname": "Ann",
    "hs_facebook_click_id": "fb-1", "artery_click_id": "c1", "first_conversion_date": "2026-03-02T12:13:14.123Z",
    "recent_conversion_date": "1772453594123"}}]}') #- '{contacts,0,email_hash}' AS contact;
SELECT pg_temp.read('contacts', '{"results": [{"id": "2", "properties": {"email": " Ann@Example.com "}}]}')
    #>> '{contacts,0,email_hash}' = encode(sha256('ann@example.com'), 'hex') AS is_hash;
-- What is no address, too long, not of its type or out of range is left out; what is no contact is passed over.
SELECT pg_temp.read('contacts', format('{"results": [{"id": "2", "properties": {"email": "ann", "hs_facebook_click_id": "%s",
    "artery_click_id": ["c1"], "first_conversion_date": "1999-01-01T00:00:00Z", "recent_conversion_date": "soon"}},
    {"id": "3"}, {"properties": {}}, 4, {"id": "-1", "properties": {}}, {"id": 5, "properties": {"email": null}}]}', repeat('f', 1025)));
SELECT pg_temp.read('contacts', '{"results": {}}');
-- Anything else: no crash, and no error.
SELECT count(artery.classify_hubspot_answer(s.status, p.step, b.body, '1')) AS answers
  FROM (VALUES (200), (404), (429), (500)) s (status), (VALUES ('deal'), ('associations'), ('contacts')) p (step),
       (SELECT ''::bytea UNION ALL SELECT '\x00' UNION ALL SELECT '\xff' UNION ALL SELECT sha512(int4send(i)) FROM generate_series(1, 200) i
        UNION ALL SELECT convert_to(repeat('[', 20000), 'UTF8') UNION ALL SELECT convert_to(repeat('{"results":[', 3000), 'UTF8')
        UNION ALL SELECT convert_to('{"id":"1","associations":' || v || '}', 'UTF8') FROM unnest(ARRAY['null', '[]', '{"contacts":[]}',
            '{"contacts":{"results":[null,[],{},{"id":{}}]}}', '{"contacts":{"results":[],"paging":{"next":{"after":5}}}}']) v
        UNION ALL SELECT convert_to('{"results":' || v || '}', 'UTF8') FROM unnest(ARRAY['[null]', '[[]]', '[{"id":1e300,"properties":{}}]',
            '[{"id":"1","properties":{"email":"\u0041@\u00e9"}}]', '[{"to":[{"toObjectId":1e-5}]}]']) v) b (body);
SELECT artery.classify_hubspot_answer(200, 'company', '');

-- Which deals are queued: those that entered a stage and have no ad, once there is a token.
SELECT artery.add_tenant('contact_fetch', 'service_business', settings => '{"attribution_model": "layered"}');
SELECT artery.track_click('contact_fetch', 'campaign', 'ad', click_id => 'c1', fbclid => 'fb-1', click_timestamp => artery.now() - interval '2 days');
CREATE VIEW pg_temp.fetches AS
SELECT deal_id, state, outcome, contacts, failures, looks, last_error FROM artery.v_contact_fetches WHERE tenant_id = 'contact_fetch';
SELECT artery.record_stage('contact_fetch', '1', 'lead') ->> 'status' AS status;
SELECT artery.fetch_contacts('contact_fetch');
SELECT artery.set_secret('contact_fetch', 'hubspot_access_token', 'pat-contact-fetch-1');
SELECT artery.record_stage('contact_fetch', d, 'lead') ->> 'status' AS status FROM unnest(ARRAY['2', '3', '4', 'not-of-hubspot']) d;
SELECT artery.identify('contact_fetch', crm_deal_id => '5', fbclid => 'fb-1') IS NOT NULL AS stored;
SELECT artery.record_stage('contact_fetch', '5', 'lead') #>> '{attribution,method}' AS method;
SELECT * FROM pg_temp.fetches ORDER BY deal_id;
-- Deals from before the token come by a call.
SELECT artery.fetch_contacts('contact_fetch', 'unknown');
SELECT artery.fetch_contacts('contact_fetch', '1') AS one, artery.fetch_contacts('contact_fetch', '5') AS attributed,
       artery.fetch_contacts('contact_fetch', since => artery.now() + interval '1 hour') AS later;

-- A claim, and what becomes of it. The attempt is the fence.
SELECT deal_id, attempt, begun_at IS NOT NULL AS begun FROM artery.take_contact_fetches(2, '') ORDER BY deal_id;
SELECT deal_id, attempt FROM artery.take_contact_fetches(16, '') ORDER BY deal_id;  -- what is left
SELECT artery.settle_contact_fetch('contact_fetch', '1', 0, 'gone', NULL, NULL, 0) AS late,
       artery.settle_contact_fetch('contact_fetch', '1', 1, 'gone', NULL, NULL, 0) AS good,
       artery.settle_contact_fetch('contact_fetch', '1', 1, 'failed', NULL, 'again', 0) AS again;
-- Nothing of use: looked at again after 1 minute, 15, 4 hours and a day, then no more.
DO $$
BEGIN
    FOR i IN 1 .. 5 LOOP
        PERFORM artery.settle_contact_fetch('contact_fetch', '2', i, 'nothing', 0, NULL, 0);
        RAISE NOTICE 'look %: % in %', i, (SELECT state FROM artery.contact_fetch WHERE tenant_id = 'contact_fetch' AND deal_id = '2'),
            (SELECT date_trunc('minute', run_at - artery.moment() + interval '1 second') FROM artery.contact_fetch WHERE tenant_id = 'contact_fetch' AND deal_id = '2');
        UPDATE artery.contact_fetch SET state = 'active', attempt = attempt + 1 WHERE tenant_id = 'contact_fetch' AND deal_id = '2' AND state = 'queued';
    END LOOP;
END
$$;
-- Failures: from 30 seconds, doubling up to an hour, give or take a quarter, at least as long as HubSpot says; the tenth is the last.
DO $$
DECLARE
    v_wait float8;
BEGIN
    FOR i IN 1 .. 10 LOOP
        PERFORM artery.settle_contact_fetch('contact_fetch', '3', i, 'failed', NULL, 'HTTP status 500', CASE WHEN i = 2 THEN 7000 ELSE 0 END);
        SELECT extract(epoch FROM run_at - artery.moment()) INTO v_wait FROM artery.contact_fetch WHERE tenant_id = 'contact_fetch' AND deal_id = '3';
        IF i < 10 AND (i <> 2 OR v_wait NOT BETWEEN 6999 AND 7000)
           AND v_wait NOT BETWEEN 0.75 * least(3600, 30 * 2 ^ (i - 1)) - 1 AND 1.25 * least(3600, 30 * 2 ^ (i - 1)) THEN
            RAISE WARNING 'failure %: waits %', i, v_wait;
        END IF;
        UPDATE artery.contact_fetch SET state = 'active', attempt = attempt + 1 WHERE tenant_id = 'contact_fetch' AND deal_id = '3' AND state = 'queued';
    END LOOP;
END
$$;
SELECT artery.settle_contact_fetch('contact_fetch', '4', 1, 'refused', NULL, 'HTTP status 400', 0);
SELECT * FROM pg_temp.fetches ORDER BY deal_id;
SELECT kind, message FROM artery.v_alerts WHERE tenant_id = 'contact_fetch';
SELECT queued, due, active, failed, paused_reason FROM artery.v_contact_fetch_health WHERE tenant_id = 'contact_fetch';
SELECT artery.health() #> '{contacts,failed}' IS NOT NULL AS told;
-- Given up ones come again by a call, or by another stage.
SELECT artery.record_stage('contact_fetch', '4', 'appointment_scheduled') ->> 'status' AS status;
SELECT artery.fetch_contacts('contact_fetch', '3') AS one;
SELECT count(*) AS alerts FROM artery.v_alerts WHERE tenant_id = 'contact_fetch';
SELECT * FROM pg_temp.fetches ORDER BY deal_id;

-- What is claimed by a process that is gone is taken back.
UPDATE artery.contact_fetch SET state = 'active', worker_pid = 0, lease_until = artery.moment() + interval '1 hour', attempt = 7
 WHERE tenant_id = 'contact_fetch' AND deal_id = '4';
SELECT artery.next_contact_fetch_at() = '-infinity' AS at_once, artery.rescue_contact_fetches() AS rescued, artery.rescue_contact_fetches() AS again;

-- A pause: the wait doubles with every refusal after it, not with those of the same moment; a token's lasts until another is set.
SELECT round(extract(epoch FROM artery.pause_contact_fetches('contact_fetch', 'rate_limit', 10, 'x') - artery.moment())) AS first,
       round(extract(epoch FROM artery.pause_contact_fetches('contact_fetch', 'rate_limit', 10, 'x') - artery.moment())) AS meanwhile;
UPDATE artery.contact_fetch_pause SET until = artery.moment() - interval '1 second' WHERE tenant_id = 'contact_fetch';
SELECT round(extract(epoch FROM artery.pause_contact_fetches('contact_fetch', 'rate_limit', 10, 'x') - artery.moment())) AS second;
SELECT count(*) FROM artery.take_contact_fetches(16, '');
SELECT artery.pause_contact_fetches('contact_fetch', 'token', 'infinity', 'HTTP status 401');
SELECT paused_reason, paused_until FROM artery.v_contact_fetch_health WHERE tenant_id = 'contact_fetch';
SELECT kind, message FROM artery.v_alerts WHERE tenant_id = 'contact_fetch';
SELECT artery.set_secret('contact_fetch', 'hubspot_access_token', 'pat-contact-fetch-1');  -- the same: cures nothing
SELECT count(*) AS paused FROM artery.contact_fetch_pause WHERE tenant_id = 'contact_fetch';
SELECT artery.set_secret('contact_fetch', 'hubspot_access_token', 'pat-contact-fetch-2');
SELECT count(*) AS paused, (SELECT count(*) FROM artery.v_alerts WHERE tenant_id = 'contact_fetch') AS alerts
  FROM artery.contact_fetch_pause WHERE tenant_id = 'contact_fetch';
-- A person who gave the old token more rights says so by a call.
SELECT artery.pause_contact_fetches('contact_fetch', 'token', 'infinity', 'HTTP status 403') = 'infinity' AS stopped,
       artery.fetch_contacts('contact_fetch', '3') AS queued;
SELECT count(*) AS paused FROM artery.contact_fetch_pause WHERE tenant_id = 'contact_fetch';

-- A tenant that is off, and a deal that got its ad meanwhile.
SELECT artery.configure_tenant('contact_fetch', '{"enabled": false}') ->> 'enabled' AS enabled;
SELECT count(*) FROM artery.take_contact_fetches(16, '');
SELECT artery.configure_tenant('contact_fetch', '{"enabled": null}') ->> 'enabled' AS enabled;
SELECT artery.identify('contact_fetch', crm_deal_id => '3', click_id => 'c1') IS NOT NULL AS stored;
SELECT deal_id FROM artery.take_contact_fetches(16, '') ORDER BY deal_id;
SELECT * FROM pg_temp.fetches WHERE deal_id = '3';

UPDATE artery.contact_fetch SET state = 'done', outcome = 'nothing' WHERE tenant_id = 'contact_fetch' AND deal_id = '4';

-- What is stored: evidence as identify keeps it, once. Deal 6 began an hour ago; the click was two days ago.
SELECT artery.record_stage('contact_fetch', '6', 'lead', occurred_at => artery.now() - interval '1 hour') ->> 'status' AS status;
CREATE FUNCTION pg_temp.store(deal text, contact text, email text, click text, fbclid text, form interval) RETURNS boolean LANGUAGE sql AS $$
    SELECT artery.store_contact('contact_fetch', deal, contact, encode(sha256(convert_to(email, 'UTF8')), 'hex'), click, fbclid,
        d.first_event_at - form, d.first_event_at)
      FROM artery.deal d WHERE d.tenant_id = 'contact_fetch' AND d.deal_id = deal
$$;
CREATE VIEW pg_temp.evidence AS
SELECT e.crm_deal_id, e.crm_contact_id, e.email_hash IS NOT NULL AS email, e.click_id, e.fbclid, d.first_event_at - e.seen_at AS before
  FROM artery.contact_evidence e JOIN artery.deal d ON d.tenant_id = 'contact_fetch' AND d.deal_id = e.crm_deal_id
 WHERE e.tenant_id = 'contact_fetch' AND e.crm_contact_id IS NOT NULL;
SELECT pg_temp.store('6', '61', 'a@b.c', NULL, NULL, '1 day'), pg_temp.store('6', '61', 'a@b.c', NULL, NULL, '1 day');
SELECT * FROM pg_temp.evidence;
SELECT pg_temp.store('6', '62', NULL, NULL, 'fb-1', '1 day');
SELECT crm_deal_id, crm_contact_id, fbclid, before FROM pg_temp.evidence WHERE crm_contact_id = '62';
SELECT attribution_method, ad_id FROM artery.deal WHERE tenant_id = 'contact_fetch' AND deal_id = '6';
-- A form that was sent 3 days ago cannot be what the click of 2 days ago led to: the deal's begin counts.
SELECT artery.record_stage('contact_fetch', '7', 'lead') ->> 'status' AS status;
SELECT pg_temp.store('7', '71', NULL, NULL, 'fb-1', '3 days');
SELECT crm_deal_id, before FROM pg_temp.evidence WHERE crm_contact_id = '71';
-- The landing page's own word of the form (10 hours before) is better than none.
SELECT artery.record_stage('contact_fetch', '8', 'lead') ->> 'status' AS status;
SELECT artery.identify('contact_fetch', email_hash => encode(sha256('d@e.f'), 'hex'), ip_address => '203.0.113.8', seen_at => d.first_event_at - interval '10 hours')
    IS NOT NULL AS stored FROM artery.deal d WHERE d.tenant_id = 'contact_fetch' AND d.deal_id = '8';
SELECT pg_temp.store('8', '81', 'd@e.f', NULL, NULL, NULL);
SELECT crm_deal_id, before FROM pg_temp.evidence WHERE crm_contact_id = '81';
-- Merged contacts live on in the one that stays; of who was erased nothing is kept.
SELECT artery.merge_contacts('contact_fetch', '92', ARRAY['91']);
SELECT artery.record_stage('contact_fetch', '9', 'lead') ->> 'status' AS status;
SELECT pg_temp.store('9', '91', 'g@h.i', NULL, NULL, NULL);
SELECT crm_deal_id, crm_contact_id FROM pg_temp.evidence WHERE crm_deal_id = '9';
SELECT artery.erase_contact('contact_fetch', email_hash => encode(sha256('x@y.z'), 'hex')) ->> 'evidence' AS erased;
SELECT artery.record_stage('contact_fetch', '10', 'lead') ->> 'status' AS status;
SELECT pg_temp.store('10', '101', 'x@y.z', NULL, 'fb-1', NULL);
SELECT count(*) AS kept FROM pg_temp.evidence WHERE crm_deal_id = '10';
-- Deals that were erased are not asked for.
SELECT artery.erase_contact('contact_fetch', crm_deal_id => '8') ->> 'evidence' AS erased;
SELECT artery.fetch_contacts('contact_fetch', '8') AS queued;
UPDATE artery.contact_fetch SET run_at = run_at - interval '1 day' WHERE tenant_id = 'contact_fetch' AND deal_id = '8';  -- its turn
SELECT count(*) FILTER (WHERE t.deal_id = '8') AS claimed FROM artery.take_contact_fetches(16, '') t;
SELECT state, outcome FROM pg_temp.fetches WHERE deal_id = '8';

-- Nor are those that began before any click that is left (artery.retention_clicks, 90 days).
SELECT artery.record_stage('contact_fetch', '4711', 'lead', occurred_at => artery.now() - interval '91 days') ->> 'status' AS status;
UPDATE artery.contact_fetch SET run_at = run_at - interval '1 day' WHERE tenant_id = 'contact_fetch' AND deal_id = '4711';
SELECT count(*) FILTER (WHERE t.deal_id = '4711') AS claimed FROM artery.take_contact_fetches(16, '') t;
SELECT state, outcome FROM pg_temp.fetches WHERE deal_id = '4711';

-- Settled ones go by age.
UPDATE artery.contact_fetch SET settled_at = artery.now() - interval '31 days' WHERE tenant_id = 'contact_fetch' AND state = 'done';
SELECT deleted > 0 AS deleted FROM artery.purge() WHERE table_name = 'contact_fetch';
SELECT count(*) AS left FROM artery.contact_fetch WHERE tenant_id = 'contact_fetch' AND state = 'done';
SELECT artery.configure_tenant('contact_fetch', '{"hubspot_click_id_property": "My Property"}');
SELECT artery.set_secret('contact_fetch', 'hubspot_access_token', NULL);
