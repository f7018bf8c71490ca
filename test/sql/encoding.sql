-- A database whose encoding is not UTF-8: a character that it lacks costs neither the batch nor its signature.
\set VERBOSITY terse
SELECT current_database() AS home \gset
CREATE DATABASE regress_artery_latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C';
\c regress_artery_latin
SET client_min_messages = warning;
CREATE EXTENSION artery;
SELECT artery.add_tenant('latin', 'service_business', settings => '{"hubspot_portal_ids": [701], "hubspot_webhook_url": "https://latin.example.com", "hubspot_allow_v1": true}'),
       artery.set_secret('latin', 'hubspot_client_secret', 'secret of latin');
-- An event, with whatever bytes of UTF-8 as its stage; signature v1 is SHA-256 of secret and body.
CREATE FUNCTION pg_temp.event(deal int, stage bytea) RETURNS bytea LANGUAGE sql AS $$
    SELECT convert_to(format('{"eventId": %s, "portalId": 701, "occurredAt": 1749513600000, "subscriptionType": "deal.propertyChange", "objectId": %s, "propertyName": "dealstage", "propertyValue": "',
                             deal, deal), 'UTF8') || stage || '"}'
$$;
CREATE FUNCTION pg_temp.send(body bytea) RETURNS jsonb LANGUAGE sql AS $$
    SELECT artery.hubspot_webhook(body, jsonb_build_object('X-HubSpot-Signature', encode(sha256('secret of latin'::bytea || body), 'hex')),
                                  received_at => '2025-06-10 12:00:00')
$$;
-- 1 a stage; 2 an emoji; 3 e with acute accent, which LATIN1 has, as itself and as an escape; 4 an emoji's escapes, the euro sign's and U+0000.
SELECT r ->> 'deal_id' AS deal, r ->> 'status' AS status, convert_to(r ->> 'stage_to', 'UTF8') AS stage_in_utf8
  FROM jsonb_array_elements(pg_temp.send('['::bytea || pg_temp.event(1, 'lead') || ',' || pg_temp.event(2, '\xf09f9880') || ','
       || pg_temp.event(3, '\xc3a95c7530306539') || ',' || pg_temp.event(4, convert_to('\ud83d\ude00\u20ac\u0000.', 'UTF8')) || ']') -> 'results') r;
-- The fingerprint is of UTF-8 in any encoding.
SELECT artery.fingerprint(1, 2, convert_from('\xc3a9', 'UTF8'), NULL, NULL, NULL, NULL)
     = encode(sha256('1|2|'::bytea || '\xc3a9' || '||||'::bytea), 'hex') AS same;
\c :home
DROP DATABASE regress_artery_latin;
