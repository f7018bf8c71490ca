-- A gym, its HubSpot portal and its ads. Nothing here is real.
\set QUIET on
CREATE EXTENSION IF NOT EXISTS pgcrypto;
CREATE SCHEMA demo;

-- The world outside: what the ads are like and how their visitors fare. artery
-- is told none of it but through the doors it has.
CREATE TABLE demo.ad (
    ad_id text PRIMARY KEY, adset_id text, campaign_id text, budget_owner_id text, budget numeric,
    days int, clicks_a_day int, impressions_a_day int, spend_a_day numeric,
    lead int, appointment_scheduled int, show_up int, closed_won int, closed_lost int, about text);
INSERT INTO demo.ad VALUES
    ('120210000000000301', '120210000000000201', '120210000000000101', '120210000000000201', 100,
     12, 14, 2100, 96, 2, 3, 4, 2, 1, 'member story, reel'),
    ('120210000000000302', '120210000000000202', '120210000000000101', '120210000000000202', 150,
     12, 13, 3800, 148, 4, 3, 1, 0, 1, 'first month free'),
    ('120210000000000303', '120210000000000203', '120210000000000101', '120210000000000203', 180,
     12, 9, 5200, 176, 3, 0, 0, 0, 0, 'stock photo'),
    ('120210000000000304', '120210000000000204', '120210000000000102', '120210000000000102', 120,
     12, 8, 1500, 61, 2, 2, 1, 1, 0, 'trainer explains'),
    ('120210000000000305', '120210000000000204', '120210000000000102', '120210000000000102', 120,
     9, 7, 1900, 55, 3, 1, 1, 0, 0, 'before and after'),
    ('120210000000000306', '120210000000000205', '120210000000000103', '120210000000000205', 50,
     1, 9, 1300, 48, 1, 0, 0, 0, 0, 'new: morning class');

\o /dev/null
SELECT artery.add_tenant('ptd_fitness', 'service_business', 'USD', 'America/New_York');
SELECT artery.configure_tenant('ptd_fitness', '{
    "dry_run": false,
    "hubspot_portal_ids": [67890],
    "hubspot_webhook_url": "https://hooks.example.com/api/webhook/hubspot",
    "meta_ad_account_id": "act_1234567890",
    "daily_budget": 600,
    "min_budget": 20,
    "high_value": 300,
    "auto_approve_percent": 40,
    "auto_approve_confidence": 0.3}');
SELECT artery.set_stage_values('ptd_fitness', '{
    "appointment_scheduled": {"value": 150, "confidence": 0.60},
    "show_up": {"value": 400, "confidence": 0.85},
    "closed_won": {"value": 900, "confidence": 1.00}}');
SELECT artery.set_secret('ptd_fitness', 'hubspot_client_secret', 'demo-client-secret');
SELECT artery.set_secret('ptd_fitness', 'meta_access_token', 'demo-access-token');

\o
\echo 'The tenant: a gym, by the template service_business. Its own settings (all others follow the defaults):'
SELECT setting, value FROM artery.v_tenant_settings WHERE tenant_id = 'ptd_fitness' AND is_own ORDER BY setting;
\echo 'What a stage is worth to it, long before money comes in (a membership is 900, so it has values of its own):'
SELECT stage_name, stage_value, stage_confidence FROM artery.get_stages('ptd_fitness');

-- What of the history of changes the demo has shown.
CREATE TABLE demo.seen (history_id bigint);

-- What Meta knows: objects with budgets in cents, on ad sets and on one campaign.
CREATE FUNCTION demo.objects_at_meta() RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_array(jsonb_build_object('type', 'account', 'id', '1234567890', 'timezone_name', 'America/New_York'))
        || jsonb_agg(DISTINCT jsonb_build_object('type', 'campaign', 'id', campaign_id, 'account_id', '1234567890')
            || CASE WHEN budget_owner_id = campaign_id THEN jsonb_build_object('daily_budget', (budget * 100)::int::text)
                    ELSE '{}' END)
        || jsonb_agg(DISTINCT jsonb_build_object('type', 'adset', 'id', adset_id, 'campaign_id', campaign_id,
               'account_id', '1234567890')
            || CASE WHEN budget_owner_id = adset_id THEN jsonb_build_object('daily_budget', (budget * 100)::int::text)
                    ELSE '{}' END)
        || jsonb_agg(jsonb_build_object('type', 'ad', 'id', ad_id, 'adset_id', adset_id, 'campaign_id', campaign_id,
               'account_id', '1234567890', 'created_time',
               to_char((artery.now() - days * interval '1 day') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+0000"')))
      FROM demo.ad
$$;

-- What it reports of the ads, per day of the account, from so many days ago to so many. The day has only begun.
CREATE FUNCTION demo.insights(first int, last int) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_agg(jsonb_build_object('account_id', '1234567890', 'account_currency', 'USD', 'campaign_id', a.campaign_id,
               'adset_id', a.adset_id, 'ad_id', a.ad_id, 'date_start', x.day, 'date_stop', x.day,
               'impressions', (a.impressions_a_day + d * 37 % 90) * x.part / 4, 'clicks', (a.clicks_a_day + 3) * x.part / 4,
               'inline_link_clicks', a.clicks_a_day * x.part / 4, 'spend', (a.spend_a_day + d * 13 % 5) * x.part / 4))
      FROM demo.ad a, generate_series(last, least(first, a.days)) d,
           LATERAL (SELECT (artery.now() AT TIME ZONE 'America/New_York')::date - d AS day,
                           CASE d WHEN 0 THEN 1 ELSE 4 END AS part) x
$$;
