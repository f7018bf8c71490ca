-- Contacts and deals that the CRM made one: evidence, deals and what comes in later follow the one that stays.
-- Values of the template: lead 0, appointment_scheduled 2250, show_up 9000, closed_won 15000, closed_lost 0.
\set VERBOSITY terse
SET client_min_messages = warning;
SET timezone = 'UTC';
\pset null '(null)'
SELECT artery.add_tenant('merge', 'service_business');
SELECT artery.configure_tenant('merge', '{"hubspot_portal_ids": [601], "hubspot_webhook_url": "https://merge.example.com", "hubspot_allow_v1": true}') IS NOT NULL,
       artery.set_secret('merge', 'hubspot_client_secret', 'secret of merge');
-- Signature v1: SHA-256 of secret and body.
CREATE FUNCTION pg_temp.send(event text) RETURNS jsonb LANGUAGE sql AS $$
    SELECT artery.hubspot_webhook(convert_to(event, 'UTF8'), jsonb_build_object('X-HubSpot-Signature',
        encode(sha256(convert_to('secret of merge' || event, 'UTF8')), 'hex')), received_at => '2025-06-10 12:00:00')
$$;
-- A merge at a minute of 2025-06-10.
CREATE FUNCTION pg_temp.merge(kind text, id bigint, survivor bigint, gone bigint[], minute int, made bigint DEFAULT 0) RETURNS text LANGUAGE sql AS $$
    SELECT pg_temp.send(jsonb_build_object('eventId', id, 'portalId', 601, 'occurredAt', 1749513600000 + minute * 60000, 'subscriptionType', kind || '.merge',
        'objectId', survivor, 'primaryObjectId', survivor, 'mergedObjectIds', to_jsonb(gone), 'newObjectId', made, 'numberOfPropertiesMoved', 0)::text) ->> 'status'
$$;
CREATE FUNCTION pg_temp.deals() RETURNS TABLE (deal text, contact text, stage text, stage_value numeric, ad text, adds_up boolean) LANGUAGE sql AS $$
    SELECT d.deal_id, d.crm_contact_id, d.stage, d.stage_value, d.ad_id, d.stage_value = coalesce(sum(e.increment), 0)
      FROM artery.deal d LEFT JOIN artery.deal_stage_event e USING (tenant_id, deal_id)
     WHERE d.tenant_id = 'merge' GROUP BY d.tenant_id, d.deal_id ORDER BY d.deal_id::int
$$;
SELECT artery.track_click('merge', 'campaign', 'ad_' || n, 'click_' || n, click_timestamp => '2025-06-09 12:00') FROM generate_series(1, 6) n;

-- The form told of contact 11, the deal is of 12: they are one, and the deal finds its ad.
SELECT artery.identify('merge', '11', click_id => 'click_1', seen_at => '2025-06-10 00:01') > 0 AS stored;
SELECT artery.record_stage('merge', '901', 'lead', '2025-06-10 00:02', crm_contact_id => '12') -> 'attribution' ->> 'ad_id' AS ad;
SELECT pg_temp.merge('contact', 1, 12, '{11}', 10);
SELECT pg_temp.merge('contact', 1, 12, '{11}', 10);
SELECT * FROM pg_temp.deals();
-- Under the old id comes in later: a form, a deal by any door, an association, and one taken away, which is not that of the one that stays.
SELECT artery.identify('merge', '11', click_id => 'click_2', seen_at => '2025-06-10 00:11') > 0 AS stored;
SELECT artery.record_stage('merge', '902', 'lead', '2025-06-10 00:12', crm_contact_id => '11') -> 'attribution' ->> 'ad_id' AS ad;
SELECT artery.record_stage('merge', '903', 'lead', '2025-06-10 00:12') -> 'attribution' ->> 'ad_id' AS ad;
SELECT pg_temp.send('{"eventId": 2, "portalId": 601, "occurredAt": 1749514320000, "subscriptionType": "deal.associationChange",
    "associationType": "DEAL_TO_CONTACT", "fromObjectId": 903, "toObjectId": 11, "associationRemoved": false}') ->> 'crm_contact_id' AS as_sent;
SELECT pg_temp.send('{"eventId": 3, "portalId": 601, "occurredAt": 1749514380000, "subscriptionType": "deal.associationChange",
    "associationType": "DEAL_TO_CONTACT", "fromObjectId": 903, "toObjectId": 11, "associationRemoved": true}') ->> 'status' AS parted;
SELECT attributed_click_id FROM artery.attribute_conversion('merge', 'c1', 'lead', conversion_timestamp => '2025-06-10 00:13', crm_contact_id => '11');
SELECT * FROM pg_temp.deals();
-- Merges come in any order, and a merge may make a new record; nothing leads in a circle, and nothing to itself.
SELECT pg_temp.merge('contact', 4, 13, '{12}', 30, 14), pg_temp.merge('contact', 5, 12, '{15, 16}', 20), pg_temp.merge('contact', 6, 11, '{14}', 40),
       pg_temp.merge('contact', 7, 14, '{14}', 50), pg_temp.merge('contact', 8, 14, '{}', 50);
SELECT crm_contact_id, merged_into FROM artery.merged_contact WHERE tenant_id = 'merge' ORDER BY 1;
SELECT DISTINCT contact FROM pg_temp.deals();
SELECT DISTINCT crm_contact_id FROM artery.contact_evidence WHERE tenant_id = 'merge';

-- However many they are; ids that are none are not taken in, wherever they stand.
SELECT pg_temp.merge('contact', 10, 14, ARRAY(SELECT g FROM generate_series(5001, 5300) g), 50);
SELECT count(*) FROM artery.merged_contact WHERE tenant_id = 'merge' AND merged_into = '14' AND crm_contact_id::int > 5000;
SELECT e.what, pg_temp.send(e.event) ->> 'reason' AS reason FROM (VALUES
    (1, 'long', format('{"eventId": 11, "portalId": 601, "occurredAt": 1749513600000, "subscriptionType": "contact.merge", "primaryObjectId": 1, "mergedObjectIds": ["%s"]}', repeat('x', 257))),
    (2, 'empty', '{"eventId": 12, "portalId": 601, "occurredAt": 1749513600000, "subscriptionType": "contact.merge", "primaryObjectId": "", "mergedObjectIds": [5]}'),
    (3, 'deal', format('{"eventId": 13, "portalId": 601, "occurredAt": 1749513600000, "subscriptionType": "deal.merge", "primaryObjectId": 1, "mergedObjectIds": ["%s"]}', repeat('x', 257))),
    (4, 'association', format('{"eventId": 14, "portalId": 601, "occurredAt": 1749513600000, "subscriptionType": "deal.associationChange", "associationType": "DEAL_TO_CONTACT",
        "fromObjectId": 903, "toObjectId": "%s"}', repeat('x', 257))),
    (5, 'a list', '{"eventId": 15, "portalId": 601, "occurredAt": 1749513600000, "subscriptionType": "contact.merge", "primaryObjectId": 1, "mergedObjectIds": [[5], null, {}]}'))
    e(position, what, event) ORDER BY e.position;

-- Deals: 920 and 921 become 920. Its value is counted once, the evidence of 921 finds its ad, and it takes the contact.
SELECT artery.record_stage('merge', '920', 'show_up', '2025-06-10 00:02') -> 'attribution' ->> 'ad_id' AS ad;
SELECT artery.record_stage('merge', '921', 'appointment_scheduled', '2025-06-10 00:02', crm_contact_id => '30') -> 'attribution' ->> 'ad_id' AS ad;
SELECT artery.identify('merge', crm_deal_id => '921', click_id => 'click_3', seen_at => '2025-06-10 00:01') > 0 AS stored;
SELECT pg_temp.merge('deal', 20, 920, '{921}', 10);
SELECT pg_temp.merge('deal', 20, 920, '{921}', 10);
SELECT * FROM pg_temp.deals() WHERE deal::int BETWEEN 920 AND 929;
-- A merge that makes a new deal: it takes after the primary one, the real value of 12000 and all; a late event of an old one changes
-- nothing of today's value.
SELECT artery.identify('merge', crm_deal_id => '940', click_id => 'click_4', seen_at => '2025-06-10 00:01') > 0 AS stored;
SELECT artery.record_stage('merge', '940', 'closed_won', '2025-06-10 00:02', 12000) -> 'attribution' ->> 'ad_id' AS ad,
       artery.record_stage('merge', '941', 'show_up', '2025-06-10 00:03') -> 'attribution' ->> 'ad_id' AS none;
SELECT pg_temp.merge('deal', 21, 940, '{941}', 10, 942);
SELECT artery.record_stage('merge', '941', 'lead', '2025-06-10 00:01') ->> 'status' AS late;
SELECT * FROM pg_temp.deals() WHERE deal::int BETWEEN 940 AND 949;
SELECT pipeline_value, cash_revenue FROM artery.ad_roas('merge', 'ad_4');
-- Of deals that nobody knows nothing is recorded; without a stage for lost ones the event waits; one that names nobody is ignored.
SELECT pg_temp.merge('deal', 22, 950, '{951}', 10), pg_temp.merge('deal', 23, 950, '{}', 10);
SELECT count(*) FROM artery.deal WHERE tenant_id = 'merge' AND deal_id IN ('950', '951');
SELECT artery.set_stage_values('merge', '{"closed_lost": null}') IS NOT NULL AS without_lost;
SELECT pg_temp.merge('deal', 24, 920, '{942}', 20);
SELECT artery.set_stage_values('merge', NULL) IS NOT NULL AS as_the_template;
SELECT artery.replay_webhook_events('merge');
SELECT deal, stage, stage_value FROM pg_temp.deals() WHERE deal IN ('920', '942');

-- Whoever is erased is so under every id, and what tells of the merges goes, too; it comes in never again. 9: seven merges, two associations.
SELECT artery.erase_contact('merge', crm_contact_id => '15') ->> 'webhook_events' AS events;
SELECT count(*) FROM artery.merged_contact WHERE tenant_id = 'merge';
SELECT crm_contact_id FROM artery.conversion_tracking WHERE tenant_id = 'merge' AND conversion_id = 'c1';
SELECT count(*) FROM artery.webhook_event WHERE tenant_id = 'merge' AND payload ->> 'subscriptionType' = 'contact.merge' AND status = 'processed';
SELECT artery.identify('merge', '11', click_id => 'click_5'), artery.identify('merge', '14', click_id => 'click_5');
SELECT pg_temp.merge('contact', 9, 70, '{16}', 60);
SELECT count(*) FROM artery.webhook_event WHERE tenant_id = 'merge' AND payload ->> 'primaryObjectId' = '70';
