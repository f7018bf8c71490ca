-- sync: what Meta says of accounts, campaigns, ad sets, ads and their days
--
-- The worker reads page after page without a transaction and hands each to
-- sync_step, which stores it in one. Claims of jobs actuals-sync are renewed by
-- every step; a claim that was taken back stores nothing.

CREATE OR REPLACE FUNCTION artery.amount_of_minor(minor bigint, currency text)
RETURNS numeric
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_amount_of_minor';
COMMENT ON FUNCTION artery.amount_of_minor(bigint, text) IS 'Minor units as Meta counts them as an amount in that currency.';

CREATE OR REPLACE FUNCTION artery.read_minor(value text, currency text)
RETURNS numeric
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN value ~ '^[0-9]{1,15}$' THEN artery.amount_of_minor(value::bigint, currency) END
$$;
COMMENT ON FUNCTION artery.read_minor(text, text) IS 'An amount that Meta gave as a string of minor units; NULL if it is none.';

CREATE OR REPLACE FUNCTION artery.local_day(moment timestamptz, time_zone text)
RETURNS date
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (moment AT TIME ZONE time_zone)::date;
EXCEPTION WHEN invalid_parameter_value THEN
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION artery.local_day(timestamptz, text) IS 'The day of a moment in a time zone; NULL if there is no such zone.';

CREATE OR REPLACE FUNCTION artery.sync_account(
    tenant_id text, body jsonb, days integer, OUT problem text, OUT since date, OUT until date,
    OUT report_days integer)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_settings jsonb := artery.effective_settings(tenant_id);
    v_account  text := v_settings ->> 'meta_ad_account_id';
    v_currency text := upper(body ->> 'currency');
    v_zone     text := body ->> 'timezone_name';
    v_status   integer := CASE WHEN body ->> 'account_status' ~ '^[0-9]{1,9}$' THEN (body ->> 'account_status')::integer END;
BEGIN
    IF coalesce(v_currency, '') !~ '^[A-Z]{3}$' THEN
        problem := format('Meta does not tell the currency of ad account %s', v_account);
        RETURN;
    END IF;
    IF v_currency <> v_settings ->> 'currency' THEN
        problem := format('ad account %s is in %s, but the tenant is set up in %s', v_account, v_currency,
                          v_settings ->> 'currency');
        PERFORM artery.raise_alert(tenant_id, 'currency', v_account, problem);
        RETURN;
    END IF;
    PERFORM artery.clear_alert(tenant_id, 'currency');

    until := artery.local_day(artery.now(), v_zone);
    IF until IS NULL OR v_zone <> v_settings ->> 'time_zone' THEN
        PERFORM artery.raise_alert(tenant_id, 'time_zone', v_account,
            format('the days of ad account %s are of time zone %s, but the tenant is set up in %s', v_account,
                   left(v_zone, 64), v_settings ->> 'time_zone'));
    ELSE
        PERFORM artery.clear_alert(tenant_id, 'time_zone');
    END IF;
    IF v_status <> 1 THEN
        PERFORM artery.raise_alert(tenant_id, 'account_status', v_account,
            format('ad account %s is not active: its status is %s', v_account, v_status));
    ELSE
        PERFORM artery.clear_alert(tenant_id, 'account_status');
    END IF;
    until := coalesce(until, artery.account_day(tenant_id, artery.now()));
    since := until - (days - 1);

    INSERT INTO artery.ad_account AS a (tenant_id, account_id, currency, time_zone, account_status, min_daily_budget,
                                        amount_spent, synced_at)
    VALUES (sync_account.tenant_id, v_account, v_currency, v_zone, v_status,
            artery.read_minor(body ->> 'min_daily_budget', v_currency), artery.read_minor(body ->> 'amount_spent', v_currency),
            artery.now())
    ON CONFLICT ON CONSTRAINT ad_account_pkey DO UPDATE
       SET currency = excluded.currency, time_zone = excluded.time_zone, account_status = excluded.account_status,
           min_daily_budget = excluded.min_daily_budget, amount_spent = excluded.amount_spent,
           synced_at = excluded.synced_at
    RETURNING a.report_days INTO report_days;
END
$$;
COMMENT ON FUNCTION artery.sync_account(text, jsonb, integer) IS
'Store what Meta says of the tenant''s ad account and return which days to read, in the account''s time zone. An account in another currency than the tenant''s raises an alert and is the problem returned: nothing of it may be stored.';

CREATE OR REPLACE FUNCTION artery.sync_owners(tenant_id text, kind text, rows jsonb, asked_at timestamptz)
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_settings jsonb := artery.effective_settings(tenant_id);
    v_currency text := v_settings ->> 'currency';
    v_minimum  numeric := (SELECT a.min_daily_budget FROM artery.ad_account a
                            WHERE a.tenant_id = sync_owners.tenant_id AND a.account_id = v_settings ->> 'meta_ad_account_id');
    v_owners   jsonb;
BEGIN
    -- Absent or "0" means that there is no such budget; none at all, that the budget is with the campaign or its ad sets.
    SELECT jsonb_agg(jsonb_build_object(
               'id', r.id, 'campaign_id', CASE WHEN kind = 'campaign' THEN r.id ELSE r.campaign_id END,
               'status', left(r.status, 64), 'effective_status', left(r.effective_status, 64),
               'learning_status', left(r.learning_stage_info ->> 'status', 64), 'budget', nullif(b.daily, 0),
               'budget_type', CASE WHEN b.daily > 0 THEN 'daily' WHEN b.lifetime > 0 THEN 'lifetime' ELSE 'none' END,
               -- Meanwhile the one who sends knows better what is in force.
               'sending', EXISTS (SELECT FROM artery.ad_change c
                                   WHERE c.tenant_id = sync_owners.tenant_id AND c.target_id = r.id AND c.state = 'sending')))
      INTO v_owners
      FROM jsonb_to_recordset(rows) r(id text, campaign_id text, status text, effective_status text,
                                      daily_budget text, lifetime_budget text, learning_stage_info jsonb)
     CROSS JOIN LATERAL (SELECT artery.read_minor(r.daily_budget, v_currency) AS daily,
                                artery.read_minor(r.lifetime_budget, v_currency) AS lifetime) b
     WHERE octet_length(r.id) BETWEEN 1 AND 256;

    -- The owner's row is the lock under which its history grows.
    INSERT INTO artery.budget_owner AS o (tenant_id, budget_owner_id, owner_type, campaign_id, budget, budget_type, observed_at,
                                          currency, minimum, status, effective_status, learning_status, updated_at)
    SELECT sync_owners.tenant_id, r.id, kind, r.campaign_id, CASE WHEN NOT r.sending THEN r.budget END, r.budget_type,
           CASE WHEN NOT r.sending THEN asked_at END, v_currency, v_minimum, r.status, r.effective_status, r.learning_status,
           artery.now()
      FROM jsonb_to_recordset(v_owners) r(id text, campaign_id text, budget numeric, budget_type text, status text,
                                          effective_status text, learning_status text, sending boolean)
     WHERE r.budget_type <> 'none'
        OR r.learning_status IS NOT NULL  -- an ad set that learns holds its campaign's budget
        OR EXISTS (SELECT FROM artery.budget_owner k
                    WHERE k.tenant_id = sync_owners.tenant_id AND k.budget_owner_id = r.id)
     ORDER BY r.id
    ON CONFLICT ON CONSTRAINT budget_owner_pkey DO UPDATE
       SET owner_type = excluded.owner_type, campaign_id = coalesce(excluded.campaign_id, o.campaign_id),
           budget = CASE WHEN excluded.observed_at >= coalesce(o.observed_at, '-infinity') THEN excluded.budget
                         ELSE o.budget END,
           observed_at = greatest(o.observed_at, excluded.observed_at),
           budget_type = excluded.budget_type, currency = excluded.currency, minimum = excluded.minimum,
           status = excluded.status, effective_status = excluded.effective_status,
           learning_status = excluded.learning_status, updated_at = excluded.updated_at;

    INSERT INTO artery.budget_observation (tenant_id, budget_owner_id, observed_at, budget, source)
    SELECT o.tenant_id, o.budget_owner_id, asked_at, o.budget, 'observed'
      FROM jsonb_to_recordset(v_owners) r(id text, sending boolean)
      JOIN artery.budget_owner o
        ON o.tenant_id = sync_owners.tenant_id AND o.budget_owner_id = r.id AND o.observed_at = asked_at
      LEFT JOIN LATERAL (
           SELECT b.budget FROM artery.budget_observation b
            WHERE b.tenant_id = o.tenant_id AND b.budget_owner_id = o.budget_owner_id AND b.observed_at <= asked_at
            ORDER BY b.observed_at DESC, b.observation_seq DESC LIMIT 1) last ON true
     WHERE NOT r.sending AND o.budget IS NOT NULL AND last.budget IS DISTINCT FROM o.budget;
    RETURN coalesce(jsonb_array_length(v_owners), 0);
END
$$;
COMMENT ON FUNCTION artery.sync_owners(text, text, jsonb, timestamptz) IS
'Store a page of campaigns or ad sets as of asked_at: which carry a budget, of what kind, and their states. A daily budget other than the one known is observed; what was observed or sent later, or is being sent, stays. Returns how many were read.';

CREATE OR REPLACE FUNCTION artery.sync_ads(tenant_id text, rows jsonb)
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_read integer;
BEGIN
    WITH given AS (
        SELECT r.id AS ad_id, r.campaign_id, r.adset_id, left(r.effective_status, 64) AS effective_status,
               CASE WHEN artery.carries_budget(sync_ads.tenant_id, r.adset_id) THEN r.adset_id
                    WHEN artery.carries_budget(sync_ads.tenant_id, r.campaign_id) THEN r.campaign_id END AS budget_owner_id,
               least(artery.read_meta_time(r.created_time), artery.now()) AS created_at
          FROM jsonb_to_recordset(rows) r(id text, campaign_id text, adset_id text, effective_status text,
                                          created_time text)
         WHERE octet_length(r.id) BETWEEN 1 AND 256
    ), stored AS (
        INSERT INTO artery.ad_state AS s (tenant_id, ad_id, campaign_id, adset_id, budget_owner_id, effective_status, first_seen,
                                          updated_at)
        SELECT sync_ads.tenant_id, g.ad_id, g.campaign_id, g.adset_id, g.budget_owner_id, g.effective_status,
               coalesce(g.created_at, artery.now()), artery.now()
          FROM given g ORDER BY g.ad_id
        ON CONFLICT ON CONSTRAINT ad_state_pkey DO UPDATE
           SET campaign_id = coalesce(excluded.campaign_id, s.campaign_id),
               adset_id = coalesce(excluded.adset_id, s.adset_id),
               budget_owner_id = coalesce(excluded.budget_owner_id, s.budget_owner_id),
               effective_status = excluded.effective_status,
               first_seen = least(excluded.first_seen, s.first_seen), updated_at = excluded.updated_at
         WHERE (s.campaign_id, s.adset_id, s.budget_owner_id, s.effective_status) IS DISTINCT FROM
               (excluded.campaign_id, excluded.adset_id, excluded.budget_owner_id, excluded.effective_status)
            OR excluded.first_seen < s.first_seen)
    SELECT count(*) INTO v_read FROM given;
    RETURN v_read;
END
$$;
COMMENT ON FUNCTION artery.sync_ads(text, jsonb) IS
'Store a page of ads: campaign, ad set and the one of the two that carries the budget, which win over what was guessed. Returns how many were read.';

CREATE OR REPLACE FUNCTION artery.carries_budget(tenant_id text, budget_owner_id text)
RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM artery.budget_owner o
                    WHERE o.tenant_id = carries_budget.tenant_id AND o.budget_owner_id = carries_budget.budget_owner_id
                      AND o.budget_type = ANY (ARRAY['daily', 'lifetime']))
$$;
COMMENT ON FUNCTION artery.carries_budget(text, text) IS 'Whether Meta said that this ad set or campaign has a budget of its own.';

CREATE OR REPLACE FUNCTION artery.sync_insights(
    tenant_id text, rows jsonb, OUT problem text, OUT stored integer, OUT skipped integer)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_currency text := artery.effective_settings(tenant_id) ->> 'currency';
    v_other    text;
    v_days     jsonb;
BEGIN
    SELECT e.element ->> 'account_currency' INTO v_other
      FROM jsonb_array_elements(rows) e(element)
     WHERE upper(e.element ->> 'account_currency') <> v_currency LIMIT 1;
    IF FOUND THEN
        problem := format('Insights are in %s, but the tenant is set up in %s', left(v_other, 8), v_currency);
        PERFORM artery.raise_alert(tenant_id, 'currency', artery.effective_settings(tenant_id) ->> 'meta_ad_account_id', problem);
        RETURN;
    END IF;

    -- Meta leaves out what is zero. What is as it was is not written again.
    WITH given AS (
        SELECT r.ad_id, r.date_start, coalesce(r.impressions, '0') AS impressions,
               coalesce(r.inline_link_clicks, '0') AS clicks, coalesce(r.spend, '0') AS spend, k.day,
               k.day IS NOT NULL AND coalesce(r.date_stop, r.date_start) = r.date_start
               AND octet_length(coalesce(r.ad_id, '')) BETWEEN 1 AND 256
               AND coalesce(r.impressions, '0') ~ '^[0-9]{1,15}$' AND coalesce(r.inline_link_clicks, '0') ~ '^[0-9]{1,15}$'
               AND coalesce(r.spend, '0') ~ '^[0-9]{1,12}([.][0-9]{1,12})?$' AS good
          FROM jsonb_to_recordset(rows) r(ad_id text, date_start text, date_stop text, impressions text,
                                          inline_link_clicks text, spend text)
          LEFT JOIN (SELECT d::date AS day, to_char(d, 'YYYY-MM-DD') AS name
                       FROM generate_series(artery.now()::date - 1110, artery.now()::date + 1, interval '1 day') d) k
            ON k.name = r.date_start
    ), seen AS (
        SELECT g.*, CASE WHEN g.good THEN d.ad_id IS NULL
                             OR (d.impressions, d.clicks, d.spend) <> (g.impressions::bigint, g.clicks::bigint, g.spend::numeric)
                         END AS changed
          FROM given g
          LEFT JOIN artery.ad_day d
            ON d.tenant_id = sync_insights.tenant_id AND d.ad_id = g.ad_id AND d.day = g.day AND d.source = 'insights'
    )
    SELECT count(*) FILTER (WHERE s.good), count(*) FILTER (WHERE NOT s.good),
           jsonb_agg(jsonb_build_object('ad_id', s.ad_id, 'day', s.day, 'impressions', s.impressions, 'clicks', s.clicks,
                                        'spend', s.spend)) FILTER (WHERE s.changed)
      INTO stored, skipped, v_days
      FROM seen s;
    IF v_days IS NOT NULL THEN
        PERFORM artery.store_ad_days(tenant_id, v_days, 'insights');
    END IF;

    -- Ads that are listed no more still have days.
    UPDATE artery.ad_state s
       SET campaign_id = coalesce(s.campaign_id, r.campaign_id), adset_id = coalesce(s.adset_id, r.adset_id),
           updated_at = artery.now()
      FROM (SELECT DISTINCT ON (i.ad_id) i.ad_id, i.campaign_id, i.adset_id
              FROM jsonb_to_recordset(rows) i(ad_id text, campaign_id text, adset_id text) ORDER BY i.ad_id) r
     WHERE s.tenant_id = sync_insights.tenant_id AND s.ad_id = r.ad_id
       AND (s.campaign_id IS NULL AND r.campaign_id IS NOT NULL OR s.adset_id IS NULL AND r.adset_id IS NOT NULL);
END
$$;
COMMENT ON FUNCTION artery.sync_insights(text, jsonb) IS
'Store a page of Insights, one row per ad and day; clicks are link clicks. What is stored for a day that Meta does not list stays. Rows in another currency are the problem returned, and nothing is stored; rows that cannot be read are skipped.';

CREATE OR REPLACE FUNCTION artery.sync_step(
    tenant_id text, job_id bigint, attempt integer, step text, body jsonb, asked_at timestamptz, days integer,
    OUT lost boolean, OUT problem text, OUT stored integer, OUT skipped integer, OUT since date, OUT until date,
    OUT report_days integer, OUT listed text[])
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_rows jsonb := CASE WHEN jsonb_typeof(body -> 'data') = 'array' THEN jsonb_path_query_array(body, '$.data[*] ? (@.type() == "object")')
                         ELSE '[]' END;
BEGIN
    lost := NOT artery.renew_job(tenant_id, job_id, attempt);
    IF NOT lost AND NOT (artery.effective_settings(tenant_id) ->> 'enabled')::boolean THEN
        lost := artery.postpone_job(tenant_id, job_id, attempt, artery.moment(), 'the tenant was disabled');
    END IF;
    IF lost THEN
        RETURN;
    END IF;
    CASE step
        WHEN 'account' THEN
            SELECT a.problem, a.since, a.until, a.report_days INTO problem, since, until, report_days
              FROM artery.sync_account(sync_step.tenant_id, body, sync_step.days) a;
        WHEN 'campaigns' THEN
            stored := artery.sync_owners(tenant_id, 'campaign', v_rows, asked_at);
        WHEN 'adsets' THEN
            stored := artery.sync_owners(tenant_id, 'adset', v_rows, asked_at);
        WHEN 'ads' THEN
            stored := artery.sync_ads(tenant_id, v_rows);
        WHEN 'minimum' THEN
            stored := artery.sync_minimum(tenant_id, v_rows);
        WHEN 'edits' THEN
            stored := artery.sync_edits(tenant_id, v_rows);
        WHEN 'token' THEN
            SELECT k.told::integer, k.problem INTO stored, problem
              FROM artery.sync_token(sync_step.tenant_id, coalesce(body -> 'data', '{}'), asked_at, days = 0) k;
        WHEN 'insights' THEN
            SELECT i.problem, i.stored, i.skipped INTO problem, stored, skipped
              FROM artery.sync_insights(sync_step.tenant_id, v_rows) i;
    END CASE;
    IF step = ANY (ARRAY['campaigns', 'adsets', 'ads']) THEN
        listed := ARRAY(SELECT r.id FROM jsonb_to_recordset(v_rows) r(id text) WHERE r.id IS NOT NULL);
    END IF;
END
$$;
COMMENT ON FUNCTION artery.sync_step(text, bigint, integer, text, jsonb, timestamptz, integer) IS
'Store a page that answers a request of asked_at: of token (days 0: asked for), account, minimum, campaigns, adsets, ads, edits or insights. lost: the claim of the job no longer holds or was given back, and nothing was stored; problem: nothing may be stored; listed: the objects on the page.';

CREATE OR REPLACE FUNCTION artery.sync_finish(
    tenant_id text, job_id bigint, attempt integer, today date, result jsonb, owners text[], ads text[])
RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT artery.complete_job(tenant_id, job_id, attempt, result) THEN
        RETURN false;
    END IF;
    UPDATE artery.ad_account a SET report_days = (result ->> 'report_days')::integer, synced_at = artery.now()
     WHERE a.tenant_id = sync_finish.tenant_id
       AND a.account_id = artery.effective_settings(sync_finish.tenant_id) ->> 'meta_ad_account_id';

    -- What was deleted or archived is no longer listed.
    UPDATE artery.ad_state s SET effective_status = 'ARCHIVED', updated_at = artery.now()
     WHERE s.tenant_id = sync_finish.tenant_id AND s.effective_status <> ALL (ARRAY['ARCHIVED', 'DELETED'])
       AND NOT EXISTS (SELECT FROM unnest(ads) l(id) WHERE l.id = s.ad_id);
    UPDATE artery.budget_owner o SET effective_status = 'ARCHIVED', updated_at = artery.now()
     WHERE o.tenant_id = sync_finish.tenant_id AND o.budget_type IS NOT NULL
       AND coalesce(o.effective_status, '') <> ALL (ARRAY['ARCHIVED', 'DELETED'])
       AND NOT EXISTS (SELECT FROM unnest(owners) l(id) WHERE l.id = o.budget_owner_id);

    -- What an owner has spent today is the floor under its budget.
    UPDATE artery.budget_owner o
       SET spend_day = today, spend_today = w.spend
      FROM (SELECT k.budget_owner_id, coalesce(sum(d.spend), 0) AS spend
              FROM artery.budget_owner k
              LEFT JOIN artery.ad_state s
                ON s.tenant_id = k.tenant_id AND s.budget_owner_id = k.budget_owner_id
              LEFT JOIN artery.ad_day d
                ON d.tenant_id = s.tenant_id AND d.ad_id = s.ad_id AND d.day = today
             WHERE k.tenant_id = sync_finish.tenant_id
             GROUP BY k.budget_owner_id ORDER BY k.budget_owner_id) w
     WHERE o.tenant_id = sync_finish.tenant_id AND o.budget_owner_id = w.budget_owner_id
       AND (o.spend_day, o.spend_today) IS DISTINCT FROM (today, w.spend);
    RETURN true;
END
$$;
COMMENT ON FUNCTION artery.sync_finish(text, bigint, integer, date, jsonb, text[], text[]) IS
'Complete the job after its last page: what each owner has spent today is summed up, and what is known but was not listed counts as archived. False if the claim no longer holds.';

CREATE OR REPLACE FUNCTION artery.can_sync(tenant_id text)
RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM artery.tenant t
                    WHERE t.tenant_id = can_sync.tenant_id AND t.settings ->> 'meta_ad_account_id' IS NOT NULL
                      AND coalesce((t.settings ->> 'enabled')::boolean, true))
       AND EXISTS (SELECT FROM artery.tenant_secret s
                    WHERE s.tenant_id = can_sync.tenant_id AND s.name = 'meta_access_token')
       AND NOT EXISTS (SELECT FROM artery.job j
                        WHERE j.tenant_id = can_sync.tenant_id AND j.job_name = 'actuals-sync' AND j.state = 'active')
$$;
COMMENT ON FUNCTION artery.can_sync(text) IS
'Whether the tenant is enabled, has an ad account and a token, and is not being synced already. Until then its jobs wait.';

CREATE OR REPLACE FUNCTION artery.begin_syncs(tenant_id text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF artery.can_sync(tenant_id) AND current_setting('artery.sync_interval')::interval > '0' THEN
        PERFORM artery.enqueue_job(tenant_id, 'actuals-sync', run_at => artery.now() + interval '1 minute', singleton_key => 'scheduled');
    END IF;
END
$$;
COMMENT ON FUNCTION artery.begin_syncs(text) IS
'Let an ad account that has just become known be read in a minute, when its other settings are made, instead of after artery.sync_interval.';

CREATE OR REPLACE FUNCTION artery.release_syncs()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE artery.job j SET run_at = artery.now()
     WHERE j.tenant_id = NEW.tenant_id AND j.job_name = 'actuals-sync' AND j.state = 'queued'
       AND j.attempt > 0 AND j.run_at > artery.now();
    IF TG_OP = 'INSERT' THEN
        PERFORM artery.begin_syncs(NEW.tenant_id);
    END IF;
    PERFORM artery.wake_worker();
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION artery.release_syncs() IS 'With another token a sync that was put off is tried at once; with the first one the account is read for the first time.';

CREATE TRIGGER release_syncs AFTER INSERT OR UPDATE OF value ON artery.tenant_secret
    FOR EACH ROW WHEN (NEW.name = ANY (ARRAY['meta_access_token', 'meta_app_secret']))
    EXECUTE FUNCTION artery.release_syncs();

CREATE OR REPLACE FUNCTION artery.other_account()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.begin_syncs(NEW.tenant_id);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION artery.other_account() IS 'A tenant that is given another ad account has it read soon.';

CREATE TRIGGER other_account AFTER UPDATE OF settings ON artery.tenant
    FOR EACH ROW WHEN (NEW.settings ->> 'meta_ad_account_id' IS DISTINCT FROM OLD.settings ->> 'meta_ad_account_id')
    EXECUTE FUNCTION artery.other_account();

CREATE OR REPLACE FUNCTION artery.take_sync_jobs(batch integer)
RETURNS SETOF artery.job
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_config artery.job_config := artery.require_job_name('actuals-sync');
    v_tenant text;
    v_left   integer := batch;
BEGIN
    PERFORM artery.rescue_jobs();
    IF batch < 1 THEN
        RETURN;
    END IF;
    FOR v_tenant IN
        SELECT t FROM artery.tenants_with_due_jobs('actuals-sync', NULL, artery.moment()) t WHERE artery.can_sync(t)
    LOOP
        RETURN QUERY SELECT j.* FROM artery.take_job(v_config, v_tenant, 'artery worker', pg_backend_pid()) j;
        IF FOUND THEN
            v_left := v_left - 1;
            EXIT WHEN v_left = 0;
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION artery.take_sync_jobs(integer) IS
'Claim due jobs actuals-sync for artery''s own worker, one per tenant at a time: requests to an account come one after the other.';

CREATE OR REPLACE FUNCTION artery.next_sync_at()
RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT least(
        (SELECT min(j.run_at) FROM artery.job j
          WHERE j.job_name = 'actuals-sync' AND j.state = 'queued' AND artery.can_sync(j.tenant_id)
            AND current_setting('artery.enabled')::boolean),
        (SELECT min(j.lease_until) FROM artery.job j WHERE j.job_name = 'actuals-sync' AND j.state = 'active'))
$$;
COMMENT ON FUNCTION artery.next_sync_at() IS 'When the next job actuals-sync that can be done falls due, or the lease of one runs out.';

CREATE OR REPLACE FUNCTION artery.renew_job(
    tenant_id text, job_id bigint, attempt integer, wait interval DEFAULT '0')
RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE artery.job j
       SET lease_until = artery.moment() + wait + (SELECT c.lease FROM artery.job_config c WHERE c.job_name = j.job_name)
     WHERE j.tenant_id = renew_job.tenant_id AND j.job_id = renew_job.job_id AND j.attempt = renew_job.attempt
       AND j.state = 'active';
    RETURN FOUND;
END
$$;
COMMENT ON FUNCTION artery.renew_job(text, bigint, integer, interval) IS
'Begin the lease of a claimed job anew, behind a wait that is to come; false if the claim no longer holds.';

CREATE OR REPLACE FUNCTION artery.postpone_job(
    tenant_id text, job_id bigint, attempt integer, run_at timestamptz, reason text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE artery.job j SET max_attempts = j.max_attempts + 1, last_error = left(reason, 8192), failed_at = artery.moment()
     WHERE j.tenant_id = postpone_job.tenant_id AND j.job_id = postpone_job.job_id
       AND j.attempt = postpone_job.attempt AND j.state = 'active';
    IF FOUND THEN
        PERFORM artery.requeue_job(tenant_id, job_id, run_at);
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION artery.postpone_job(text, bigint, integer, timestamptz, text) IS
'Give a claimed job back to be done later, without spending an attempt; returns true.';

CREATE OR REPLACE FUNCTION artery.give_up_job(tenant_id text, job_id bigint, attempt integer, error text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE artery.job j SET max_attempts = j.attempt
     WHERE j.tenant_id = give_up_job.tenant_id AND j.job_id = give_up_job.job_id
       AND j.attempt = give_up_job.attempt AND j.state = 'active';
    RETURN artery.fail_job(tenant_id, job_id, attempt, error);
END
$$;
COMMENT ON FUNCTION artery.give_up_job(text, bigint, integer, text) IS
'Settle a claimed job as failed for good: dead, whatever attempts it had left.';

CREATE OR REPLACE FUNCTION artery.schedule_syncs()
RETURNS timestamptz
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_interval interval := current_setting('artery.sync_interval')::interval;
    v_now      timestamptz := artery.moment();
    v_next     timestamptz := 'infinity';
    v_tenant   record;
    v_dead     bigint;
BEGIN
    FOR v_tenant IN
        SELECT t.tenant_id, v_interval + greatest(s.updated_at,
                   (SELECT max(h.finished_at) FROM artery.job_execution_history h
                     WHERE h.tenant_id = t.tenant_id AND h.job_name = 'actuals-sync')) AS due_at
          FROM artery.tenant t
          JOIN artery.tenant_secret s ON s.tenant_id = t.tenant_id AND s.name = 'meta_access_token'
         WHERE artery.can_sync(t.tenant_id)
           AND NOT EXISTS (SELECT FROM artery.job j WHERE j.tenant_id = t.tenant_id AND j.job_name = 'actuals-sync'
                                                      AND j.state = 'queued' AND j.run_at <= v_now)
         ORDER BY t.tenant_id
    LOOP
        IF v_tenant.due_at > v_now THEN
            v_next := least(v_next, v_tenant.due_at);
            CONTINUE;
        END IF;
        -- A failed one is tried again rather than joined by another every hour.
        SELECT j.job_id INTO v_dead FROM artery.job j
         WHERE j.tenant_id = v_tenant.tenant_id AND j.job_name = 'actuals-sync' AND j.singleton_key = 'scheduled'
           AND j.state = 'dead' ORDER BY j.job_id DESC LIMIT 1;
        IF FOUND AND NOT EXISTS (SELECT FROM artery.job j
                                  WHERE j.tenant_id = v_tenant.tenant_id AND j.job_name = 'actuals-sync'
                                    AND j.singleton_key = 'scheduled' AND j.state = 'queued') THEN
            PERFORM artery.retry_job(v_tenant.tenant_id, v_dead);
        ELSE
            PERFORM artery.enqueue_job(v_tenant.tenant_id, 'actuals-sync', singleton_key => 'scheduled');
        END IF;
    END LOOP;
    RETURN v_next;
END
$$;
COMMENT ON FUNCTION artery.schedule_syncs() IS
'Queue actuals-sync for every tenant that was not synced for artery.sync_interval, counted from its token where it never was; returns when the next one falls due.';

CREATE OR REPLACE VIEW artery.v_ad_accounts WITH (security_barrier) AS
SELECT t.tenant_id, t.settings ->> 'meta_ad_account_id' AS account_id,
       EXISTS (SELECT FROM artery.tenant_secret s WHERE s.tenant_id = t.tenant_id AND s.name = 'meta_access_token') AS has_token,
       a.currency, a.time_zone, a.account_status, a.min_daily_budget, a.amount_spent, a.synced_at,
       k.checked_at AS token_checked_at, k.is_valid AS token_is_valid, k.expires_at AS token_expires_at,
       k.data_access_expires_at, k.scopes AS token_scopes, k.problem AS token_problem,
       j.state AS sync_state, j.run_at AS sync_at, j.last_error
  FROM artery.tenant t
  LEFT JOIN artery.ad_account a ON a.tenant_id = t.tenant_id AND a.account_id = t.settings ->> 'meta_ad_account_id'
  LEFT JOIN artery.meta_token k ON k.tenant_id = t.tenant_id
  LEFT JOIN LATERAL (
       SELECT q.state, q.run_at, q.last_error FROM artery.job q
        WHERE q.tenant_id = t.tenant_id AND q.job_name = 'actuals-sync'
        ORDER BY q.state = 'active' DESC, q.state = 'queued' DESC, q.run_at LIMIT 1) j ON true
 WHERE t.settings ->> 'meta_ad_account_id' IS NOT NULL AND artery.tenant_visible(t.tenant_id);
COMMENT ON VIEW artery.v_ad_accounts IS
'Ad accounts of tenants: what Meta said of them, when they were read last, and the job that reads them next or failed to.';
