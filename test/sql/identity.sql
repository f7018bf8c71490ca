-- Evidence of contacts and deals, and the attribution of deals with it.
\set VERBOSITY terse
SET timezone = 'UTC';
SELECT artery.add_tenant('id_a', settings => '{"attribution_model": "layered"}'), artery.add_tenant('id_b');
INSERT INTO artery.click_tracking (tenant_id, click_id, campaign_id, adset_id, ad_id, fbclid, fingerprint_hash, ip_address,
                                   user_agent, click_timestamp) VALUES
    ('id_a', 'c1', 'camp', 'set', 'ad_1', 'F1', repeat('1', 64), '192.0.2.1', 'UA1', '2025-06-10 09:00'),
    ('id_a', 'c2', 'camp', 'set', 'ad_2', 'F2', repeat('2', 64), '192.0.2.2', 'UA2', '2025-06-12 09:00'),
    ('id_a', 'c3', 'camp', 'set', 'ad_3', 'F3', artery.fingerprint(1170, NULL, NULL, NULL, NULL, 'iOS', NULL), '192.0.2.3', 'UA3',
     '2025-06-10 09:00');
-- Deals as the CRM brings them.
CREATE FUNCTION pg_temp.deal(deal text, contact text, begun timestamptz, tenant text DEFAULT 'id_a') RETURNS boolean
LANGUAGE sql AS $$
    INSERT INTO artery.deal (tenant_id, deal_id, crm_contact_id, stage, first_event_at, updated_at)
    VALUES (tenant, deal, contact, 'lead', begun, artery.now());
    SELECT artery.attribute_deal(tenant, deal);
$$;
CREATE FUNCTION pg_temp.show(deals text[]) RETURNS TABLE (deal text, method text, conf float8, click text, ad text, adset text,
    campaign text, conversion text, at timestamptz, kind text, synthetic boolean, stage text, contact text)
LANGUAGE sql AS $$
    SELECT d.deal_id, d.attribution_method, d.attribution_confidence, d.click_id, d.ad_id, d.adset_id, d.campaign_id,
           d.conversion_id, c.conversion_timestamp, c.conversion_type, c.is_synthetic, c.crm_stage, c.crm_contact_id
      FROM artery.deal d LEFT JOIN artery.conversion_tracking c USING (tenant_id, conversion_id)
     WHERE d.tenant_id = 'id_a' AND d.deal_id = ANY (deals) ORDER BY 1
$$;

-- Stored in plain form.
SELECT artery.identify('id_a', 'p0', 'ABCDEF', 'd0', '', 'F0', NULL, '192.0.2.77/24', 'UA', '2025-06-10 12:00', 1170, 2532, 'UTC', 0,
                       'mobile', 'iOS', 'Safari') > 0 AS id;
SELECT crm_contact_id, email_hash, crm_deal_id, click_id, fbclid, ip_address, user_agent, seen_at, screen_width, screen_height,
       timezone, timezone_offset, device_type, os, browser,
       fingerprint_hash = artery.fingerprint(1170, 2532, 'UTC', 0, 'mobile', 'iOS', 'Safari') AS fingerprinted
  FROM artery.contact_evidence WHERE tenant_id = 'id_a' AND crm_contact_id = 'p0' \gx
-- Refused.
SELECT artery.identify('id_a');
SELECT artery.identify('id_a', '', '', '');
SELECT artery.identify(NULL, 'p');
SELECT artery.identify('id_nobody', 'p');
SELECT artery.identify('id_a', email_hash => 'somebody@example.org');
SELECT artery.identify('id_a', 'p', seen_at => '2009-01-01');
SELECT artery.identify('id_a', 'p', fingerprint_hash => repeat('x', 300));
SELECT artery.identify('id_a', repeat('p', 257));
SELECT count(*) FROM artery.contact_evidence WHERE tenant_id IN ('id_a', 'id_b');

-- Evidence first, of the contact; the deal is attributed when it comes. The
-- conversion is the form: as of when the person was seen.
SELECT artery.identify('id_a', 'p1', fingerprint_hash => repeat('1', 64), seen_at => '2025-06-10 12:00') > 0 AS id;
SELECT pg_temp.deal('d1', 'p1', '2025-06-14 12:00');
-- Evidence first, of the deal, by device fields.
SELECT artery.identify('id_a', crm_deal_id => 'd2', seen_at => '2025-06-10 12:00', screen_width => 1170, os => 'iOS') > 0 AS id;
SELECT pg_temp.deal('d2', NULL, '2025-06-10 12:30');
-- The deal first: unattributed until the evidence comes.
SELECT pg_temp.deal('d3', 'p3', '2025-06-10 12:00');
SELECT pg_temp.deal('d3b', 'p3', '2025-06-10 13:00');
SELECT * FROM pg_temp.show('{d3}');
SELECT artery.identify('id_a', 'p3', click_id => 'c1', seen_at => '2025-06-10 11:00') > 0 AS id;
-- A click after the deal began did not earn it, though the person was seen again later.
SELECT pg_temp.deal('d4', 'p4', '2025-06-11 12:00');
SELECT artery.identify('id_a', 'p4', click_id => 'c2', seen_at => '2025-06-12 10:00') > 0 AS id;
-- Seen before and after: the sighting before counts.
SELECT artery.identify('id_a', 'p5', fingerprint_hash => repeat('1', 64), seen_at => '2025-06-10 10:00') > 0 AS id;
SELECT artery.identify('id_a', 'p5', fingerprint_hash => repeat('2', 64), seen_at => '2025-06-12 10:00') > 0 AS id;
SELECT pg_temp.deal('d5', 'p5', '2025-06-11 12:00');
-- Seen twice before: the newer counts, the older fills what it lacks; address and agent stay together.
SELECT artery.identify('id_a', 'p6', ip_address => '192.0.2.1', user_agent => 'UA1', seen_at => '2025-06-10 10:00') > 0 AS id;
SELECT artery.identify('id_a', 'p6', fingerprint_hash => repeat('f', 64), user_agent => 'UA9', seen_at => '2025-06-10 11:00') > 0 AS id;
SELECT pg_temp.deal('d6', 'p6', '2025-06-10 12:00');
-- By e-mail address: seen before anybody knew the contact.
SELECT artery.identify('id_a', email_hash => 'e7', fbclid => 'F1', seen_at => '2025-06-10 10:00') > 0 AS id;
SELECT pg_temp.deal('d7', 'p7', '2025-06-10 12:00');
SELECT artery.identify('id_a', 'p7', 'E7', seen_at => '2025-06-10 12:05') > 0 AS id;
-- Without contact; and of another tenant.
SELECT pg_temp.deal('d8', NULL, '2025-06-10 12:00');
SELECT pg_temp.deal('d1', 'p1', '2025-06-14 12:00', 'id_b') AS other_tenant;
-- The CRM's clock is 2 minutes behind ours: the form still is the deal's. Ten minutes are too many.
SELECT artery.track_click('id_a', 'camp', 'ad_9', 'c9', click_timestamp => '2025-06-10 09:01') \g /dev/null
SELECT artery.identify('id_a', 'p9', click_id => 'c9', seen_at => '2025-06-10 09:02') > 0 AS id;
SELECT pg_temp.deal('d9', 'p9', '2025-06-10 09:00');
SELECT artery.identify('id_a', 'p9b', click_id => 'c9', seen_at => '2025-06-10 09:10') > 0 AS id;
SELECT pg_temp.deal('d9b', 'p9b', '2025-06-10 09:00');
SELECT * FROM pg_temp.show('{d1,d2,d3,d3b,d4,d5,d6,d7,d8,d9,d9b}');
SELECT ip_address, user_agent, left(fingerprint_hash, 3) AS print FROM artery.conversion_tracking WHERE conversion_id = 'deal:d6';

-- Once: an attributed deal never changes, an unattributed one without evidence is not tried again and again.
SELECT artery.identify('id_a', 'p1', click_id => 'c3', seen_at => '2025-06-10 12:00') > 0 AS id;
SELECT artery.attribute_deal('id_a', 'd1') AS d1, artery.attribute_deal('id_a', 'd8') AS d8, artery.attribute_deal('id_a', 'unknown') AS unknown;
SELECT artery.attribute_deal('id_a', 'd8') AS d8;
SELECT deal, method, ad FROM pg_temp.show('{d1,d8}');
SELECT conversion_id, count(*) AS attempts FROM artery.attribution_performance_log
 WHERE tenant_id = 'id_a' AND conversion_id IN ('deal:d1', 'deal:d3', 'deal:d8') GROUP BY 1 ORDER BY 1;

-- Late clicks: reattribute finds the deals too, once.
SELECT pg_temp.deal('d10', 'p10', '2025-06-10 12:00');
SELECT artery.identify('id_a', 'p10', click_id => 'c10', seen_at => '2025-06-10 11:30') > 0 AS id;
SELECT artery.track_click('id_a', 'camp', 'ad_10', 'c10', click_timestamp => '2025-06-10 11:00');
SELECT artery.reattribute('id_a', '2025-06-10', '2025-06-11') AS first, artery.reattribute('id_a', '2025-06-10', '2025-06-11') AS again;
SELECT deal, method, conf, click, ad, at FROM pg_temp.show('{d10}');

-- A conversion that names a deal or contact and brings nothing of its own.
SELECT success, attributed_click_id, attribution_method, attribution_confidence, attribution_window_hours AS hours, ad_id, reason
  FROM artery.attribute_conversion('id_a', 'inherits', 'purchase', 10, '2025-06-10 15:00', crm_deal_id => 'd1');
SELECT success, attributed_click_id, attribution_method, ad_id, reason
  FROM artery.attribute_conversion('id_a', 'by-contact', 'purchase', 10, '2025-06-10 15:00', crm_contact_id => 'p5');
SELECT success, attribution_method, ad_id, reason
  FROM artery.attribute_conversion('id_a', 'own', 'purchase', 10, '2025-06-12 15:00', click_id => 'c2', crm_deal_id => 'd1');
SELECT success, reason FROM artery.attribute_conversion('id_a', 'before', 'purchase', 10, '2025-06-09 15:00', crm_deal_id => 'd1');
-- Its own traces fail, those of the contact help.
SELECT success, attribution_method, ad_id
  FROM artery.attribute_conversion('id_a', 'completed', 'purchase', 10, '2025-06-10 15:00', click_id => 'nope', crm_contact_id => 'p5');
