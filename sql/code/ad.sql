-- ad: registering ads, recording what they did and what their budgets are

CREATE OR REPLACE FUNCTION artery.check_id(id text, what text)
RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF id IS NULL THEN
        RAISE EXCEPTION '% must not be null', what
            USING ERRCODE = '22004', HINT = 'Arguments without a default are needed.';
    ELSIF id = '' THEN
        RAISE EXCEPTION '% must not be empty', what USING ERRCODE = '22023',
            HINT = 'Give the id that Meta uses.';
    ELSIF octet_length(id) > 256 THEN
        RAISE EXCEPTION '% is too long', what USING ERRCODE = '22001', DETAIL = 'It may have 256 bytes.',
            HINT = 'Give the id that Meta uses.';
    END IF;
END
$$;
COMMENT ON FUNCTION artery.check_id(text, text) IS 'Error 22004, 22023 or 22001 unless the identifier has 1 to 256 bytes.';

CREATE OR REPLACE FUNCTION artery.check_amount(amount numeric, what text)
RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF amount IS NULL THEN
        RAISE EXCEPTION '% must not be null', what
            USING ERRCODE = '22004', HINT = 'Arguments without a default are needed.';
    ELSIF amount = 'NaN' OR amount < 0 OR amount > 1e12 THEN
        RAISE EXCEPTION '% is out of range', what
            USING ERRCODE = '22003', DETAIL = format('It is %s; it must be between 0 and 1e12.', left(amount::text, 40)),
            HINT = 'Give an amount in the account''s currency, for example 120.00.';
    END IF;
END
$$;
COMMENT ON FUNCTION artery.check_amount(numeric, text) IS 'Error 22004 or 22003 unless the amount is finite, not negative and at most 1e12.';

CREATE OR REPLACE FUNCTION artery.check_count(count bigint, what text)
RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF count < 0 OR count > 1e15 THEN
        RAISE EXCEPTION '% is out of range', what
            USING ERRCODE = '22003', DETAIL = format('It is %s; it must be between 0 and 1e15.', count),
            HINT = 'Give what was counted so far, not a change of it.';
    END IF;
END
$$;
COMMENT ON FUNCTION artery.check_count(bigint, text) IS 'Error 22003 unless the count is between 0 and 1e15.';

CREATE OR REPLACE FUNCTION artery.check_moment(moment timestamptz, what text)
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF moment IS NULL THEN
        RAISE EXCEPTION '% must not be null', what
            USING ERRCODE = '22004', HINT = 'Arguments without a default are needed.';
    ELSIF moment < '2010-01-01 00:00:00+00' OR moment > artery.now() + interval '1 day' THEN
        RAISE EXCEPTION '% is out of range', what
            USING ERRCODE = '22008', DETAIL = format('It is %s; it must be between 2010-01-01 and one day ahead of now.', moment),
            HINT = 'Times in milliseconds since 1970 must be divided by 1000 for to_timestamp().';
    END IF;
END
$$;
COMMENT ON FUNCTION artery.check_moment(timestamptz, text) IS 'Error 22004 or 22008 unless the moment is between 2010-01-01 and one day ahead.';

-- Part of the plans of those who use it, being a constant.
CREATE OR REPLACE FUNCTION artery.default_settings()
RETURNS jsonb
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_object_agg(d.name, coalesce(d.default_value, 'null')) FROM artery.setting_definitions() d
$$;
COMMENT ON FUNCTION artery.default_settings() IS 'The settings of a tenant that has none of its own; null where there is no default.';

-- In PL, as the next ones that are called for change after change: a function in SQL is planned anew by each statement.
CREATE OR REPLACE FUNCTION artery.effective_settings(tenant_id text)
RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT artery.join_objects(artery.default_settings(), t.settings)
              FROM artery.tenant t WHERE t.tenant_id = effective_settings.tenant_id);
END
$$;
COMMENT ON FUNCTION artery.effective_settings(text) IS 'A tenant''s settings with the defaults filled in; null where there is none.';

CREATE OR REPLACE FUNCTION artery.account_day(tenant_id text, moment timestamptz)
RETURNS date
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (account_day.moment AT TIME ZONE coalesce(t.settings ->> 'time_zone', 'UTC'))::date
      FROM artery.tenant t WHERE t.tenant_id = account_day.tenant_id
$$;
COMMENT ON FUNCTION artery.account_day(text, timestamptz) IS 'The day of a moment in the time zone of the tenant''s ad account.';

CREATE OR REPLACE FUNCTION artery.register_ad(
    tenant_id text, ad_id text, campaign_id text, adset_id text DEFAULT NULL, budget_owner_id text DEFAULT NULL,
    first_seen timestamptz DEFAULT artery.now(), dna_score float8 DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
-- plans made while the tables are new and empty must not stay with reading them whole
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
    v_observed text;
    v_owner    text;
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    PERFORM artery.check_id(ad_id, 'ad_id'), artery.check_id(campaign_id, 'campaign_id'),
            artery.check_id(coalesce(adset_id, '-'), 'adset_id'),
            artery.check_id(coalesce(budget_owner_id, '-'), 'budget_owner_id'),
            artery.check_moment(first_seen, 'first_seen');
    IF dna_score = 'NaN' OR dna_score < 0 OR dna_score > 1 THEN
        RAISE EXCEPTION 'dna_score % is out of range', dna_score
            USING ERRCODE = '22003', DETAIL = 'It is a share between 0 and 1.', HINT = 'For 60 percent, give 0.6.';
    END IF;

    -- Each owner by its key: for several at once, a plan made while there are few reads all of the tenant's.
    v_observed := coalesce(
        (SELECT o.budget_owner_id FROM artery.budget_owner o
          WHERE o.tenant_id = register_ad.tenant_id AND o.budget_owner_id = register_ad.adset_id AND o.budget IS NOT NULL),
        (SELECT o.budget_owner_id FROM artery.budget_owner o
          WHERE o.tenant_id = register_ad.tenant_id AND o.budget_owner_id = register_ad.campaign_id AND o.budget IS NOT NULL));
    INSERT INTO artery.ad_state AS s (tenant_id, ad_id, campaign_id, adset_id, budget_owner_id, dna_score, first_seen, updated_at)
    VALUES (register_ad.tenant_id, register_ad.ad_id, register_ad.campaign_id, register_ad.adset_id,
            coalesce(register_ad.budget_owner_id, v_observed), register_ad.dna_score, register_ad.first_seen, artery.now())
    ON CONFLICT ON CONSTRAINT ad_state_pkey DO UPDATE
       SET campaign_id = excluded.campaign_id,
           adset_id = coalesce(excluded.adset_id, s.adset_id),
           budget_owner_id = coalesce(register_ad.budget_owner_id, s.budget_owner_id, v_observed),
           dna_score = coalesce(excluded.dna_score, s.dna_score),
           first_seen = least(excluded.first_seen, s.first_seen),
           updated_at = excluded.updated_at;

    -- What the ad tells about the owners it names.
    FOREACH v_owner IN ARRAY ARRAY[budget_owner_id, adset_id, campaign_id] LOOP
        UPDATE artery.budget_owner o
           SET campaign_id = register_ad.campaign_id, updated_at = artery.now(),
               owner_type = CASE WHEN o.budget_owner_id = register_ad.campaign_id THEN 'campaign' ELSE 'adset' END
         WHERE o.tenant_id = register_ad.tenant_id AND o.budget_owner_id = v_owner AND o.campaign_id IS NULL;
    END LOOP;
    IF budget_owner_id IS NOT NULL THEN
        INSERT INTO artery.budget_owner AS o (tenant_id, budget_owner_id, owner_type, campaign_id, updated_at)
        VALUES (register_ad.tenant_id, register_ad.budget_owner_id,
                CASE WHEN register_ad.budget_owner_id = register_ad.campaign_id THEN 'campaign' ELSE 'adset' END,
                register_ad.campaign_id, artery.now())
        ON CONFLICT ON CONSTRAINT budget_owner_pkey DO NOTHING;
    END IF;
    RETURN ad_id;
END
$$;
COMMENT ON FUNCTION artery.register_ad(text, text, text, text, text, timestamptz, float8) IS
'Make an ad known, or change what is known of it: given values replace, NULL leaves as it is, the earliest first_seen stays. Returns the ad_id.';

CREATE OR REPLACE FUNCTION artery.link_budget_owner(tenant_id text, budget_owner_id text)
RETURNS void
LANGUAGE plpgsql VOLATILE
-- plans made while the tables are new and empty must not stay with reading them whole
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
    v_type     text;
    v_campaign text;
BEGIN
    -- The owner learns its kind and campaign from an ad that names it ...
    SELECT k.owner_type, k.campaign_id INTO v_type, v_campaign
      FROM ((SELECT 1 AS place, 'adset' AS owner_type, s.campaign_id FROM artery.ad_state s
              WHERE s.tenant_id = link_budget_owner.tenant_id AND s.adset_id = link_budget_owner.budget_owner_id LIMIT 1)
            UNION ALL
            (SELECT 2, 'campaign', s.campaign_id FROM artery.ad_state s
              WHERE s.tenant_id = link_budget_owner.tenant_id AND s.campaign_id = link_budget_owner.budget_owner_id LIMIT 1)
            UNION ALL
            (SELECT 3, 'adset', s.campaign_id FROM artery.ad_state s
              WHERE s.tenant_id = link_budget_owner.tenant_id AND s.budget_owner_id = link_budget_owner.budget_owner_id
              LIMIT 1)) k
     ORDER BY k.place LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE artery.budget_owner o
       SET owner_type = v_type, campaign_id = coalesce(o.campaign_id, v_campaign), updated_at = artery.now()
     WHERE o.tenant_id = link_budget_owner.tenant_id AND o.budget_owner_id = link_budget_owner.budget_owner_id
       AND (o.owner_type <> v_type OR o.campaign_id IS NULL AND v_campaign IS NOT NULL);

    -- ... and ads without an owner get it: ad set before campaign.
    UPDATE artery.ad_state s SET budget_owner_id = s.adset_id, updated_at = artery.now()
     WHERE s.tenant_id = link_budget_owner.tenant_id AND s.adset_id = link_budget_owner.budget_owner_id
       AND s.budget_owner_id IS NULL;
    UPDATE artery.ad_state s SET budget_owner_id = s.campaign_id, updated_at = artery.now()
     WHERE s.tenant_id = link_budget_owner.tenant_id AND s.campaign_id = link_budget_owner.budget_owner_id
       AND s.budget_owner_id IS NULL
       AND NOT EXISTS (SELECT FROM artery.budget_owner a
                        WHERE a.tenant_id = s.tenant_id AND a.budget_owner_id = s.adset_id AND a.budget IS NOT NULL);

    -- A budget seen on the campaign after one on the ad set: somebody gave the campaign a budget of its own.
    UPDATE artery.ad_state s SET budget_owner_id = s.campaign_id, updated_at = artery.now()
     WHERE s.tenant_id = link_budget_owner.tenant_id AND s.campaign_id = link_budget_owner.budget_owner_id
       AND s.budget_owner_id = s.adset_id
       AND artery.budget_keeper(s.tenant_id, s.campaign_id, s.adset_id) = s.campaign_id
       AND s.adset_id IN (SELECT a.budget_owner_id FROM artery.budget_owner a
                           WHERE a.tenant_id = link_budget_owner.tenant_id AND a.budget IS NOT NULL);
END
$$;
COMMENT ON FUNCTION artery.link_budget_owner(text, text) IS
'Join a budget owner that was observed and the ads it pays for; a budget seen on a campaign later than those on its ad sets takes their place.';

CREATE OR REPLACE FUNCTION artery.observe_budget(
    tenant_id text, budget_owner_id text, budget numeric, observed_at timestamptz DEFAULT artery.now())
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    PERFORM artery.check_id(budget_owner_id, 'budget_owner_id'), artery.check_amount(budget, 'budget'),
            artery.check_moment(observed_at, 'observed_at');

    -- The owner's row is the lock under which its history grows.
    INSERT INTO artery.budget_owner AS o (tenant_id, budget_owner_id, budget, observed_at, updated_at)
    VALUES (observe_budget.tenant_id, observe_budget.budget_owner_id, observe_budget.budget,
            observe_budget.observed_at, artery.now())
    ON CONFLICT ON CONSTRAINT budget_owner_pkey DO UPDATE
       SET budget = CASE WHEN o.observed_at > excluded.observed_at THEN o.budget ELSE excluded.budget END,
           observed_at = greatest(o.observed_at, excluded.observed_at),
           updated_at = excluded.updated_at;
    IF NOT EXISTS (
        SELECT FROM artery.budget_observation b
         WHERE b.tenant_id = observe_budget.tenant_id AND b.budget_owner_id = observe_budget.budget_owner_id
           AND b.observed_at = observe_budget.observed_at AND b.budget = observe_budget.budget) THEN
        INSERT INTO artery.budget_observation (tenant_id, budget_owner_id, observed_at, budget, source)
        VALUES (observe_budget.tenant_id, observe_budget.budget_owner_id, observe_budget.observed_at,
                observe_budget.budget, 'observed');
    END IF;
    PERFORM artery.link_budget_owner(tenant_id, budget_owner_id);
END
$$;
COMMENT ON FUNCTION artery.observe_budget(text, text, numeric, timestamptz) IS
'Record the daily budget an ad set or campaign was seen to have. The newest is the one in force; the history is what the velocity rule is judged by.';

CREATE OR REPLACE FUNCTION artery.ad_day_problem(
    tenant_id text, ad_id text, day date, impressions bigint, clicks bigint, spend numeric,
    OUT state text, OUT message text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF ad_id IS NULL OR day IS NULL OR impressions IS NULL OR clicks IS NULL OR spend IS NULL THEN
        state := '22004';
        message := 'ad_id, day, impressions, clicks and spend must not be null';
    ELSIF ad_id = '' THEN
        state := '22023';
        message := 'ad_id must not be empty';
    ELSIF octet_length(ad_id) > 256 THEN
        state := '22001';
        message := 'ad_id is too long';
    ELSIF impressions < 0 OR clicks < 0 OR spend = 'NaN' OR spend < 0 OR spend > 1e12
          OR impressions > 1e15 OR clicks > 1e15 THEN
        state := '22003';
        message := 'impressions, clicks and spend must be finite and not negative';
    ELSIF day < '2010-01-01' OR day > artery.account_day(tenant_id, artery.now() + interval '1 day') THEN
        state := '22008';
        message := format('day %s is out of range', day);
    END IF;
END
$$;
COMMENT ON FUNCTION artery.ad_day_problem(text, text, date, bigint, bigint, numeric) IS
'What is wrong with a day''s facts, as SQLSTATE and message; both NULL if nothing is.';

CREATE OR REPLACE FUNCTION artery.store_ad_days(tenant_id text, days jsonb, source text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
-- a plan made for single days while the tables were new would compare each of many days with every ad
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    v_zone text;
BEGIN
    SELECT coalesce(t.settings ->> 'time_zone', 'UTC') INTO v_zone
      FROM artery.tenant t WHERE t.tenant_id = store_ad_days.tenant_id;

    -- Facts of an ad nobody registered are facts all the same.
    INSERT INTO artery.ad_state (tenant_id, ad_id, first_seen, updated_at)
    SELECT store_ad_days.tenant_id, d.ad_id, min(d.day)::timestamp AT TIME ZONE v_zone, artery.now()
      FROM jsonb_to_recordset(days) d(ad_id text, day date)
     GROUP BY d.ad_id ORDER BY d.ad_id
    ON CONFLICT DO NOTHING;
    -- Locked in one order, so that the differences below are of settled rows.
    PERFORM FROM artery.ad_state s
      WHERE s.tenant_id = store_ad_days.tenant_id
        AND s.ad_id IN (SELECT d.ad_id FROM jsonb_to_recordset(days) d(ad_id text))
      ORDER BY s.ad_id FOR UPDATE;

    WITH given AS (
        SELECT DISTINCT ON (r.ad_id, r.day) r.ad_id, r.day, r.impressions, r.clicks, r.spend
          FROM jsonb_array_elements(days) WITH ORDINALITY e(element, place)
          CROSS JOIN LATERAL jsonb_to_record(e.element) r(ad_id text, day date, impressions bigint, clicks bigint, spend numeric)
         ORDER BY r.ad_id, r.day, e.place DESC
    ), difference AS (
        SELECT g.ad_id, sum(g.impressions - coalesce(o.impressions, 0)) AS impressions,
               sum(g.clicks - coalesce(o.clicks, 0)) AS clicks, sum(g.spend - coalesce(o.spend, 0)) AS spend
          FROM given g
          LEFT JOIN artery.ad_day o
            ON o.tenant_id = store_ad_days.tenant_id AND o.ad_id = g.ad_id AND o.day = g.day
         GROUP BY g.ad_id
    ), stored AS (
        INSERT INTO artery.ad_day (tenant_id, ad_id, day, impressions, clicks, spend, source, updated_at)
        SELECT store_ad_days.tenant_id, g.ad_id, g.day, g.impressions, g.clicks, g.spend, store_ad_days.source, artery.now()
          FROM given g
        ON CONFLICT ON CONSTRAINT ad_day_pkey DO UPDATE
           SET impressions = excluded.impressions, clicks = excluded.clicks, spend = excluded.spend,
               source = excluded.source, updated_at = excluded.updated_at
    )
    UPDATE artery.ad_state s
       SET impressions = s.impressions + f.impressions, clicks = s.clicks + f.clicks, spend = s.spend + f.spend,
           updated_at = artery.now()
      FROM difference f
     WHERE s.tenant_id = store_ad_days.tenant_id AND s.ad_id = f.ad_id;

    -- What feedback told between these days may be counted here now.
    PERFORM artery.settle_feedback(store_ad_days.tenant_id, a.ad_id)
      FROM (SELECT DISTINCT d.ad_id FROM jsonb_to_recordset(days) d(ad_id text)) a
     WHERE EXISTS (SELECT FROM artery.ad_feedback f
                    WHERE f.tenant_id = store_ad_days.tenant_id AND f.ad_id = a.ad_id);
END
$$;
COMMENT ON FUNCTION artery.store_ad_days(text, jsonb, text) IS
'Upsert facts of days, [{"ad_id", "day", "impressions", "clicks", "spend"}], from source reported or insights, and move the totals by the difference. Values are checked by the caller.';

CREATE OR REPLACE FUNCTION artery.settle_feedback(tenant_id text, ad_id text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_zone text;
BEGIN
    SELECT coalesce(t.settings ->> 'time_zone', 'UTC') INTO v_zone
      FROM artery.tenant t WHERE t.tenant_id = settle_feedback.tenant_id;
    PERFORM FROM artery.ad_state s
      WHERE s.tenant_id = settle_feedback.tenant_id AND s.ad_id = settle_feedback.ad_id FOR UPDATE;

    WITH told AS (
        -- the last totals told on each day; a NULL told nothing
        SELECT (f.as_of AT TIME ZONE v_zone)::date AS day,
               (array_agg(f.impressions ORDER BY f.as_of DESC) FILTER (WHERE f.impressions IS NOT NULL))[1] AS impressions,
               (array_agg(f.clicks ORDER BY f.as_of DESC) FILTER (WHERE f.clicks IS NOT NULL))[1] AS clicks,
               (array_agg(f.spend ORDER BY f.as_of DESC))[1] AS spend,
               (array_agg(f.pipeline_value ORDER BY f.as_of DESC))[1] AS pipeline_value,
               (array_agg(f.cash_revenue ORDER BY f.as_of DESC) FILTER (WHERE f.cash_revenue IS NOT NULL))[1] AS cash_revenue
          FROM artery.ad_feedback f
         WHERE f.tenant_id = settle_feedback.tenant_id AND f.ad_id = settle_feedback.ad_id
         GROUP BY 1
    ), corrected AS (
        -- counts only grow: a smaller total told later corrects the days before
        SELECT t.day, t.pipeline_value, t.cash_revenue, count(t.cash_revenue) OVER (ORDER BY t.day) AS cash_told,
               CASE WHEN t.impressions IS NOT NULL THEN min(t.impressions) OVER later END AS impressions,
               CASE WHEN t.clicks IS NOT NULL THEN min(t.clicks) OVER later END AS clicks,
               min(t.spend) OVER later AS spend
          FROM told t
        WINDOW later AS (ORDER BY t.day ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
    ), levels AS (
        -- where nothing was told, the level before holds
        SELECT c.day, lag(c.day) OVER (ORDER BY c.day) AS day_before,
               coalesce(max(c.impressions) OVER (ORDER BY c.day), 0) AS impressions,
               coalesce(max(c.clicks) OVER (ORDER BY c.day), 0) AS clicks,
               c.spend, c.pipeline_value,
               coalesce(max(c.cash_revenue) OVER (PARTITION BY c.cash_told), 0) AS cash_revenue
          FROM corrected c
    ), facts AS (
        -- the increment, less what was reported of the days between
        SELECT l.day,
               greatest(0, l.impressions - lag(l.impressions, 1, 0::bigint) OVER days - r.impressions) AS impressions,
               greatest(0, l.clicks - lag(l.clicks, 1, 0::bigint) OVER days - r.clicks) AS clicks,
               greatest(0, l.spend - lag(l.spend, 1, 0::numeric) OVER days - r.spend) AS spend,
               l.pipeline_value - lag(l.pipeline_value, 1, 0::numeric) OVER days AS pipeline_value,
               l.cash_revenue - lag(l.cash_revenue, 1, 0::numeric) OVER days AS cash_revenue
          FROM levels l
          CROSS JOIN LATERAL (
              SELECT coalesce(sum(d.impressions), 0)::bigint AS impressions, coalesce(sum(d.clicks), 0)::bigint AS clicks,
                     coalesce(sum(d.spend), 0) AS spend
                FROM artery.ad_day d
               WHERE d.tenant_id = settle_feedback.tenant_id AND d.ad_id = settle_feedback.ad_id
                 AND d.source <> 'feedback' AND d.day < l.day AND (l.day_before IS NULL OR d.day > l.day_before)) r
        WINDOW days AS (ORDER BY l.day)
    ), moved AS (
        -- days whose feedback went elsewhere, as after a change of time zone
        UPDATE artery.ad_day d
           SET pipeline_value = 0, cash_revenue = 0, updated_at = artery.now(),
               impressions = CASE WHEN d.source = 'feedback' THEN 0 ELSE d.impressions END,
               clicks = CASE WHEN d.source = 'feedback' THEN 0 ELSE d.clicks END,
               spend = CASE WHEN d.source = 'feedback' THEN 0 ELSE d.spend END
         WHERE d.tenant_id = settle_feedback.tenant_id AND d.ad_id = settle_feedback.ad_id
           AND (d.source = 'feedback' OR d.pipeline_value <> 0 OR d.cash_revenue <> 0)
           AND d.day NOT IN (SELECT f.day FROM facts f)
    )
    INSERT INTO artery.ad_day AS d (tenant_id, ad_id, day, impressions, clicks, spend, pipeline_value, cash_revenue,
                                    source, updated_at)
    SELECT settle_feedback.tenant_id, settle_feedback.ad_id, f.day, f.impressions, f.clicks, f.spend,
           f.pipeline_value, f.cash_revenue, 'feedback', artery.now()
      FROM facts f
    ON CONFLICT ON CONSTRAINT ad_day_pkey DO UPDATE
       SET impressions = CASE WHEN d.source = 'feedback' THEN excluded.impressions ELSE d.impressions END,
           clicks = CASE WHEN d.source = 'feedback' THEN excluded.clicks ELSE d.clicks END,
           spend = CASE WHEN d.source = 'feedback' THEN excluded.spend ELSE d.spend END,
           pipeline_value = excluded.pipeline_value, cash_revenue = excluded.cash_revenue,
           updated_at = excluded.updated_at
     WHERE (d.pipeline_value, d.cash_revenue) <> (excluded.pipeline_value, excluded.cash_revenue)
        OR d.source = 'feedback'
           AND (d.impressions, d.clicks, d.spend) <> (excluded.impressions, excluded.clicks, excluded.spend);
    PERFORM artery.sum_ad_days(tenant_id, ad_id);
END
$$;
COMMENT ON FUNCTION artery.settle_feedback(text, text) IS
'Turn the totals told by record_feedback into daily facts, from the beginning: each increment counts on its day unless that day was reported, and nothing reported between is counted again.';

CREATE OR REPLACE FUNCTION artery.sum_ad_days(tenant_id text, ad_id text)
RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE artery.ad_state s
       SET impressions = d.impressions, clicks = d.clicks, spend = d.spend, pipeline_value = d.pipeline_value,
           cash_revenue = d.cash_revenue, updated_at = artery.now()
      FROM (SELECT coalesce(sum(f.impressions), 0) AS impressions, coalesce(sum(f.clicks), 0) AS clicks,
                   coalesce(sum(f.spend), 0) AS spend, coalesce(sum(f.pipeline_value), 0) AS pipeline_value,
                   coalesce(sum(f.cash_revenue), 0) AS cash_revenue
              FROM artery.ad_day f
             WHERE f.tenant_id = sum_ad_days.tenant_id AND f.ad_id = sum_ad_days.ad_id) d
     WHERE s.tenant_id = sum_ad_days.tenant_id AND s.ad_id = sum_ad_days.ad_id
$$;
COMMENT ON FUNCTION artery.sum_ad_days(text, text) IS 'Make an ad''s totals the sum of its days.';

CREATE OR REPLACE FUNCTION artery.record_ad_day(
    tenant_id text, ad_id text, day date, impressions bigint, clicks bigint, spend numeric)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_state   text;
    v_message text;
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    SELECT p.state, p.message INTO v_state, v_message
      FROM artery.ad_day_problem(tenant_id, ad_id, day, impressions, clicks, spend) p;
    IF v_state IS NOT NULL THEN
        RAISE EXCEPTION '%', v_message USING ERRCODE = v_state,
            HINT = 'Give the totals of that day so far: whole counts, and the spend in the account''s currency.';
    END IF;
    PERFORM artery.store_ad_days(tenant_id, jsonb_build_array(jsonb_build_object(
        'ad_id', ad_id, 'day', day, 'impressions', impressions, 'clicks', clicks, 'spend', spend)), 'reported');
END
$$;
COMMENT ON FUNCTION artery.record_ad_day(text, text, date, bigint, bigint, numeric) IS
'Record what an ad did on a day of the ad account so far; the same day again replaces. An ad that is not registered becomes known.';

CREATE OR REPLACE FUNCTION artery.record_ad_days(tenant_id text, days jsonb)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_days jsonb;
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    IF days IS NULL OR jsonb_typeof(days) <> 'array' THEN
        RAISE EXCEPTION 'days must be a JSON array'
            USING ERRCODE = '22023',
                  HINT = 'Give [{"ad_id": "a", "day": "2026-01-31", "impressions": 1000, "clicks": 10, "spend": 5.50}, ...].';
    END IF;
    SELECT coalesce(jsonb_agg(artery.read_ad_day(record_ad_days.tenant_id, e.element) ORDER BY e.place), '[]') INTO v_days
      FROM jsonb_array_elements(days) WITH ORDINALITY e(element, place);
    PERFORM artery.store_ad_days(tenant_id, jsonb_path_query_array(v_days, '$[*] ? (@.status == "stored")'), 'reported');
    RETURN (SELECT coalesce(jsonb_agg(e.element - ARRAY['impressions', 'clicks', 'spend'] ORDER BY e.place), '[]')
              FROM jsonb_array_elements(v_days) WITH ORDINALITY e(element, place));
END
$$;
COMMENT ON FUNCTION artery.record_ad_days(text, jsonb) IS
'record_ad_day for an array of objects with its arguments as keys; answers an array with one result per element. An element that fails has status "error" and leaves the others standing.';

CREATE OR REPLACE FUNCTION artery.read_ad_day(tenant_id text, element jsonb)
RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_day         date;
    v_impressions bigint;
    v_clicks      bigint;
    v_spend       numeric;
    v_state       text;
    v_message     text;
BEGIN
    BEGIN
        v_day := element ->> 'day';
        v_impressions := element ->> 'impressions';
        v_clicks := element ->> 'clicks';
        v_spend := element ->> 'spend';
        SELECT p.state, p.message INTO v_state, v_message
          FROM artery.ad_day_problem(tenant_id, element ->> 'ad_id', v_day, v_impressions, v_clicks, v_spend) p;
    EXCEPTION
        WHEN data_exception THEN
            v_state := SQLSTATE;
            v_message := SQLERRM;
    END;
    IF v_state IS NOT NULL THEN
        RETURN jsonb_strip_nulls(jsonb_build_object('status', 'error', 'ad_id', left(element ->> 'ad_id', 256), 'day', v_day,
                                                    'sqlstate', v_state, 'message', v_message));
    END IF;
    RETURN jsonb_build_object('status', 'stored', 'ad_id', element ->> 'ad_id', 'day', v_day, 'impressions', v_impressions,
                              'clicks', v_clicks, 'spend', v_spend);
END
$$;
COMMENT ON FUNCTION artery.read_ad_day(text, jsonb) IS
'One element of record_ad_days, read and checked: its facts with status stored, or status error with the reason.';

CREATE OR REPLACE FUNCTION artery.record_feedback(
    tenant_id text, ad_id text, actual_pipeline_value numeric, actual_spend numeric, impressions bigint DEFAULT NULL,
    clicks bigint DEFAULT NULL, cash_revenue numeric DEFAULT NULL, as_of timestamptz DEFAULT artery.now(),
    OUT actual_roas float8, OUT posterior_alpha float8, OUT posterior_beta float8, OUT posterior_mean float8,
    OUT posterior_low float8, OUT posterior_high float8)
RETURNS record
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    PERFORM artery.check_id(ad_id, 'ad_id'), artery.check_amount(actual_pipeline_value, 'actual_pipeline_value'),
            artery.check_amount(actual_spend, 'actual_spend'), artery.check_count(coalesce(impressions, 0), 'impressions'),
            artery.check_count(coalesce(clicks, 0), 'clicks'), artery.check_amount(coalesce(cash_revenue, 0), 'cash_revenue'),
            artery.check_moment(as_of, 'as_of');

    INSERT INTO artery.ad_state AS s (tenant_id, ad_id, first_seen, updated_at)
    VALUES (record_feedback.tenant_id, record_feedback.ad_id, record_feedback.as_of, artery.now())
    ON CONFLICT ON CONSTRAINT ad_state_pkey DO UPDATE SET updated_at = excluded.updated_at;
    INSERT INTO artery.ad_feedback AS f (tenant_id, ad_id, as_of, impressions, clicks, spend, pipeline_value, cash_revenue,
                                         recorded_at)
    VALUES (record_feedback.tenant_id, record_feedback.ad_id, record_feedback.as_of, record_feedback.impressions,
            record_feedback.clicks, actual_spend, actual_pipeline_value, record_feedback.cash_revenue, artery.now())
    ON CONFLICT ON CONSTRAINT ad_feedback_pkey DO UPDATE
       SET impressions = coalesce(excluded.impressions, f.impressions), clicks = coalesce(excluded.clicks, f.clicks),
           spend = excluded.spend, pipeline_value = excluded.pipeline_value,
           cash_revenue = coalesce(excluded.cash_revenue, f.cash_revenue), recorded_at = excluded.recorded_at;
    PERFORM artery.settle_feedback(tenant_id, ad_id);

    actual_roas := actual_pipeline_value / greatest(actual_spend, 0.01);
    SELECT p.alpha, p.beta, p.mean, p.low, p.high
      INTO posterior_alpha, posterior_beta, posterior_mean, posterior_low, posterior_high
      FROM artery.ad_posterior(record_feedback.tenant_id, record_feedback.ad_id, record_feedback.as_of) p;
END
$$;
COMMENT ON FUNCTION artery.record_feedback(text, text, numeric, numeric, bigint, bigint, numeric, timestamptz) IS
'Take in an ad''s totals to date as seen at as_of: the increment since the totals before becomes that day''s facts unless record_ad_day gave them. Returns the ROAS told and what the tenant''s model believes of the ad after it: of delayed, the value per unit of money (posterior_mean, and its 80 percent interval from posterior_low to posterior_high); of blended, the Beta distribution of its score (alpha, beta, mean).';
