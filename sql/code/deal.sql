-- deal: stage changes of any CRM, and what an ad's deals are worth

CREATE OR REPLACE FUNCTION artery.record_stage(
    tenant_id text, deal_id text, stage text, occurred_at timestamptz DEFAULT artery.now(),
    deal_value numeric DEFAULT NULL, crm_contact_id text DEFAULT NULL, event_id text DEFAULT NULL)
RETURNS jsonb
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'artery_record_stage';
COMMENT ON FUNCTION artery.record_stage(text, text, text, timestamptz, numeric, text, text) IS
'Record that a deal entered a stage; answers like a webhook. The same event again (event_id, or else deal, stage and time) changes nothing and answers "duplicate". Late events are put in their place. deal_value is the real value in the account''s currency, as far as known.';

CREATE OR REPLACE FUNCTION artery.record_stages(tenant_id text, stages jsonb)
RETURNS jsonb
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'artery_record_stages';
COMMENT ON FUNCTION artery.record_stages(text, jsonb) IS
'record_stage for an array of objects with its arguments as keys; answers an array with one result per element. An element that fails has status "error" and leaves the others standing.';

CREATE OR REPLACE FUNCTION artery.require_ad(tenant_id text, ad_id text)
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_known text;
BEGIN
    IF EXISTS (SELECT FROM artery.ad_state s
                WHERE s.tenant_id = require_ad.tenant_id AND s.ad_id = require_ad.ad_id)
       OR EXISTS (SELECT FROM artery.ad_day d
                   WHERE d.tenant_id = require_ad.tenant_id AND d.ad_id = require_ad.ad_id)
       OR EXISTS (SELECT FROM artery.deal d
                   WHERE d.tenant_id = require_ad.tenant_id AND d.ad_id = require_ad.ad_id)
       OR EXISTS (SELECT FROM artery.conversion_tracking c
                   WHERE c.tenant_id = require_ad.tenant_id AND c.ad_id = require_ad.ad_id) THEN
        RETURN;
    END IF;
    -- Alone and last: no index leads from an ad to its clicks.
    IF EXISTS (SELECT FROM artery.click_tracking k WHERE k.tenant_id = require_ad.tenant_id AND k.ad_id = require_ad.ad_id) THEN
        RETURN;
    END IF;
    SELECT string_agg(k.ad_id, ', ' ORDER BY k.ad_id) INTO v_known
      FROM (SELECT s.ad_id FROM artery.ad_state s WHERE s.tenant_id = require_ad.tenant_id ORDER BY s.ad_id LIMIT 10) k;
    RAISE EXCEPTION 'unknown ad "%"', left(ad_id, 256)
        USING ERRCODE = '22023',
              DETAIL = CASE WHEN v_known IS NULL THEN 'The tenant has no ads yet.'
                            ELSE format('Known ads, the first ten at most: %s.', v_known) END,
              HINT = 'artery.register_ad() makes an ad known.';
END
$$;
COMMENT ON FUNCTION artery.require_ad(text, text) IS 'Error 22023 that names known ads if the ad is neither registered nor has any data, clicks included.';

CREATE OR REPLACE FUNCTION artery.ad_spend(tenant_id text, ad_id text, since timestamptz, until timestamptz)
RETURNS numeric
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_zone  text;
    v_spend numeric;
BEGIN
    IF since IS NULL AND until IS NULL THEN
        SELECT s.spend INTO v_spend FROM artery.ad_state s
         WHERE s.tenant_id = ad_spend.tenant_id AND s.ad_id = ad_spend.ad_id;
        IF FOUND THEN
            RETURN v_spend;
        END IF;
    END IF;
    SELECT coalesce(t.settings ->> 'time_zone', 'UTC') INTO v_zone
      FROM artery.tenant t WHERE t.tenant_id = ad_spend.tenant_id;
    -- A day of the account counts if any of it lies in [since, until).
    SELECT sum(d.spend) INTO v_spend
      FROM artery.ad_day d
     WHERE d.tenant_id = ad_spend.tenant_id AND d.ad_id = ad_spend.ad_id
       AND (since IS NULL OR d.day >= (since AT TIME ZONE v_zone)::date)
       AND (until IS NULL OR d.day::timestamp < until AT TIME ZONE v_zone);
    RETURN coalesce(v_spend, 0);
END
$$;
COMMENT ON FUNCTION artery.ad_spend(text, text, timestamptz, timestamptz) IS
'Spend of an ad on the days of [since, until) in the account''s time zone; its total to date without bounds. In the account''s currency.';

CREATE OR REPLACE FUNCTION artery.ad_roas(
    tenant_id text, ad_id text, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
    OUT spend numeric, OUT pipeline_value numeric, OUT cash_revenue numeric, OUT pipeline_roas numeric,
    OUT cash_roas numeric, OUT conversions bigint, OUT avg_confidence double precision)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    IF ad_id IS NULL THEN
        RAISE EXCEPTION 'ad_id must not be null'
            USING ERRCODE = '22004', HINT = 'Give the id that Meta uses.';
    END IF;
    IF since >= until THEN
        RAISE EXCEPTION 'since must be before until'
            USING ERRCODE = '22023', DETAIL = format('They are %s and %s.', since, until),
            HINT = 'What happened at until itself is outside; NULL is no bound.';
    END IF;
    PERFORM artery.require_ad(tenant_id, ad_id);
    spend := artery.ad_spend(tenant_id, ad_id, since, until);

    SELECT coalesce(sum(v.pipeline), 0), coalesce(sum(v.cash), 0), count(*), avg(v.confidence)
      INTO pipeline_value, cash_revenue, conversions, avg_confidence
      FROM (
        SELECT d.stage_value AS pipeline, CASE WHEN d.is_won THEN d.deal_value END AS cash,
               d.attribution_confidence AS confidence
          FROM artery.deal d
         WHERE d.tenant_id = ad_roas.tenant_id AND d.ad_id = ad_roas.ad_id AND d.stage IS NOT NULL
           AND (since IS NULL OR d.first_event_at >= since) AND (until IS NULL OR d.first_event_at < until)
        UNION ALL
        -- A conversion of a deal is counted as the deal.
        SELECT c.conversion_value, CASE WHEN NOT c.is_synthetic THEN c.conversion_value END,
               c.attribution_confidence
          FROM artery.conversion_tracking c
         WHERE c.tenant_id = ad_roas.tenant_id AND c.ad_id = ad_roas.ad_id AND c.success
           AND c.conversion_id NOT LIKE 'deal:%'
           AND NOT EXISTS (SELECT FROM artery.deal d
                            WHERE d.tenant_id = c.tenant_id AND d.deal_id = c.crm_deal_id AND d.stage IS NOT NULL)
           AND (since IS NULL OR c.conversion_timestamp >= since)
           AND (until IS NULL OR c.conversion_timestamp < until)
      ) v;
    pipeline_roas := pipeline_value / nullif(spend, 0);
    cash_roas := cash_revenue / nullif(spend, 0);
END
$$;
COMMENT ON FUNCTION artery.ad_roas(text, text, timestamptz, timestamptz) IS
'What an ad cost and brought, in the account''s currency. pipeline_value: present stage values of its deals, won ones included, and its other conversions; cash_revenue: real values of won deals and real conversions. With bounds: deals that began, and conversions, in [since, until). roas is NULL without spend.';

CREATE OR REPLACE FUNCTION artery.correct_increments(tenant_id text, deal_id text DEFAULT NULL)
RETURNS TABLE (deals bigint, corrected bigint)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_deal text;
BEGIN
    SELECT count(*) INTO deals FROM artery.deal d
     WHERE d.tenant_id = correct_increments.tenant_id
       AND d.deal_id = coalesce(correct_increments.deal_id, d.deal_id);
    corrected := 0;
    FOR v_deal IN
        SELECT d.deal_id
          FROM artery.deal d
          JOIN artery.deal_stage_event e ON e.tenant_id = d.tenant_id AND e.deal_id = d.deal_id
         WHERE d.tenant_id = correct_increments.tenant_id
           AND d.deal_id = coalesce(correct_increments.deal_id, d.deal_id)
         GROUP BY d.deal_id, d.stage_value
        HAVING sum(e.increment) <> d.stage_value
            OR (array_agg(e.stage_value ORDER BY e.occurred_at DESC, e.event_seq DESC))[1] <> d.stage_value
    LOOP
        -- Whoever records a stage of the deal holds this lock too.
        PERFORM FROM artery.deal d
          WHERE d.tenant_id = correct_increments.tenant_id AND d.deal_id = v_deal FOR UPDATE;
        UPDATE artery.deal_stage_event e SET increment = w.increment
          FROM (SELECT x.occurred_at, x.event_seq,
                       x.stage_value - lag(x.stage_value, 1, 0) OVER (ORDER BY x.occurred_at, x.event_seq) AS increment
                  FROM artery.deal_stage_event x
                 WHERE x.tenant_id = correct_increments.tenant_id AND x.deal_id = v_deal) w
         WHERE e.tenant_id = correct_increments.tenant_id AND e.deal_id = v_deal
           AND e.occurred_at = w.occurred_at AND e.event_seq = w.event_seq AND e.increment <> w.increment;
        UPDATE artery.deal d SET updated_at = artery.now(), stage_value = (
               SELECT sum(e.increment) FROM artery.deal_stage_event e
                WHERE e.tenant_id = correct_increments.tenant_id AND e.deal_id = v_deal)
         WHERE d.tenant_id = correct_increments.tenant_id AND d.deal_id = v_deal;
        corrected := corrected + 1;
    END LOOP;
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION artery.correct_increments(text, text) IS
'Make the increments of the tenant''s deals (or of one) the differences of the values after each event, and their sum the value of the present stage; returns how many deals were looked at and how many were wrong.';

CREATE OR REPLACE VIEW artery.v_synthetic_revenue_summary WITH (security_barrier) AS
SELECT d.tenant_id, d.stage AS stage_name, count(*) AS deals,
       count(*) FILTER (WHERE d.attribution_method <> 'unattributed') AS attributed_deals,
       sum(d.stage_value) AS synthetic_value,
       sum(d.stage_value * d.stage_confidence) AS weighted_value,
       coalesce(sum(d.deal_value) FILTER (WHERE d.is_won), 0) AS cash_revenue,
       avg(d.stage_confidence) AS avg_confidence, max(d.stage_since) AS last_entered_at
  FROM artery.deal d
 WHERE d.stage IS NOT NULL AND artery.tenant_visible(d.tenant_id)
 GROUP BY d.tenant_id, d.stage;
COMMENT ON VIEW artery.v_synthetic_revenue_summary IS
'Deals per present stage with their value, the value weighted by the stage''s confidence, and the real value of won ones; in the account''s currency.';
