-- sync: what a page from Meta does to the tables. The worker fetches the pages; test/t shows that.
SELECT artery.add_tenant('sync', currency => 'USD', time_zone => 'America/New_York', settings => '{"meta_ad_account_id": "act_77"}');

-- Minor units: a hundredth of a dollar, a whole yen, a whole rupiah; anything else is not known.
SELECT artery.read_minor('12345', 'USD') AS usd, artery.read_minor('12345', 'JPY') AS jpy, artery.read_minor('12345', 'IDR') AS idr,
       artery.read_minor('0', 'USD') AS none, artery.read_minor('-5', 'USD') AS negative, artery.read_minor('1e3', 'USD') AS exponent,
       artery.read_minor('', 'USD') AS empty, artery.read_minor(NULL, 'USD') AS absent, artery.read_minor('9999999999999999', 'USD') AS too_long;

-- The days to read are those of the account's time zone: artery's clock at these moments.
CREATE FUNCTION pg_temp.days_at(moment timestamptz, zone text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v record;
BEGIN
    PERFORM set_config('artery.clock_offset', extract(epoch FROM moment - pg_catalog.now())::text, true);
    SELECT a.since, a.until INTO v FROM artery.sync_account('sync',
        jsonb_build_object('currency', 'USD', 'timezone_name', zone, 'account_status', 1), 28) a;
    RETURN v.since || ' to ' || v.until;
END
$$;
BEGIN;
-- The clocks of New York go back on 2026-11-01 at 06:00 UTC: midnight is at 04:00 UTC before, at 05:00 after.
SELECT pg_temp.days_at('2026-11-01 03:59:59+00', 'America/New_York') AS before_midnight;
SELECT pg_temp.days_at('2026-11-01 04:00:01+00', 'America/New_York') AS after_midnight;
SELECT pg_temp.days_at('2026-11-02 04:59:59+00', 'America/New_York') AS end_of_25_hours;
SELECT pg_temp.days_at('2026-11-02 05:00:01+00', 'America/New_York') AS next_day;
-- and forward on 2026-03-08 at 07:00 UTC.
SELECT pg_temp.days_at('2026-03-08 04:59:59+00', 'America/New_York') AS before_midnight;
SELECT pg_temp.days_at('2026-03-09 03:59:59+00', 'America/New_York') AS end_of_23_hours;
SELECT pg_temp.days_at('2026-03-09 04:00:01+00', 'America/New_York') AS next_day;
-- The account's zone counts, also where the tenant has another; an unknown one falls back on the tenant's.
SELECT pg_temp.days_at('2026-03-09 16:00:00+00', 'Asia/Tokyo') AS tokyo;
SELECT pg_temp.days_at('2026-03-09 16:00:00+00', 'Nowhere/Land') AS unknown;
SELECT kind, message FROM artery.v_alerts WHERE tenant_id = 'sync' ORDER BY 1;
ROLLBACK;

-- Accounts that are not understood store nothing.
SELECT problem, since FROM artery.sync_account('sync', '{"timezone_name": "UTC"}', 28);
SELECT problem, since FROM artery.sync_account('sync', '{"currency": "DOLLARS"}', 28);
SELECT problem, since FROM artery.sync_account('sync', '{"currency": "EUR"}', 28);
SELECT count(*) FROM artery.ad_account WHERE tenant_id = 'sync';
SELECT kind, key FROM artery.v_alerts WHERE tenant_id = 'sync';
-- Three days are the first and two more.
SELECT problem, until - since AS days_after FROM artery.sync_account('sync',
    '{"currency": "USD", "timezone_name": "America/New_York", "account_status": 1, "min_daily_budget": 100, "amount_spent": "250"}', 3);
SELECT account_id, currency, time_zone, account_status, min_daily_budget, amount_spent FROM artery.ad_account WHERE tenant_id = 'sync';
SELECT count(*) AS alerts FROM artery.v_alerts WHERE tenant_id = 'sync';

-- Owners as of a moment. What was seen later stays, also where an older answer comes late.
SELECT artery.observe_budget('sync', 'set_2', 70, '2026-01-20 12:00+00');
SELECT artery.sync_owners('sync', 'adset', '[
    {"id": "set_1", "campaign_id": "c_1", "daily_budget": "10000", "status": "ACTIVE", "effective_status": "CAMPAIGN_PAUSED"},
    {"id": "set_2", "campaign_id": "c_1", "daily_budget": "5000", "status": "ACTIVE"},
    {"id": "set_3", "campaign_id": "c_2"},
    {"id": "set_4", "campaign_id": "c_1", "daily_budget": 0, "lifetime_budget": "1000"},
    {"id": "set_5", "campaign_id": "c_1", "daily_budget": "many"},
    {"campaign_id": "c_1", "daily_budget": "1"}, {"id": "", "daily_budget": "1"}]', '2026-01-20 11:00+00');
SELECT budget_owner_id, owner_type, campaign_id, budget, budget_type, observed_at AT TIME ZONE 'UTC' AS observed_at, minimum, effective_status
  FROM artery.budget_owner WHERE tenant_id = 'sync' ORDER BY 1;
SELECT artery.sync_owners('sync', 'campaign', '[{"id": "c_1"}, {"id": "c_2", "daily_budget": "30000"}]', '2026-01-20 11:00+00');
-- A budget that stays is not observed again; one that changes is, and so is the way back.
SELECT artery.sync_owners('sync', 'adset', '[{"id": "set_1", "campaign_id": "c_1", "daily_budget": "10000"}]', '2026-01-20 13:00+00');
SELECT artery.sync_owners('sync', 'adset', '[{"id": "set_1", "campaign_id": "c_1", "daily_budget": "12000"}]', '2026-01-20 14:00+00');
SELECT artery.sync_owners('sync', 'adset', '[{"id": "set_1", "campaign_id": "c_1", "daily_budget": "10000"}]', '2026-01-20 15:00+00');
SELECT budget_owner_id, observed_at AT TIME ZONE 'UTC' AS observed_at, budget FROM artery.budget_observation WHERE tenant_id = 'sync' ORDER BY 1, 2;

-- Ads: the one that carries the budget pays; a guess gives way to what Meta says, nothing said changes nothing.
SELECT artery.register_ad('sync', 'ad_3', 'c_2', 'set_3', 'set_3', first_seen => '2026-01-01 00:00+00');
SELECT artery.register_ad('sync', 'ad_9', 'c_9', 'set_9', 'set_9', first_seen => '2026-01-01 00:00+00');
SELECT artery.sync_ads('sync', '[
    {"id": "ad_1", "campaign_id": "c_1", "adset_id": "set_1", "effective_status": "ACTIVE", "created_time": "2025-10-05T08:00:00+0200"},
    {"id": "ad_3", "campaign_id": "c_2", "adset_id": "set_3", "created_time": "long ago"},
    {"id": "ad_4", "campaign_id": "c_1", "adset_id": "set_4", "effective_status": "PAUSED", "created_time": "2025-10-05T08:00:00+0000"},
    {"id": "ad_9", "campaign_id": "c_9", "adset_id": "set_9"}, {"adset_id": "set_1"}]');
SELECT ad_id, campaign_id, adset_id, budget_owner_id, effective_status, first_seen AT TIME ZONE 'UTC' AS first_seen
  FROM artery.ad_state WHERE tenant_id = 'sync' ORDER BY 1;

-- Days: link clicks only, what is absent is zero, the last of one day counts, what makes no sense is skipped.
SELECT * FROM artery.sync_insights('sync', jsonb_build_array(
    jsonb_build_object('ad_id', 'ad_1', 'date_start', current_date, 'date_stop', current_date, 'impressions', '200', 'clicks', '9',
                       'inline_link_clicks', '4', 'spend', '12.345', 'account_currency', 'USD'),
    jsonb_build_object('ad_id', 'ad_3', 'date_start', current_date - 1, 'impressions', 50, 'clicks', '9'),
    jsonb_build_object('ad_id', 'ad_1', 'date_start', '2026-02-30', 'impressions', '1'),
    jsonb_build_object('ad_id', 'ad_1', 'date_start', '1999-01-01', 'impressions', '1'),
    jsonb_build_object('ad_id', 'ad_1', 'date_start', current_date, 'impressions', '1.5'),
    jsonb_build_object('ad_id', 'ad_1', 'date_start', current_date, 'spend', '-1'),
    jsonb_build_object('date_start', current_date, 'spend', '1')));
SELECT ad_id, current_date - day AS days_ago, impressions, clicks, spend, source FROM artery.ad_day WHERE tenant_id = 'sync' ORDER BY 1, 2;
-- A correction moves the total by the difference: 12.345 becomes 12.00. What somebody reported gives way, what is not listed stays.
SELECT artery.record_ad_day('sync', 'ad_3', current_date, 5, 5, 5);
SELECT * FROM artery.sync_insights('sync', jsonb_build_array(
    jsonb_build_object('ad_id', 'ad_1', 'date_start', current_date, 'impressions', '210', 'inline_link_clicks', '4', 'spend', '12.00'),
    jsonb_build_object('ad_id', 'ad_3', 'date_start', current_date, 'impressions', '60', 'spend', '1')));
SELECT ad_id, impressions, clicks, spend FROM artery.ad_state WHERE tenant_id = 'sync' AND ad_id IN ('ad_1', 'ad_3') ORDER BY 1;
SELECT * FROM artery.sync_insights('sync', '[{"ad_id": "ad_1", "date_start": "2026-01-20", "spend": "1", "account_currency": "EUR"}]');

-- A claim that does not hold stores nothing.
SELECT lost, stored FROM artery.sync_step('sync', 1, 1, 'ads', '{"data": [{"id": "ad_77"}]}', artery.now(), 28);
SELECT count(*) FROM artery.ad_state WHERE tenant_id = 'sync' AND ad_id = 'ad_77';

-- Who may be synced: an account and a token are needed, and one sync at a time is enough.
SELECT artery.can_sync('sync') AS without_token;
SELECT artery.set_secret('sync', 'meta_access_token', 'a-token');
-- With the first token a first reading is queued, a minute ahead; it is not what is looked at here.
DELETE FROM artery.job WHERE tenant_id = 'sync' RETURNING job_name, singleton_key, run_at - artery.now() BETWEEN '0' AND '1 min' AS in_a_minute;
SELECT artery.can_sync('sync') AS with_token;
SELECT count(*) AS queued FROM (SELECT artery.enqueue_job('sync', 'actuals-sync'), artery.enqueue_job('sync', 'actuals-sync')) j;
SELECT count(*) AS taken FROM artery.take_sync_jobs(8);
SELECT artery.can_sync('sync') AS while_active;
-- Put off without spending an attempt, then given up for good.
SELECT artery.postpone_job(tenant_id, job_id, attempt, artery.now(), 'a quota') FROM artery.job WHERE tenant_id = 'sync' AND state = 'active';
SELECT state, attempt, max_attempts, last_error FROM artery.job WHERE tenant_id = 'sync' ORDER BY job_id;
SELECT attempt FROM artery.take_sync_jobs(8);
SELECT artery.give_up_job(tenant_id, job_id, attempt, 'no right') FROM artery.job WHERE tenant_id = 'sync' AND state = 'active';
SELECT artery.renew_job('sync', job_id, attempt) FROM artery.job WHERE tenant_id = 'sync' AND state = 'dead';
SELECT state, attempt, last_error FROM artery.job WHERE tenant_id = 'sync' ORDER BY state;
