-- HubSpot's webhooks: whose they are, what they say, what becomes of them.
-- Values of the template: lead 0, appointment_scheduled 2250, show_up 9000, closed_won 15000, closed_lost 0.
\set VERBOSITY terse
SET client_min_messages = warning;
SET timezone = 'UTC';
\pset null '(null)'
-- The agency serves two tenants with one app, a third has an app of its own, a fourth none.
SELECT artery.add_tenant('hook_a', 'service_business'), artery.add_tenant('hook_b', 'service_business'),
       artery.add_tenant('hook_c', 'service_business'), artery.add_tenant('hook_d', 'service_business');
SELECT artery.configure_tenant('hook_a', '{"hubspot_portal_ids": [101, 102], "hubspot_webhook_url": "https://hook.example.com/agency"}') IS NOT NULL,
       artery.configure_tenant('hook_b', '{"hubspot_portal_ids": [201], "hubspot_webhook_url": "https://hook.example.com/agency"}') IS NOT NULL,
       artery.configure_tenant('hook_c', '{"hubspot_portal_ids": [301], "hubspot_webhook_url": "https://hook.example.com/own"}') IS NOT NULL,
       artery.configure_tenant('hook_d', '{"hubspot_portal_ids": [401]}') IS NOT NULL;
SELECT artery.set_secret('hook_a', 'hubspot_client_secret', 'agency secret'), artery.set_secret('hook_b', 'hubspot_client_secret', 'agency secret'),
       artery.set_secret('hook_c', 'hubspot_client_secret', 'secret key of c');

-- HMAC-SHA256 by its definition, for keys up to a block.
CREATE FUNCTION pg_temp.hmac(key bytea, message bytea) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
    v_inner bytea := decode(repeat('36', 64), 'hex');
    v_outer bytea := decode(repeat('5c', 64), 'hex');
BEGIN
    FOR i IN 0 .. length(key) - 1 LOOP
        v_inner := set_byte(v_inner, i, get_byte(v_inner, i) # get_byte(key, i));
        v_outer := set_byte(v_outer, i, get_byte(v_outer, i) # get_byte(key, i));
    END LOOP;
    RETURN sha256(v_outer || sha256(v_inner || message));
END
$$;
-- Send bytes as HubSpot would, signed with a secret for an address, at noon of 2025-06-10.
CREATE FUNCTION pg_temp.send_bytes(body bytea, secret text DEFAULT 'agency secret', uri text DEFAULT 'https://hook.example.com/agency')
RETURNS jsonb LANGUAGE sql AS $$
    SELECT artery.hubspot_webhook(body, jsonb_build_object('X-HubSpot-Request-Timestamp', '1749556800000', 'X-HubSpot-Signature-v3',
        encode(pg_temp.hmac(convert_to(secret, 'UTF8'), convert_to('POST' || uri, 'UTF8') || body || '1749556800000'), 'base64')),
        'POST', uri, '2025-06-10 12:00:00')
$$;
CREATE FUNCTION pg_temp.send(body text, secret text DEFAULT 'agency secret', uri text DEFAULT 'https://hook.example.com/agency')
RETURNS jsonb LANGUAGE sql AS $$ SELECT pg_temp.send_bytes(convert_to(body, 'UTF8'), secret, uri) $$;
-- A deal's change as a classic event; times in minutes of 2025-06-10.
CREATE FUNCTION pg_temp.event(portal bigint, deal bigint, value text, minute int, id bigint, property text DEFAULT 'dealstage') RETURNS text
LANGUAGE sql AS $$
    SELECT jsonb_build_object('eventId', id, 'subscriptionId', 25, 'portalId', portal, 'appId', 1160452, 'occurredAt',
        1749513600000 + minute * 60000, 'subscriptionType', 'deal.propertyChange', 'attemptNumber', 0, 'objectId', deal,
        'propertyName', property, 'propertyValue', value, 'changeSource', 'CRM_UI')::text
$$;
CREATE FUNCTION pg_temp.deals(tenant text) RETURNS TABLE (deal text, contact text, stage text, stage_value numeric, deal_value numeric,
    events bigint, adds_up boolean)
LANGUAGE sql AS $$
    SELECT d.deal_id, d.crm_contact_id, d.stage, d.stage_value, d.deal_value, count(e), d.stage_value = coalesce(sum(e.increment), 0)
      FROM artery.deal d LEFT JOIN artery.deal_stage_event e USING (tenant_id, deal_id)
     WHERE d.tenant_id = tenant GROUP BY d.tenant_id, d.deal_id ORDER BY d.deal_id
$$;

-- One object: the result itself. An array: a result per event, in its order.
SELECT pg_temp.send(pg_temp.event(101, 1, 'lead', 1, 1));
SELECT pg_temp.send('[' || pg_temp.event(101, 1, 'appointmentscheduled', 2, 2) || ']');
SELECT pg_temp.send('[]');
-- The same again, also with another attempt number, also within one batch: one effect.
SELECT pg_temp.send(replace(pg_temp.event(101, 1, 'appointmentscheduled', 2, 2), '"attemptNumber": 0', '"attemptNumber": 3'));
SELECT r ->> 'status' AS status, r ->> 'stage_to' AS stage, r #> '{synthetic_revenue,incremental}' AS increment
  FROM jsonb_array_elements(pg_temp.send(format('[%s, %1$s, %s]', pg_temp.event(101, 1, 'closedwon', 5, 3),
      pg_temp.event(101, 1, 'show_up', 4, 4))) -> 'results') r;
-- The same event id at another time, or of another deal, is another event.
SELECT pg_temp.send(pg_temp.event(101, 2, 'lead', 5, 3)) ->> 'status', pg_temp.send(pg_temp.event(101, 2, 'show_up', 6, 3)) ->> 'status';
SELECT * FROM pg_temp.deals('hook_a');
SELECT webhook_event_id IS NOT NULL AS id, event_key, portal_id, subscription_type, object_id, occurred_at, status, result ->> 'stage_to' AS stage,
       received_at FROM artery.webhook_event WHERE tenant_id = 'hook_a' ORDER BY event_key;

-- The other generation, ids as text, an event type, a number as value; the amount, its correction, and it taken back.
SELECT pg_temp.send('{"eventId": "77", "portalId": "102", "occurredAt": "1749513720000", "eventType": "object.propertyChange", "objectTypeId": "0-3",
    "objectId": "9007199254740993", "propertyName": "dealstage", "propertyValue": "closedwon", "isSensitive": false}');
SELECT pg_temp.send(pg_temp.event(102, 9007199254740993, '18000.50', 3, 78, 'amount')) -> 'synthetic_revenue';
SELECT pg_temp.send(pg_temp.event(102, 9007199254740993, '17000', 4, 79, 'amount')) -> 'synthetic_revenue';
SELECT pg_temp.send(pg_temp.event(102, 9007199254740993, '', 5, 80, 'amount')) -> 'synthetic_revenue';
SELECT pg_temp.send(pg_temp.event(102, 9007199254740993, '16000', 3, 81, 'amount')) -> 'synthetic_revenue';
SELECT pg_temp.send(pg_temp.event(102, 9007199254740993, NULL, 6, 82, 'amount')) -> 'synthetic_revenue';
-- An amount before the first stage counts when the deal is won: 500.
SELECT pg_temp.send(pg_temp.event(102, 3, '500', 1, 83, 'amount')) ->> 'status';
SELECT pg_temp.send(pg_temp.event(102, 3, 'closedwon', 2, 84)) -> 'synthetic_revenue';
-- Contacts join and part.
SELECT pg_temp.send('{"eventId": 90, "portalId": 101, "occurredAt": 1749513720000, "subscriptionType": "deal.associationChange",
    "associationType": "DEAL_TO_CONTACT", "fromObjectId": 1, "toObjectId": 555, "associationRemoved": false}');
SELECT pg_temp.send('{"eventId": 91, "portalId": 101, "occurredAt": 1749513720000, "subscriptionType": "object.associationChange",
    "fromObjectTypeId": "0-1", "toObjectTypeId": "0-3", "fromObjectId": 556, "toObjectId": 2}') ->> 'status';
SELECT pg_temp.send('{"eventId": 92, "portalId": 101, "occurredAt": 1749513780000, "subscriptionType": "contact.associationChange",
    "associationType": "CONTACT_TO_DEAL", "fromObjectId": 556, "toObjectId": 2, "associationRemoved": true}') ->> 'status';
SELECT * FROM pg_temp.deals('hook_a');
-- What has no effect is kept and ignored.
SELECT e.position, pg_temp.send(e.event) ->> 'status' AS status FROM (VALUES
    (1, '{"eventId": 1, "portalId": 101, "occurredAt": 1749513720000, "subscriptionType": "deal.creation", "objectId": 1}'),
    (2, '{"eventId": 1, "portalId": 101, "occurredAt": 1749513720000, "subscriptionType": "contact.propertyChange", "objectId": 1,
         "propertyName": "dealstage", "propertyValue": "closedwon"}'),
    (3, '{"eventId": 1, "portalId": 101, "occurredAt": 1749513720000, "subscriptionType": "object.propertyChange", "objectTypeId": "0-1",
         "objectId": 1, "propertyName": "dealstage", "propertyValue": "closedwon"}'),
    (4, pg_temp.event(101, 1, 'x', 1, 5, 'dealname')), (5, pg_temp.event(101, 1, '', 1, 6)), (6, pg_temp.event(101, 1, NULL, 1, 7)),
    (7, '{"portalId": 101}'), (8, '{"portalId": 101, "x": 1}'), (9, '{"portalId": 101, "x": 1, "attemptNumber": 2}'), (10, '{}')) e(position, event)
 ORDER BY e.position;

-- One that cannot be valued is kept as failed, an unknown stage or portal as unmapped; the others stand.
SELECT r.ordinality AS n, r.value ->> 'status' AS status, r.value ->> 'deal_id' AS deal, r.value ->> 'stage_to' AS stage, r.value ->> 'reason' AS reason
  FROM jsonb_array_elements(pg_temp.send('[' || concat_ws(',', pg_temp.event(101, 10, 'lead', 1, 1), pg_temp.event(101, 10, 'contractsent', 2, 2),
      pg_temp.event(101, 10, '-5', 3, 3, 'amount'), pg_temp.event(101, 10, 'ten', 3, 4, 'amount'), pg_temp.event(101, 10, 'show_up', 3000, 5),
      pg_temp.event(999, 10, 'closedwon', 4, 6), replace(pg_temp.event(101, 10, 'lead', 1, 1), '1749513660000', '"soon"'),
      '{"eventId": 8, "portalId": 101, "occurredAt": 1749513720000, "subscriptionType": "deal.propertyChange", "propertyName": "dealstage", "propertyValue": "lead"}',
      pg_temp.event(101, 10, 'show_up', 5, 9)) || ']') -> 'results') WITH ORDINALITY r ORDER BY r.ordinality;
SELECT * FROM pg_temp.deals('hook_a') WHERE deal = '10';
SELECT portal_id, object_id, property_value, status, reason FROM artery.v_unmapped_events WHERE tenant_id = 'hook_a' ORDER BY webhook_event_id;
-- A replay before anything is mended changes nothing; after it, the event takes its place in time: 6000 after lead, then show_up adds 3000.
SELECT artery.replay_webhook_events('hook_a');
SELECT artery.set_stage_values('hook_a', '{"contract": {"value": 6000, "confidence": 0.8, "aliases": ["contractsent"]}}');
SELECT artery.configure_tenant('hook_a', '{"hubspot_portal_ids": [101, 102, 999]}') IS NOT NULL;
SELECT artery.replay_webhook_events('hook_a');
SELECT stage_from, stage_to, increment FROM artery.deal_stage_event WHERE tenant_id = 'hook_a' AND deal_id = '10' ORDER BY occurred_at, event_seq;
SELECT * FROM pg_temp.deals('hook_a') WHERE deal = '10';
SELECT pg_temp.send(pg_temp.event(101, 10, 'contractsent', 2, 2)) ->> 'status' AS sent_again;
-- A portal that turns out to be another tenant's gives it nothing of ours.
SELECT pg_temp.send(pg_temp.event(402, 11, 'lead', 1, 1)) ->> 'status';
SELECT artery.configure_tenant('hook_b', '{"hubspot_portal_ids": [201, 402]}') IS NOT NULL;
SELECT artery.replay_webhook_events('hook_a') ->> 'unmapped' > '0' AS still_unmapped;
SELECT count(*) FROM artery.deal WHERE deal_id = '11';
SELECT artery.replay_webhook_events('hook_nobody');
SELECT artery.replay_webhook_events(NULL);

-- A batch of several portals. Both tenants of the agency have the secret; the third tenant has not and its event is refused.
SELECT r ->> 'status' AS status, r ->> 'deal_id' AS deal, r ->> 'portal_id' AS portal, r ->> 'reason' AS reason
  FROM jsonb_array_elements(pg_temp.send(format('[%s,%s,%s,%s,%s]', pg_temp.event(301, 20, 'lead', 1, 1), pg_temp.event(201, 20, 'lead', 1, 1),
      pg_temp.event(101, 20, 'lead', 1, 1), pg_temp.event(401, 20, 'lead', 1, 1), pg_temp.event(12345, 20, 'lead', 1, 1))) -> 'results') r;
SELECT tenant_id, count(*) FROM artery.deal WHERE deal_id = '20' GROUP BY 1 ORDER BY 1;
SELECT tenant_id, portal_id, status FROM artery.webhook_event WHERE object_id = '20' ORDER BY 1, 2;
-- Signed by the third tenant, the agency's events are refused; the address signed is that of the tenant.
SELECT r ->> 'status' AS status FROM jsonb_array_elements(pg_temp.send(format('[%s,%s]', pg_temp.event(101, 21, 'lead', 1, 1),
    pg_temp.event(301, 21, 'lead', 1, 1)), 'secret key of c', 'https://hook.example.com/own') -> 'results') r;
-- Of another's portal alone, signed by the tenant of the address: refused in its result.
SELECT pg_temp.send(pg_temp.event(101, 22, 'lead', 1, 1), 'secret key of c', 'https://hook.example.com/own') ->> 'status';
-- No portal, or an unknown one alone: the tenant of the address judges.
SELECT pg_temp.send('{"eventId": 5, "occurredAt": 1749513720000, "subscriptionType": "deal.propertyChange", "objectId": 23,
    "propertyName": "dealstage", "propertyValue": "lead"}', 'secret key of c', 'https://hook.example.com/own') ->> 'status';
SELECT pg_temp.send(pg_temp.event(54321, 24, 'lead', 1, 1), 'secret key of c', 'https://hook.example.com/own') -> 'portal_id';
SELECT DISTINCT tenant_id FROM artery.deal WHERE deal_id = '23';

-- Not verified, whatever the body is: 28000, and nothing stored.
SELECT count(*) AS events FROM artery.webhook_event \gset
CREATE FUNCTION pg_temp.judge(body bytea, secret text, uri text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN left(pg_temp.send_bytes(body, secret, uri)::text, 60);
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
SELECT c.what, pg_temp.judge(c.body, 'guessed', 'https://hook.example.com/agency') AS unverified,
       pg_temp.judge(c.body, 'secret key of c', 'https://hook.example.com/own') AS verified
  FROM (VALUES
    (1, 'broken', convert_to('[{"portalId": 301', 'UTF8')), (2, 'empty', ''::bytea), (3, 'no JSON', convert_to('portalId=301', 'UTF8')),
    (4, 'bytes', '\xff00fe'::bytea), (5, 'a scalar', convert_to('5', 'UTF8')), (6, 'null', convert_to('null', 'UTF8')),
    (7, 'array of a scalar', convert_to('[{"portalId": 301}, 5]', 'UTF8')), (8, 'nested arrays', convert_to('[[{"portalId": 301}]]', 'UTF8')),
    (9, 'deep', convert_to(repeat('[', 100000), 'UTF8')),
    (11, '1001 events', convert_to('[' || repeat('{"portalId":301},', 1000) || '{}]', 'UTF8')),
    (12, 'too large', convert_to('{"portalId": 301, "x": "' || repeat('x', 17000000) || '"}', 'UTF8')),
    (13, 'strange portal', convert_to('{"portalId": {"a": 1}}', 'UTF8'))) c(position, what, body) ORDER BY c.position;
SELECT count(*) - :events AS stored FROM artery.webhook_event;
-- 1000 events are accepted: one is new, the others repeat it.
SELECT r ->> 'status' AS status, count(*) FROM jsonb_array_elements(pg_temp.send('[' || repeat(pg_temp.event(301, 30, 'lead', 1, 1) || ',', 999)
    || pg_temp.event(301, 30, 'lead', 1, 1) || ']', 'secret key of c', 'https://hook.example.com/own') -> 'results') r GROUP BY 1 ORDER BY 1;
-- A tenant without a secret signs nothing, not even with an empty one.
SELECT pg_temp.judge(convert_to(pg_temp.event(401, 1, 'lead', 1, 1), 'UTF8'), '', 'https://hook.example.com/agency');
SELECT pg_temp.judge(convert_to('{}', 'UTF8'), 'agency secret', 'https://hook.example.com/nobody');
SELECT artery.hubspot_webhook(NULL, '{}');
SELECT artery.hubspot_webhook('{}', '{}');
SELECT artery.hubspot_webhook('{}', '{}', received_at => 'infinity');
\set VERBOSITY default
SELECT artery.hubspot_webhook('{}', '{"X-HubSpot-Signature-v3": "x", "x-hubspot-request-timestamp": "1749556800000"}', 'POST',
    'https://hook.example.com/own', '2025-06-10 12:00');
\set VERBOSITY terse

-- UTF-8 is signed as bytes and kept.
SELECT pg_temp.send('{"eventId": 6, "portalId": 101, "occurredAt": 1749513720000, "subscriptionType": "deal.propertyChange", "objectId": "Zürich ✓",
    "propertyName": "dealstage", "propertyValue": "lead"}') ->> 'deal_id';
-- What JSON can say and no text can hold, U+0000 and half a surrogate pair, becomes U+FFFD: an id or stage of its own, and
-- the other events stand. A whole pair and an escaped backslash are not touched. Again it is the same event.
SELECT concat_ws(',', pg_temp.event(101, 60, 'lead', 1, 600), replace(pg_temp.event(101, 61, 'lead', 1, 601), '"lead"', '"le\u0000ad"'),
    replace(pg_temp.event(101, 62, 'lead', 1, 602), '62', '"6\uD83D2"'), replace(pg_temp.event(101, 63, 'lead', 1, 603), '63', '"6\uDE00\uD83D\uDE003"'),
    replace(pg_temp.event(101, 64, 'lead', 1, 604), '64', '"\\u0000"')) AS strange \gset
SELECT r.ordinality AS n, r.value ->> 'status' AS status, r.value ->> 'deal_id' AS deal, r.value ->> 'stage_to' AS stage
  FROM jsonb_array_elements(pg_temp.send('[' || :'strange' || ']') -> 'results') WITH ORDINALITY r ORDER BY r.ordinality;
SELECT r ->> 'status' AS again, count(*) FROM jsonb_array_elements(pg_temp.send('[' || :'strange' || ']') -> 'results') r GROUP BY 1 ORDER BY 1;
SELECT object_id, property_value, reason FROM artery.v_unmapped_events WHERE tenant_id = 'hook_a' AND object_id = '61';
-- An escape that is cut off is no JSON.
SELECT pg_temp.judge(convert_to('{"portalId": 301, "x": "\u00"}', 'UTF8'), 'secret key of c', 'https://hook.example.com/own');

-- A deleted deal is lost: its value goes, in either generation's words.
SELECT pg_temp.send(pg_temp.event(101, 50, 'closedwon', 1, 500)) -> 'synthetic_revenue' -> 'incremental' AS won,
       pg_temp.send(pg_temp.event(101, 51, 'appointmentscheduled', 1, 501)) -> 'synthetic_revenue' -> 'incremental' AS booked;
SELECT r ->> 'stage_to' AS stage_to, r -> 'synthetic_revenue' -> 'incremental' AS incremental
  FROM jsonb_array_elements(pg_temp.send('[
    {"eventId": 502, "portalId": 101, "occurredAt": 1749513720000, "subscriptionType": "deal.deletion", "objectId": 50},
    {"eventId": 503, "portalId": 101, "occurredAt": 1749513720000, "subscriptionType": "object.deletion", "objectTypeId": "0-3", "objectId": 51},
    {"eventId": 504, "portalId": 101, "occurredAt": 1749513720000, "subscriptionType": "object.deletion", "objectTypeId": "0-2", "objectId": 51}]') -> 'results') r;
SELECT deal_id, stage, stage_value, is_won FROM artery.deal WHERE deal_id IN ('50', '51') ORDER BY deal_id;
-- One that is restored is where it was, and the deletion is undone in the sum: 15000 and 2250 again. Not one that was never
-- deleted (52), and not one that went on after its deletion (51, the second time).
SELECT r ->> 'status' AS status, r ->> 'stage_to' AS stage_to, r -> 'synthetic_revenue' -> 'incremental' AS incremental, r ->> 'reason' AS reason
  FROM jsonb_array_elements(pg_temp.send('[
    {"eventId": 505, "portalId": 101, "occurredAt": 1749513780000, "subscriptionType": "deal.restore", "objectId": 50},
    {"eventId": 506, "portalId": 101, "occurredAt": 1749513780000, "subscriptionType": "object.restore", "objectTypeId": "0-3", "objectId": 51},
    {"eventId": 507, "portalId": 101, "occurredAt": 1749513840000, "subscriptionType": "deal.restore", "objectId": 51},
    {"eventId": 505, "portalId": 101, "occurredAt": 1749513780000, "subscriptionType": "deal.restore", "objectId": 50},
    {"eventId": 508, "portalId": 101, "occurredAt": 1749513780000, "subscriptionType": "object.restore", "objectTypeId": "0-2", "objectId": 51},
    {"eventId": 509, "portalId": 101, "occurredAt": 1749513780000, "subscriptionType": "deal.restore", "objectId": 52},
    {"eventId": 510, "portalId": 101, "occurredAt": 1749513780000, "subscriptionType": "deal.restore"}]') -> 'results') r;
SELECT d.deal_id, d.stage, d.stage_value, d.is_won, sum(e.increment) AS increments
  FROM artery.deal d JOIN artery.deal_stage_event e USING (tenant_id, deal_id) WHERE d.deal_id IN ('50', '51') GROUP BY d.tenant_id, d.deal_id
 ORDER BY d.deal_id;

-- The gateway's role needs EXECUTE and nothing else.
CREATE ROLE hook_role;
GRANT USAGE ON SCHEMA artery TO hook_role;
GRANT EXECUTE ON FUNCTION artery.hubspot_webhook(bytea, jsonb, text, text, timestamptz), artery.now() TO hook_role;
SET ROLE hook_role;
SELECT pg_temp.send(pg_temp.event(101, 40, 'lead', 1, 1)) ->> 'status';
SELECT pg_temp.send(pg_temp.event(101, 40, 'closedwon', 2, 2)) ->> 'status';
RESET ROLE;
-- Bound to one tenant of the agency it takes in nothing for the other.
SELECT artery.grant_tenant('hook_b', 'hook_role');
SET ROLE hook_role;
SELECT r ->> 'status' AS status FROM jsonb_array_elements(pg_temp.send(format('[%s,%s]', pg_temp.event(101, 41, 'lead', 1, 1),
    pg_temp.event(201, 41, 'lead', 1, 1))) -> 'results') r;
SELECT pg_temp.judge(convert_to(pg_temp.event(301, 41, 'lead', 1, 1), 'UTF8'), 'secret key of c', 'https://hook.example.com/own');
RESET ROLE;
DELETE FROM artery.tenant_role WHERE role_name = 'hook_role';
DROP OWNED BY hook_role;
DROP ROLE hook_role;

-- Where a token is set, a deal without an ad is noted for the worker, which reads its contacts; again when a contact is told.
SELECT artery.set_secret('hook_a', 'hubspot_access_token', 'pat-of-hook-a');
SELECT pg_temp.send(pg_temp.event(101, 7001, 'appointmentscheduled', 600, 7001)) ->> 'status' AS status;
SELECT deal_id, state, outcome FROM artery.v_contact_fetches WHERE tenant_id = 'hook_a';
UPDATE artery.contact_fetch SET state = 'done', outcome = 'nothing' WHERE tenant_id = 'hook_a';
SELECT pg_temp.send('{"eventId": 7002, "portalId": 101, "occurredAt": 1749549720000, "subscriptionType": "deal.associationChange",
    "associationType": "DEAL_TO_CONTACT", "fromObjectId": 7001, "toObjectId": 555, "associationRemoved": false}') ->> 'status' AS status;
SELECT deal_id, state, outcome FROM artery.v_contact_fetches WHERE tenant_id = 'hook_a';
SELECT artery.set_secret('hook_a', 'hubspot_access_token', NULL);
