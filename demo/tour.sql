-- The tour of README.md: setup/readme.sh puts what this prints into its blocks.
\pset footer off
-- block: tenant
SELECT artery.add_tenant('gym', 'service_business', settings => '{"daily_budget": 300, "fuzz_percent": 0, "attribution_model": "layered"}');
SELECT stage_name, stage_value, stage_confidence FROM artery.get_stages('gym');
-- block: click
SELECT artery.register_ad('gym', 'ad_123', 'campaign_456', 'adset_1');
SELECT artery.track_click('gym', 'campaign_456', 'ad_123', click_id => 'c1', ip_address => '203.0.113.45',
    screen_width => 1170, screen_height => 2532, timezone => 'America/New_York', timezone_offset => -300,
    click_timestamp => now() - interval '2 hours');
-- block: deal
SELECT artery.identify('gym', crm_deal_id => '12345',
    fingerprint_hash => artery.fingerprint(1170, 2532, 'America/New_York', -300, NULL, NULL, NULL)) IS NOT NULL AS stored;
SELECT jsonb_pretty(to_jsonb(r)) AS answer FROM artery.record_stage('gym', '12345', 'appointment_scheduled') r;
-- block: roas
SELECT artery.record_ad_day('gym', 'ad_123', current_date, 4200, 61, 150) IS NOT NULL AS stored;
SELECT spend, pipeline_value, round(pipeline_roas, 2) AS pipeline_roas, cash_revenue FROM artery.ad_roas('gym', 'ad_123');
SELECT decision, reason FROM artery.ad_decision('gym', 'ad_123');
-- block: decide
SELECT ad_id, current_budget, recommended_budget, reason FROM artery.select_budget('[
    {"ad_id": "story", "impressions": 9000, "clicks": 210, "spend": 400, "pipeline_value": 4500, "cash_revenue": 0, "age_hours": 96},
    {"ad_id": "offer", "impressions": 7000, "clicks":  90, "spend": 380, "pipeline_value":  600, "cash_revenue": 0, "age_hours": 96}]',
    300, seed => 7);
-- block: change
SELECT artery.observe_budget('gym', 'adset_1', 100) IS NOT NULL AS stored;
SELECT ad_id, budget_owner_id, current_budget, recommended_budget FROM artery.allocate_budget('gym', seed => 7);
SELECT target_id, change_type, old_value, new_value, state FROM artery.v_pending_changes WHERE tenant_id = 'gym';
-- block: guard
SELECT allowed, base_budget, max_percentage, min_allowed, max_allowed FROM artery.check_budget_velocity('gym', 'adset_1', 250);
SELECT allowed, current_count, limit_value FROM artery.check_rate_limit('gym', 'campaign_456');
