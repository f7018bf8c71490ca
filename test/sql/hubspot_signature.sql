-- HubSpot's request signatures: cases published with HubSpot's own libraries
-- (versions 1 and 2), cases computed from the documented rule (version 3), and
-- what must be refused.
SET client_min_messages = warning;
SET timezone = 'UTC';
SET artery.clock_offset = 0;

-- Pure verification. Every signature is right, so every line says t.
WITH cases (name, version, secret, method, uri, body, request_timestamp, signature) AS (VALUES
    ('node-php-v1-contact-creation', 1, 'yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy', NULL, NULL, convert_to('[{"eventId":1,"subscriptionId":12345,"portalId":62515,"occurredAt":1564113600000,"subscriptionType":"contact.creation","attemptNumber":0,"objectId":123,"changeSource":"CRM","changeFlag":"NEW","appId":54321}]', 'UTF8'),
     NULL::text, '232db2615f3d666fe21a8ec971ac7b5402d33b9a925784df3ca654d05f4817de'),
    ('node-php-v2-get-empty-body', 2, 'yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy', 'GET', 'https://www.example.com/webhook_uri', convert_to('', 'UTF8'),
     NULL::text, 'eee2dddcc73c94d699f5e395f4b9d454a069a6855fbfa152e91e88823087200e'),
    ('node-php-v2-post-body', 2, 'yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy', 'POST', 'https://www.example.com/webhook_uri', convert_to('{"example_field":"example_value"}', 'UTF8'),
     NULL::text, '9569219f8ba981ffa6f6f16aa0f48637d35d728c7e4d93d0d52efaa512af7900'),
    ('python-ruby-v1', 1, 'yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy', NULL, NULL, convert_to('{''example_field'':''example_value''}', 'UTF8'),
     NULL::text, '69fc6631a867edd4f9e9e627fc5c1148e3fbdd8b21837b6d2b8901c1fa57f750'),
    ('python-ruby-v2', 2, 'yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy', 'POST', 'https://www.example.com/webhook_uri', convert_to('{''example_field'':''example_value''}', 'UTF8'),
     NULL::text, '4fe4e3a7d3cf09db53be39d0a58130e2aaba074ec123a9e355b876a689a1c383'),
    ('derived-v3-deal-classic', 3, 'test-client-secret-0001', 'POST', 'https://gateway.example.com/api/webhook/hubspot', convert_to('[{"eventId":3816279340,"subscriptionId":25,"portalId":67890,"appId":1160452,"occurredAt":1795000000000,"subscriptionType":"deal.propertyChange","attemptNumber":0,"objectId":12345,"propertyName":"dealstage","propertyValue":"appointmentscheduled","changeSource":"CRM_UI","sourceId":"userId:882761034"}]', 'UTF8'),
     '1795000001000', 'peD5bHd0DDve7SGLLCqq/YejuhbRU6q3FleK5DjL5rU='),
    ('derived-v3-utf8', 3, 'test-client-secret-0001', 'POST', 'https://gateway.example.com/api/webhook/hubspot', convert_to('[{"eventId":9,"propertyName":"dealname","propertyValue":"Müller – Zürich ✓"}]', 'UTF8'),
     '1795000003000', 'TxnJo1cWxT/V135hDaeM+da7taq5ZQwfmYjavlpzRKI='),
    ('derived-v3-query-nodecode', 3, 'test-client-secret-0001', 'POST', 'https://gateway.example.com/hook?a=b%20c%26d%3De%25f%C3%BC', convert_to('[]', 'UTF8'),
     '1795000005000', '+Op64LFlkkXXz283gy5EdmaUAkxY7TLKJniuxM2VIYg='),
    ('derived-v3-empty-body', 3, 'test-client-secret-0001', 'GET', 'https://gateway.example.com/hook', convert_to('', 'UTF8'),
     '1795000007000', 'sRUi6H+JDVPlxa2i7Poehny5sp2WDEGChsrmT7bG/VA=')
)
SELECT c.name, artery.hubspot_signature_valid(c.version, c.secret, c.method, c.uri, c.body, c.request_timestamp, c.signature) AS valid,
       artery.hubspot_signature_valid(c.version, c.secret || 'x', c.method, c.uri, c.body, c.request_timestamp, c.signature) AS other_secret,
       artery.hubspot_signature_valid(c.version, c.secret, c.method, c.uri, c.body || '\x20'::bytea, c.request_timestamp, c.signature) AS other_body,
       artery.hubspot_signature_valid(c.version, c.secret, c.method, c.uri, c.body, c.request_timestamp, left(c.signature, -1)) AS shorter,
       artery.hubspot_signature_valid(c.version, c.secret, c.method, c.uri, c.body, c.request_timestamp, upper(c.signature)) AS other_case
  FROM cases c ORDER BY c.version, c.name;

-- Only the listed escapes are decoded before signing, in upper and lower case: the
-- signature of the decoded address is that of the encoded one.
SELECT e.escape, artery.hubspot_signature_valid(3, 'test-client-secret-0001', 'GET', replace('https://gateway.example.com/hook', e.plain, e.escape),
           '', '1795000007000', 'sRUi6H+JDVPlxa2i7Poehny5sp2WDEGChsrmT7bG/VA=') AS valid
  FROM (VALUES ('%3A', ':'), ('%3a', ':'), ('%2F', '/'), ('%2f', '/'), ('%2E', '.'), ('%', '/')) e(escape, plain);

-- The whole door, judged by the clock given with the call.
SELECT artery.add_tenant('signature_a', 'service_business');
SELECT artery.configure_tenant('signature_a', '{"hubspot_portal_ids": [67890]}');
SELECT artery.set_secret('signature_a', 'hubspot_client_secret', 'test-client-secret-0001');
CREATE FUNCTION pg_temp.judge(body text, headers jsonb, method text, uri text, now_ms bigint) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_answer jsonb;
BEGIN
    v_answer := artery.hubspot_webhook(convert_to(body, 'UTF8'), headers, method, uri,
                                       '1970-01-01 UTC'::timestamptz + now_ms * '1 millisecond'::interval);
    RETURN 'accept ' || coalesce(v_answer #>> '{results,0,status}', v_answer ->> 'status', '');
EXCEPTION WHEN invalid_authorization_specification THEN
    RETURN 'reject';
END
$$;
WITH cases (position, name, body, signature, request_timestamp, method, uri, now_ms, outcome) AS (VALUES
    (0, 'ok-fresh', '[{"eventId":3816279340,"subscriptionId":25,"portalId":67890,"appId":1160452,"occurredAt":1795000000000,"subscriptionType":"deal.propertyChange","attemptNumber":0,"objectId":12345,"propertyName":"dealstage","propertyValue":"appointmentscheduled","changeSource":"CRM_UI","sourceId":"userId:882761034"}]',
     'peD5bHd0DDve7SGLLCqq/YejuhbRU6q3FleK5DjL5rU=', '1795000001000', 'POST', 'https://gateway.example.com/api/webhook/hubspot', 1795000002000, 'accept'),
    (1, 'stale-300001ms', '[{"eventId":3816279340,"subscriptionId":25,"portalId":67890,"appId":1160452,"occurredAt":1795000000000,"subscriptionType":"deal.propertyChange","attemptNumber":0,"objectId":12345,"propertyName":"dealstage","propertyValue":"appointmentscheduled","changeSource":"CRM_UI","sourceId":"userId:882761034"}]',
     'peD5bHd0DDve7SGLLCqq/YejuhbRU6q3FleK5DjL5rU=', '1795000001000', 'POST', 'https://gateway.example.com/api/webhook/hubspot', 1795000301001, 'reject'),
    (2, 'tampered-body', '[{"eventId":3816279340,"subscriptionId":25,"portalId":67890,"appId":1160452,"occurredAt":1795000000000,"subscriptionType":"deal.propertyChange","attemptNumber":0,"objectId":12346,"propertyName":"dealstage","propertyValue":"appointmentscheduled","changeSource":"CRM_UI","sourceId":"userId:882761034"}]',
     'peD5bHd0DDve7SGLLCqq/YejuhbRU6q3FleK5DjL5rU=', '1795000001000', 'POST', 'https://gateway.example.com/api/webhook/hubspot', 1795000002000, 'reject'),
    (3, 'ts-not-numeric', '[{"eventId":3816279340,"subscriptionId":25,"portalId":67890,"appId":1160452,"occurredAt":1795000000000,"subscriptionType":"deal.propertyChange","attemptNumber":0,"objectId":12345,"propertyName":"dealstage","propertyValue":"appointmentscheduled","changeSource":"CRM_UI","sourceId":"userId:882761034"}]',
     'peD5bHd0DDve7SGLLCqq/YejuhbRU6q3FleK5DjL5rU=', 'abc', 'POST', 'https://gateway.example.com/api/webhook/hubspot', 1795000002000, 'reject'),
    (4, 'http-not-https', '[{"eventId":3816279340,"subscriptionId":25,"portalId":67890,"appId":1160452,"occurredAt":1795000000000,"subscriptionType":"deal.propertyChange","attemptNumber":0,"objectId":12345,"propertyName":"dealstage","propertyValue":"appointmentscheduled","changeSource":"CRM_UI","sourceId":"userId:882761034"}]',
     'peD5bHd0DDve7SGLLCqq/YejuhbRU6q3FleK5DjL5rU=', '1795000001000', 'POST', 'http://gateway.example.com/api/webhook/hubspot', 1795000002000, 'reject'),
    (5, 'wrong-method', '[{"eventId":3816279340,"subscriptionId":25,"portalId":67890,"appId":1160452,"occurredAt":1795000000000,"subscriptionType":"deal.propertyChange","attemptNumber":0,"objectId":12345,"propertyName":"dealstage","propertyValue":"appointmentscheduled","changeSource":"CRM_UI","sourceId":"userId:882761034"}]',
     'peD5bHd0DDve7SGLLCqq/YejuhbRU6q3FleK5DjL5rU=', '1795000001000', 'GET', 'https://gateway.example.com/api/webhook/hubspot', 1795000002000, 'reject'),
    (6, 'json-reserialised', '[{"eventId": 3816279340, "subscriptionId": 25, "portalId": 67890, "appId": 1160452, "occurredAt": 1795000000000, "subscriptionType": "deal.propertyChange", "attemptNumber": 0, "objectId": 12345, "propertyName": "dealstage", "propertyValue": "appointmentscheduled", "changeSource": "CRM_UI", "sourceId": "userId:882761034"}]',
     'peD5bHd0DDve7SGLLCqq/YejuhbRU6q3FleK5DjL5rU=', '1795000001000', 'POST', 'https://gateway.example.com/api/webhook/hubspot', 1795000002000, 'reject'),
    (7, 'seed-bug-hmac-body-only', '[{"eventId":3816279340,"subscriptionId":25,"portalId":67890,"appId":1160452,"occurredAt":1795000000000,"subscriptionType":"deal.propertyChange","attemptNumber":0,"objectId":12345,"propertyName":"dealstage","propertyValue":"appointmentscheduled","changeSource":"CRM_UI","sourceId":"userId:882761034"}]',
     '23fbad7208ba036039763fd6d3ce2e47f740d63b5bfe9ca09beab510e99c94ad', '1795000001000', 'POST', 'https://gateway.example.com/api/webhook/hubspot', 1795000002000, 'reject'),
    (8, 'signature-missing', '[{"eventId":3816279340,"subscriptionId":25,"portalId":67890,"appId":1160452,"occurredAt":1795000000000,"subscriptionType":"deal.propertyChange","attemptNumber":0,"objectId":12345,"propertyName":"dealstage","propertyValue":"appointmentscheduled","changeSource":"CRM_UI","sourceId":"userId:882761034"}]',
     '', '1795000001000', 'POST', 'https://gateway.example.com/api/webhook/hubspot', 1795000002000, 'reject')
)
SELECT c.name, c.outcome, pg_temp.judge(c.body, jsonb_build_object('X-HubSpot-Signature-v3', c.signature, 'X-HubSpot-Request-Timestamp',
           c.request_timestamp), c.method, c.uri, c.now_ms) AS judged
  FROM cases c ORDER BY c.position;
-- Nothing but the accepted event is there.
SELECT count(*) FROM artery.webhook_event WHERE tenant_id = 'signature_a';

\set body '[{"eventId":3816279340,"subscriptionId":25,"portalId":67890,"appId":1160452,"occurredAt":1795000000000,"subscriptionType":"deal.propertyChange","attemptNumber":0,"objectId":12345,"propertyName":"dealstage","propertyValue":"appointmentscheduled","changeSource":"CRM_UI","sourceId":"userId:882761034"}]'
\set signature 'peD5bHd0DDve7SGLLCqq/YejuhbRU6q3FleK5DjL5rU='
\set uri 'https://gateway.example.com/api/webhook/hubspot'
-- Headers in any case; five minutes to the millisecond, both ways; digits only.
SELECT w.what, pg_temp.judge(:'body', w.headers, w.method, w.uri, w.now_ms) AS judged
  FROM (VALUES
    (1, 'lower case', jsonb_build_object('x-hubspot-signature-v3', :'signature', 'x-hubspot-request-timestamp', '1795000001000'), 'POST', :'uri', 1795000002000),
    (2, 'upper case', jsonb_build_object('X-HUBSPOT-SIGNATURE-V3', :'signature', 'X-HUBSPOT-REQUEST-TIMESTAMP', '1795000001000'), 'POST', :'uri', 1795000002000),
    (3, 'timestamp as a number', jsonb_build_object('X-HubSpot-Signature-v3', :'signature', 'X-HubSpot-Request-Timestamp', 1795000001000), 'POST', :'uri', 1795000002000),
    (4, '300000 ms old', jsonb_build_object('X-HubSpot-Signature-v3', :'signature', 'X-HubSpot-Request-Timestamp', '1795000001000'), 'POST', :'uri', 1795000301000),
    (5, '300000 ms ahead', jsonb_build_object('X-HubSpot-Signature-v3', :'signature', 'X-HubSpot-Request-Timestamp', '1795000001000'), 'POST', :'uri', 1794999701000),
    (6, '300001 ms ahead', jsonb_build_object('X-HubSpot-Signature-v3', :'signature', 'X-HubSpot-Request-Timestamp', '1795000001000'), 'POST', :'uri', 1794999700999),
    (7, 'no timestamp', jsonb_build_object('X-HubSpot-Signature-v3', :'signature'), 'POST', :'uri', 1795000002000),
    (8, 'empty timestamp', jsonb_build_object('X-HubSpot-Signature-v3', :'signature', 'X-HubSpot-Request-Timestamp', ''), 'POST', :'uri', 1795000002000),
    (9, 'signed timestamp', jsonb_build_object('X-HubSpot-Signature-v3', :'signature', 'X-HubSpot-Request-Timestamp', '+1795000001000'), 'POST', :'uri', 1795000002000),
    (10, 'other timestamp', jsonb_build_object('X-HubSpot-Signature-v3', :'signature', 'X-HubSpot-Request-Timestamp', '1795000001001'), 'POST', :'uri', 1795000002000),
    (11, 'huge timestamp', jsonb_build_object('X-HubSpot-Signature-v3', :'signature', 'X-HubSpot-Request-Timestamp', repeat('9', 400)), 'POST', :'uri', 1795000002000),
    (12, 'no uri', jsonb_build_object('X-HubSpot-Signature-v3', :'signature', 'X-HubSpot-Request-Timestamp', '1795000001000'), 'POST', NULL, 1795000002000),
    (13, 'no headers', '{}', 'POST', :'uri', 1795000002000),
    (14, 'headers are no object', '[1]', 'POST', :'uri', 1795000002000),
    (15, 'headers are null', NULL, 'POST', :'uri', 1795000002000),
    (16, 'signature is an object', jsonb_build_object('X-HubSpot-Signature-v3', '{}'::jsonb, 'X-HubSpot-Request-Timestamp', '1795000001000'), 'POST', :'uri', 1795000002000)
  ) w(position, what, headers, method, uri, now_ms) ORDER BY w.position;

-- The tenant's own address counts, and the argument no more.
SELECT artery.configure_tenant('signature_a', jsonb_build_object('hubspot_webhook_url', :'uri'));
SELECT pg_temp.judge(:'body', jsonb_build_object('X-HubSpot-Signature-v3', :'signature', 'X-HubSpot-Request-Timestamp', '1795000001000'),
                     'POST', 'http://10.0.0.1/internal', 1795000002000);
SELECT artery.configure_tenant('signature_a', '{"hubspot_webhook_url": "https://elsewhere.example.com/"}');
SELECT pg_temp.judge(:'body', jsonb_build_object('X-HubSpot-Signature-v3', :'signature', 'X-HubSpot-Request-Timestamp', '1795000001000'),
                     'POST', :'uri', 1795000002000);
SELECT artery.configure_tenant('signature_a', '{"hubspot_webhook_url": null}');

-- After a rotation the old secret is good for 24 hours.
SELECT artery.set_secret('signature_a', 'hubspot_client_secret', 'test-client-secret-0002');
SELECT pg_temp.judge(:'body', jsonb_build_object('X-HubSpot-Signature-v3', :'signature', 'X-HubSpot-Request-Timestamp', '1795000001000'),
                     'POST', :'uri', 1795000002000);
SET artery.clock_offset = 86340;
SELECT pg_temp.judge(:'body', jsonb_build_object('X-HubSpot-Signature-v3', :'signature', 'X-HubSpot-Request-Timestamp', '1795000001000'),
                     'POST', :'uri', 1795000002000);
SET artery.clock_offset = 86401;
SELECT pg_temp.judge(:'body', jsonb_build_object('X-HubSpot-Signature-v3', :'signature', 'X-HubSpot-Request-Timestamp', '1795000001000'),
                     'POST', :'uri', 1795000002000);
SET artery.clock_offset = 0;
SELECT artery.set_secret('signature_a', 'hubspot_client_secret', NULL);
SELECT pg_temp.judge(:'body', jsonb_build_object('X-HubSpot-Signature-v3', :'signature', 'X-HubSpot-Request-Timestamp', '1795000001000'),
                     'POST', :'uri', 1795000002000);

-- Versions 1 and 2 only where the tenant allows them, and never beside a version 3.
-- The signatures are sha256 of secret and body, and of secret, method, address and body.
SELECT artery.set_secret('signature_a', 'hubspot_client_secret', 'test-client-secret-0001');
SELECT encode(sha256(convert_to('test-client-secret-0001' || :'body', 'UTF8')), 'hex') AS v1,
       encode(sha256(convert_to('test-client-secret-0001' || 'POST' || :'uri' || :'body', 'UTF8')), 'hex') AS v2 \gset
CREATE FUNCTION pg_temp.judge_old(body text, uri text, v1 text, v2 text) RETURNS TABLE (what text, judged text)
LANGUAGE sql AS $$
SELECT w.what, pg_temp.judge(body, w.headers, 'POST', uri, 1795000002000)
  FROM (VALUES
    (1, 'v1', jsonb_build_object('X-HubSpot-Signature', v1, 'X-HubSpot-Signature-Version', 'v1')),
    (2, 'v1 by default', jsonb_build_object('X-HubSpot-Signature', v1)),
    (3, 'v2', jsonb_build_object('X-HubSpot-Signature', v2, 'X-HubSpot-Signature-Version', 'v2')),
    (4, 'v1 said to be v2', jsonb_build_object('X-HubSpot-Signature', v1, 'X-HubSpot-Signature-Version', 'v2')),
    (5, 'v1 said to be v3', jsonb_build_object('X-HubSpot-Signature', v1, 'X-HubSpot-Signature-Version', 'v3')),
    (6, 'v1 and a wrong v3', jsonb_build_object('X-HubSpot-Signature', v1, 'X-HubSpot-Signature-Version', 'v1',
        'X-HubSpot-Signature-v3', 'AAAA', 'X-HubSpot-Request-Timestamp', '1795000001000')),
    (7, 'v1 and an empty v3', jsonb_build_object('X-HubSpot-Signature', v1, 'X-HubSpot-Signature-v3', '',
        'X-HubSpot-Request-Timestamp', '1795000001000')),
    (8, 'v1 and a null v3', jsonb_build_object('X-HubSpot-Signature', v1, 'X-HubSpot-Signature-v3', NULL)),
    (9, 'v1 of another', jsonb_build_object('X-HubSpot-Signature', v2))
  ) w(position, what, headers) ORDER BY w.position
$$;
SELECT * FROM pg_temp.judge_old(:'body', :'uri', :'v1', :'v2');
SELECT artery.configure_tenant('signature_a', '{"hubspot_allow_v1": true}') ->> 'hubspot_allow_v1';
SELECT * FROM pg_temp.judge_old(:'body', :'uri', :'v1', :'v2');
SELECT artery.hubspot_signature_valid(4, 's', NULL, NULL, '', NULL, 'x');
