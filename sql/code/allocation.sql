-- allocation: scores, draws, and the budgets decided by them

CREATE OR REPLACE FUNCTION artery.ctr_weight(age_hours float8)
RETURNS float8
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_ctr_weight';
COMMENT ON FUNCTION artery.ctr_weight(float8) IS
'Weight of the click-through rate in the score of an ad of this age: 1 while younger than 6 hours, 0.7 at 24, 0.3 at 72, never below 0.1.';

CREATE OR REPLACE FUNCTION artery.blended_score(
    impressions bigint, clicks bigint, spend numeric, pipeline_value numeric, age_hours float8,
    dna_score float8 DEFAULT 0,
    OUT ctr float8, OUT pipeline_roas float8, OUT ctr_weight float8, OUT roas_weight float8,
    OUT normalized_ctr float8, OUT normalized_roas float8, OUT blended_score float8, OUT decay_factor float8,
    OUT dna_boost float8, OUT final_score float8)
RETURNS record
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_blended_score_sql';
COMMENT ON FUNCTION artery.blended_score(bigint, bigint, numeric, numeric, float8, float8) IS
'Score of an ad by the model `blended`, with its parts: rates against 5 percent and 3.0, weighted by age, times fatigue, times the DNA boost (none for a NULL score).';

CREATE OR REPLACE FUNCTION artery.softmax_allocation(samples float8[], total_budget numeric, temperature float8 DEFAULT 1.0)
RETURNS numeric[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_softmax_allocation';
COMMENT ON FUNCTION artery.softmax_allocation(float8[], numeric, float8) IS
'total_budget split in proportion to exp(sample / temperature); the cents add up exactly (largest remainders).';

CREATE OR REPLACE FUNCTION artery.draw_gamma(shape float8, seed bigint, count integer DEFAULT 1)
RETURNS float8[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_draw_gamma';
COMMENT ON FUNCTION artery.draw_gamma(float8, bigint, integer) IS 'Seeded draws of Gamma(shape, 1), as the sampler makes them.';

CREATE OR REPLACE FUNCTION artery.draw_beta(alpha float8, beta float8, seed bigint, count integer DEFAULT 1)
RETURNS float8[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_draw_beta';
COMMENT ON FUNCTION artery.draw_beta(float8, float8, bigint, integer) IS 'Seeded draws of Beta(alpha, beta), as the sampler makes them.';

CREATE OR REPLACE FUNCTION artery.select_budget(
    ad_states jsonb, total_budget numeric, creative_dna_scores jsonb DEFAULT NULL, seed bigint DEFAULT NULL,
    model text DEFAULT NULL, max_change float8 DEFAULT NULL,
    OUT ad_id text, OUT current_budget numeric, OUT recommended_budget numeric, OUT change_percentage float8,
    OUT confidence float8, OUT reason text, OUT metrics jsonb)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL SAFE ROWS 20
AS 'MODULE_PATHNAME', 'artery_select_budget';
COMMENT ON FUNCTION artery.select_budget(jsonb, numeric, jsonb, bigint, text, float8) IS
'Decide budgets for ads given as [{"ad_id", "impressions", "clicks", "spend", "pipeline_value", "age_hours", ...}]: one row per ad in input order, adding up to total_budget to the cent unless bounds forbid it (then metrics says budget_unallocated). model is blended or delayed; without one, delayed where every state has stages [["lead", 12], ["closed_won", 1]]. Same seed, same answer; reads no table.';

CREATE OR REPLACE FUNCTION artery.select_budget_units(
    ad_states jsonb, total_budget numeric, creative_dna_scores jsonb, seed bigint, model text, max_change float8,
    digits integer,
    OUT ad_id text, OUT current_budget numeric, OUT recommended_budget numeric, OUT change_percentage float8,
    OUT confidence float8, OUT reason text, OUT metrics jsonb)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL SAFE ROWS 20
AS 'MODULE_PATHNAME', 'artery_select_budget';
COMMENT ON FUNCTION artery.select_budget_units(jsonb, numeric, jsonb, bigint, text, float8, integer) IS
'select_budget for a currency with that many decimal places.';

CREATE OR REPLACE FUNCTION artery.select_budget_units(
    ad_states jsonb[], total_budget numeric, creative_dna_scores jsonb, seed bigint, model text, max_change float8,
    digits integer,
    OUT ad_id text, OUT current_budget numeric, OUT recommended_budget numeric, OUT change_percentage float8,
    OUT confidence float8, OUT reason text, OUT metrics jsonb, OUT ad_state jsonb)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL SAFE ROWS 5000
AS 'MODULE_PATHNAME', 'artery_select_budget';
COMMENT ON FUNCTION artery.select_budget_units(jsonb[], numeric, jsonb, bigint, text, float8, integer) IS
'The same for states in an array, which takes less to make of thousands of them; each row with the state it answers.';

CREATE OR REPLACE FUNCTION artery.explain_budget(
    ad_state jsonb, wanted numeric, max_change float8 DEFAULT NULL,
    OUT ad_id text, OUT current_budget numeric, OUT recommended_budget numeric, OUT change_percentage float8,
    OUT confidence float8, OUT reason text, OUT metrics jsonb)
RETURNS SETOF record
LANGUAGE C IMMUTABLE PARALLEL SAFE ROWS 1
AS 'MODULE_PATHNAME', 'artery_explain_budget';
COMMENT ON FUNCTION artery.explain_budget(jsonb, numeric, float8) IS
'What select_budget says of one ad when its share of the total comes to the wanted budget: without chance, for questions of the kind "why this budget".';

CREATE OR REPLACE FUNCTION artery.ad_value(
    tenant_id text, only_ad text DEFAULT NULL,
    OUT ad_id text, OUT pipeline_value numeric, OUT cash_revenue numeric)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    SELECT v.ad_id, sum(v.pipeline_value), sum(v.cash_revenue)
      FROM (SELECT d.ad_id, d.stage_value AS pipeline_value,
                   CASE WHEN d.is_won THEN coalesce(d.deal_value, 0) ELSE 0 END AS cash_revenue
              FROM artery.deal d
             WHERE d.tenant_id = ad_value.tenant_id AND d.ad_id IS NOT NULL AND d.stage IS NOT NULL
               AND (only_ad IS NULL OR d.ad_id = only_ad)
            UNION ALL
            SELECT c.ad_id, coalesce(c.conversion_value, 0),
                   CASE WHEN c.is_synthetic THEN 0 ELSE coalesce(c.conversion_value, 0) END
              FROM artery.conversion_tracking c
             WHERE c.tenant_id = ad_value.tenant_id AND c.ad_id IS NOT NULL AND c.success
               AND (only_ad IS NULL OR c.ad_id = only_ad)
               -- what belongs to a deal is counted as the deal
               AND c.conversion_id NOT LIKE 'deal:%'
               AND NOT EXISTS (SELECT FROM artery.deal d
                                WHERE d.tenant_id = c.tenant_id AND d.deal_id = c.crm_deal_id AND d.stage IS NOT NULL)) v
     GROUP BY v.ad_id;
END
$$;
COMMENT ON FUNCTION artery.ad_value(text, text) IS
'Attributed value per ad: present stage values of its deals (cash: real values of the won ones) and its other conversions.';

CREATE OR REPLACE FUNCTION artery.ad_facts(
    tenant_id text, as_of timestamptz, only_ad text DEFAULT NULL,
    OUT ad_id text, OUT campaign_id text, OUT adset_id text, OUT budget_owner_id text, OUT age_hours float8,
    OUT impressions bigint, OUT clicks bigint, OUT spend numeric, OUT pipeline_value numeric, OUT cash_revenue numeric,
    OUT dna_score float8)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_past boolean := as_of < artery.now();
    v_day  date := artery.account_day(tenant_id, as_of);
BEGIN
    RETURN QUERY
    SELECT s.ad_id, s.campaign_id, s.adset_id,
           coalesce(s.budget_owner_id, a.budget_owner_id, c.budget_owner_id, s.adset_id),
           greatest(extract(epoch FROM ad_facts.as_of - s.first_seen)::float8 / 3600, 0),
           coalesce(p.impressions, s.impressions), coalesce(p.clicks, s.clicks), coalesce(p.spend, s.spend),
           -- attributed or told: two views of the same money, never added up
           greatest(v.pipeline_value, coalesce(p.pipeline_value, s.pipeline_value), 0),
           greatest(v.cash_revenue, coalesce(p.cash_revenue, s.cash_revenue), 0), s.dna_score
      FROM artery.ad_state s
      LEFT JOIN artery.budget_owner a
        ON a.tenant_id = ad_facts.tenant_id AND a.budget_owner_id = s.adset_id AND a.budget IS NOT NULL
      LEFT JOIN artery.budget_owner c
        ON c.tenant_id = ad_facts.tenant_id AND c.budget_owner_id = s.campaign_id AND c.budget IS NOT NULL
      LEFT JOIN artery.ad_value(ad_facts.tenant_id, only_ad) v ON v.ad_id = s.ad_id
      LEFT JOIN LATERAL (
          SELECT coalesce(sum(d.impressions), 0)::bigint AS impressions, coalesce(sum(d.clicks), 0)::bigint AS clicks,
                 coalesce(sum(d.spend), 0) AS spend, coalesce(sum(d.pipeline_value), 0) AS pipeline_value,
                 coalesce(sum(d.cash_revenue), 0) AS cash_revenue
            FROM artery.ad_day d
           WHERE d.tenant_id = ad_facts.tenant_id AND d.ad_id = s.ad_id AND d.day <= v_day
          HAVING v_past) p ON true
     WHERE s.tenant_id = ad_facts.tenant_id AND (only_ad IS NULL OR s.ad_id = only_ad);
END
$$;
COMMENT ON FUNCTION artery.ad_facts(text, timestamptz, text) IS
'What decisions are made on, per ad: totals of the days until as_of, the greater of attributed and told value (as of now), age and budget owner.';

CREATE OR REPLACE FUNCTION artery.decision_model(tenant_id text)
RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM artery.tenant_funnel(decision_model.tenant_id) f WHERE f.stage_value > 0)
                THEN 'delayed' ELSE 'blended' END
$$;
COMMENT ON FUNCTION artery.decision_model(text) IS 'The model that decides a tenant''s budgets: delayed where it has stages of any value, else blended.';

CREATE OR REPLACE FUNCTION artery.model_version(model text)
RETURNS integer
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_model_version';
COMMENT ON FUNCTION artery.model_version(text) IS
'The version of a model''s mathematics in the library that is loaded; allocation_run.model_version says by which one a run was decided.';

CREATE OR REPLACE FUNCTION artery.ad_posterior(
    tenant_id text, ad_id text, as_of timestamptz,
    OUT alpha float8, OUT beta float8, OUT mean float8, OUT low float8, OUT high float8)
RETURNS record
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_peers  constant integer := 200;
    v_direct boolean := artery.effective_settings(tenant_id) ->> 'mode' = 'direct';
    v_states jsonb;
BEGIN
    IF artery.decision_model(tenant_id) = 'blended' THEN
        SELECT (e.metrics ->> 'alpha')::float8, (e.metrics ->> 'beta')::float8 INTO alpha, beta
          FROM artery.allocation_inputs(ad_posterior.tenant_id, ad_posterior.as_of, ad_posterior.ad_id) i
         CROSS JOIN LATERAL artery.explain_budget(i.inputs, 0) e;
        mean := alpha / (alpha + beta);
        RETURN;
    END IF;
    -- As the next decision will see it: among the account's ads as they are now; of a large account, among those
    -- that the last run gave most, as it saw them.
    PERFORM artery.fold_allocation(tenant_id, artery.now(), false);
    IF (SELECT count(*) FROM (SELECT FROM artery.ad_state s WHERE s.tenant_id = ad_posterior.tenant_id LIMIT v_peers + 1) n) <= v_peers THEN
        SELECT jsonb_agg(i.inputs - ARRAY['min_budget', 'max_budget']) INTO v_states
          FROM artery.decision_inputs(ad_posterior.tenant_id, artery.now(), 'delayed', v_direct) i
         WHERE i.ad_id <> ad_posterior.ad_id;
    ELSE
        SELECT jsonb_agg(b.inputs - ARRAY['min_budget', 'max_budget']) INTO v_states
          FROM (SELECT x.inputs FROM artery.budget_recommendation x
                 WHERE x.tenant_id = ad_posterior.tenant_id AND x.ad_id <> ad_posterior.ad_id
                   AND x.run_id = (SELECT max(r.run_id) FROM artery.allocation_run r
                                    WHERE r.tenant_id = ad_posterior.tenant_id AND r.model = 'delayed')
                 ORDER BY x.recommended_budget DESC, x.ad_id LIMIT v_peers) b;
    END IF;
    SELECT (d.metrics ->> 'value_mean')::float8, (d.metrics ->> 'value_low')::float8, (d.metrics ->> 'value_high')::float8
      INTO mean, low, high
      FROM artery.decision_inputs(ad_posterior.tenant_id, artery.now(), 'delayed', v_direct, ad_posterior.ad_id) i
     -- what is believed does not depend on bounds; and those of an owner are known from all its ads only
     CROSS JOIN LATERAL artery.select_budget(coalesce(v_states, '[]') || (i.inputs - ARRAY['min_budget', 'max_budget']), 1,
                                             seed => 0, model => 'delayed') d
     WHERE d.ad_id = ad_posterior.ad_id;
END
$$;
COMMENT ON FUNCTION artery.ad_posterior(text, text, timestamptz) IS
'What is believed of an ad by the tenant''s model: of delayed, the value per unit of money (mean and 80 percent interval, as of now); of blended, the Beta distribution of the ad''s next draw (as of as_of).';

CREATE OR REPLACE FUNCTION artery.judge_ad(spend numeric, roas float8, days_live float8, OUT decision text, OUT reason text)
RETURNS record
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- three digits, or all where these would name a threshold that it only comes near
    v_told numeric := round(roas::numeric, 3);
BEGIN
    IF v_told = 0.5 OR v_told = 3.0 THEN
        v_told := roas::numeric;
    END IF;
    IF roas > 3.0 THEN
        decision := 'scale';
        reason := format('ROAS %sx is above 3.0.', v_told);
    ELSIF days_live < 2 OR spend < 100 THEN
        decision := 'maintain';
        reason := format('Too early to judge: %s days live, %s spent; nothing is stopped before 2 days and 100 spent.',
                         trunc(days_live::numeric, 1), round(spend, 2));
    ELSIF roas < 0.5 AND spend >= 200 THEN
        decision := 'kill';
        reason := format('ROAS %sx is below 0.5 after %s spent.', v_told, round(spend, 2));
    ELSE
        decision := 'maintain';
        reason := format('ROAS %sx after %s spent: neither below 0.5 with 200 spent nor above 3.0.',
                         round(roas::numeric, 3), round(spend, 2));
    END IF;
END
$$;
COMMENT ON FUNCTION artery.judge_ad(numeric, float8, float8) IS
'kill, scale or maintain, by what an ad spent, what it brought for each unit of money, and for how many days it has run; and why.';

CREATE OR REPLACE FUNCTION artery.ad_decision(
    tenant_id text, ad_id text, as_of timestamptz DEFAULT artery.now(),
    OUT decision text, OUT reason text, OUT spend numeric, OUT roas float8, OUT days_live float8)
RETURNS record
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_value  numeric;
    v_direct boolean;
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    PERFORM artery.check_id(ad_id, 'ad_id'), artery.check_moment(as_of, 'as_of');
    v_direct := artery.effective_settings(tenant_id) ->> 'mode' = 'direct';
    SELECT f.spend, CASE WHEN v_direct THEN f.cash_revenue ELSE f.pipeline_value END, f.age_hours / 24
      INTO spend, v_value, days_live
      FROM artery.ad_facts(ad_decision.tenant_id, ad_decision.as_of, ad_decision.ad_id) f;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'unknown ad "%"', ad_id USING ERRCODE = '22023', HINT = 'artery.register_ad() makes an ad known.';
    END IF;
    roas := v_value / greatest(spend, 0.01);

    SELECT j.decision, j.reason INTO decision, reason FROM artery.judge_ad(spend, roas, days_live) j;
END
$$;
COMMENT ON FUNCTION artery.ad_decision(text, text, timestamptz) IS
'kill, scale or maintain an ad: scale above ROAS 3.0; kill below 0.5 after 200 spent, but never before it is 2 days old and spent 100.';

CREATE OR REPLACE FUNCTION artery.adopt_ads(tenant_id text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO artery.ad_state AS s (tenant_id, ad_id, campaign_id, adset_id, first_seen, updated_at)
    SELECT adopt_ads.tenant_id, v.ad_id, e.campaign_id, e.adset_id, coalesce(e.first_seen, artery.now()), artery.now()
      -- those that artery.ad_value() tells of, without adding up what all others are worth
      FROM (SELECT d.ad_id FROM artery.deal d
              LEFT JOIN artery.ad_state k ON k.tenant_id = adopt_ads.tenant_id AND k.ad_id = d.ad_id
             WHERE d.tenant_id = adopt_ads.tenant_id AND d.ad_id IS NOT NULL AND d.stage IS NOT NULL AND k.campaign_id IS NULL
            UNION
            SELECT c.ad_id FROM artery.conversion_tracking c
              LEFT JOIN artery.ad_state k ON k.tenant_id = adopt_ads.tenant_id AND k.ad_id = c.ad_id
             WHERE c.tenant_id = adopt_ads.tenant_id AND c.ad_id IS NOT NULL AND c.success AND k.campaign_id IS NULL
               AND c.conversion_id NOT LIKE 'deal:%'
               AND NOT EXISTS (SELECT FROM artery.deal d
                                WHERE d.tenant_id = c.tenant_id AND d.deal_id = c.crm_deal_id AND d.stage IS NOT NULL)) v
      CROSS JOIN LATERAL (
          SELECT max(x.campaign_id) AS campaign_id, max(x.adset_id) AS adset_id, min(x.seen_at) AS first_seen
            FROM (SELECT d.campaign_id, d.adset_id, d.first_event_at AS seen_at FROM artery.deal d
                   WHERE d.tenant_id = adopt_ads.tenant_id AND d.ad_id = v.ad_id
                  UNION ALL
                  SELECT c.campaign_id, c.adset_id, c.conversion_timestamp FROM artery.conversion_tracking c
                   WHERE c.tenant_id = adopt_ads.tenant_id AND c.ad_id = v.ad_id) x) e
     ORDER BY v.ad_id
    ON CONFLICT ON CONSTRAINT ad_state_pkey DO UPDATE
       SET campaign_id = excluded.campaign_id, adset_id = coalesce(s.adset_id, excluded.adset_id),
           updated_at = excluded.updated_at
     WHERE s.campaign_id IS NULL AND excluded.campaign_id IS NOT NULL;
END
$$;
COMMENT ON FUNCTION artery.adopt_ads(text) IS
'Make ads known that earned something though nobody registered them, with the campaign their clicks named.';

CREATE OR REPLACE FUNCTION artery.allocation_inputs(
    tenant_id text, as_of timestamptz, only_ad text DEFAULT NULL,
    OUT ad_id text, OUT campaign_id text, OUT budget_owner_id text, OUT inputs jsonb)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_settings jsonb := artery.effective_settings(tenant_id);
    v_digits   integer := artery.currency_digits(v_settings ->> 'currency');
    v_direct   boolean := v_settings ->> 'mode' = 'direct';
    v_explore  numeric := trim_scale((v_settings ->> 'exploration_percent')::numeric / 100);
    v_new      float8 := (v_settings ->> 'exploration_days')::float8 * 24;
    v_unit     numeric := 10::numeric ^ v_digits;
    v_minimum  numeric := v_settings ->> 'min_budget';
    v_maximum  numeric := v_settings ->> 'max_budget';
    v_step     numeric := v_settings ->> 'max_step_percent';
    v_least    numeric := artery.account_least(tenant_id, v_settings);
    v_most     constant bigint := 1e15;
BEGIN
    RETURN QUERY
    WITH facts AS (
        SELECT f.*, b.budget AS owner_budget, o.status, count(*) OVER owner AS siblings, sum(f.spend) OVER owner AS owner_spend,
               sum(f.spend / greatest(f.age_hours / 24, 1)::numeric) OVER owner AS owner_pace,
               CASE WHEN f.budget_owner_id IS NULL THEN f.age_hours < v_new OR f.spend < 100
                    ELSE bool_and(f.age_hours < v_new OR f.spend < 100) OVER owner END AS is_new
          FROM artery.ad_facts(allocation_inputs.tenant_id, allocation_inputs.as_of, only_ad) f
          JOIN artery.ad_state s
            ON s.tenant_id = allocation_inputs.tenant_id AND s.ad_id = f.ad_id
          LEFT JOIN artery.budget_owner o
            ON o.tenant_id = allocation_inputs.tenant_id AND o.budget_owner_id = f.budget_owner_id
          LEFT JOIN LATERAL (
              SELECT h.budget FROM artery.budget_observation h
               WHERE h.tenant_id = allocation_inputs.tenant_id AND h.budget_owner_id = f.budget_owner_id
                 AND h.observed_at <= allocation_inputs.as_of
               ORDER BY h.observed_at DESC, h.observation_seq DESC LIMIT 1) b ON true
         WHERE only_ad IS NOT NULL OR s.effective_status IS NULL
            OR s.effective_status <> ALL (ARRAY['PAUSED', 'ADSET_PAUSED', 'CAMPAIGN_PAUSED', 'ARCHIVED', 'DELETED', 'DISAPPROVED'])
        WINDOW owner AS (PARTITION BY f.budget_owner_id)
    )
    SELECT f.ad_id, f.campaign_id, f.budget_owner_id,
           artery.make_object(
               -- no more than a state may say: one absurd fact must not stop the decisions on all other ads
               'ad_id', f.ad_id, 'impressions', least(f.impressions, v_most), 'clicks', least(f.clicks, v_most), 'spend', least(f.spend, 1e12),
               'pipeline_value', least(CASE WHEN v_direct THEN f.cash_revenue ELSE f.pipeline_value END, 1e12),
               'cash_revenue', least(f.cash_revenue, 1e12), 'age_hours', f.age_hours, 'dna_score', f.dna_score,
               -- an owner's budget as its ads share it: by what they spent
               'current_budget', CASE WHEN f.owner_spend > 0 THEN round(f.owner_budget * f.spend / f.owner_spend, v_digits)
                                      ELSE round(f.owner_budget / f.siblings, v_digits) END,
               'budget_owner_id', f.budget_owner_id, 'exploration', CASE WHEN v_explore > 0 AND f.is_new THEN v_explore END,
               -- the bounds are the owner's
               'min_budget', b.low, 'max_budget', b.high)
      FROM facts f
      LEFT JOIN artery.owner_bounds(allocation_inputs.tenant_id, v_settings) k ON k.budget_owner_id = f.budget_owner_id
      LEFT JOIN LATERAL (
         SELECT l.budget, CASE WHEN l.low IS NOT NULL
                               -- of bounds so near that no amount is between them the upper one
                               THEN least(ceil(l.low * v_unit) / v_unit, floor(l.high * v_unit) / v_unit) END AS low,
                floor(l.high * v_unit) / v_unit AS high,
                ceil(l.budget * l.down * v_unit) / v_unit AS least, floor(l.budget * l.up * v_unit) / v_unit AS most
           FROM (SELECT coalesce(f.owner_budget, f.owner_pace) AS budget,
                        CASE WHEN k.budget_owner_id IS NOT NULL THEN k.min_budget ELSE greatest(v_minimum, v_least) END AS low,
                        coalesce(k.max_budget, v_maximum) AS high, 1 + coalesce(k.max_step_percent::numeric, v_step) / 100 AS up,
                        CASE WHEN coalesce(k.max_step_percent::numeric, v_step) IS NOT NULL
                             THEN greatest(1 - coalesce(k.max_step_percent::numeric, v_step) / 100, 0) END AS down
                  WHERE f.budget_owner_id IS NOT NULL) l) s ON true
     CROSS JOIN LATERAL (
         -- held is both; the largest step comes before a bound it cannot reach
         SELECT trim_scale(CASE WHEN k.held IS NOT NULL THEN round(s.budget, v_digits)
                                ELSE least(greatest(s.low, s.least), coalesce(s.most, greatest(s.low, s.least))) END) AS low,
                trim_scale(CASE WHEN k.held IS NOT NULL THEN round(s.budget, v_digits)
                                ELSE greatest(least(s.high, s.most), coalesce(s.least, least(s.high, s.most))) END) AS high) b
     WHERE only_ad IS NOT NULL OR f.status IS NULL OR f.status <> ALL (ARRAY['PAUSED', 'ARCHIVED', 'DELETED']);
END
$$;
COMMENT ON FUNCTION artery.allocation_inputs(text, timestamptz, text) IS
'The state of each ad as select_budget takes it, from the tables: what a run decides on. Ads that are paused or of a paused owner take no part.';

CREATE OR REPLACE FUNCTION artery.lock_allocation(tenant_id text)
RETURNS boolean
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT pg_try_advisory_xact_lock(hashtext('artery allocation'), hashtext(lock_allocation.tenant_id))
$$;
COMMENT ON FUNCTION artery.lock_allocation(text) IS
'Take the lock under which a tenant''s allocation runs, until the end of the transaction; false if a run is under way.';

CREATE OR REPLACE FUNCTION artery.allocate_budget(
    tenant_id text, total_budget numeric DEFAULT NULL, seed bigint DEFAULT NULL, as_of timestamptz DEFAULT artery.now(),
    propose boolean DEFAULT true,
    OUT ad_id text, OUT current_budget numeric, OUT recommended_budget numeric, OUT change_percentage float8,
    OUT confidence float8, OUT reason text, OUT metrics jsonb, OUT budget_owner_id text)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- compiling takes longer than the work, for any number of ads one has
SET jit = off
-- states and rows of thousands of ads, a few kilobytes each, pass through here more than once
SET work_mem = '64MB'
AS $$
DECLARE
    v_started  timestamptz := clock_timestamp();
    v_settings jsonb;
    v_total    numeric;
    v_seed     bigint;
    v_run_id   bigint;
    v_proposed integer := 0;
    v_comes_to numeric;
    v_mode     text := 'propose';
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    PERFORM artery.check_moment(as_of, 'as_of');
    v_settings := artery.effective_settings(tenant_id);
    v_total := coalesce(total_budget, (v_settings ->> 'daily_budget')::numeric);
    IF v_total IS NULL THEN
        RAISE EXCEPTION 'tenant "%" has no budget to allocate', tenant_id
            USING ERRCODE = '22023', HINT = 'Give total_budget, or set daily_budget with artery.configure_tenant().';
    END IF;
    PERFORM artery.check_amount(v_total, 'total_budget');
    -- what is split is never more than the total
    v_total := least(v_total, trunc(v_total, artery.currency_digits(v_settings ->> 'currency')));
    IF NOT artery.lock_allocation(tenant_id) THEN
        RAISE NOTICE 'an allocation of tenant "%" is already running', tenant_id;
        RETURN;
    END IF;

    PERFORM artery.adopt_ads(tenant_id);
    IF as_of <= artery.now() THEN
        PERFORM artery.fold_allocation(tenant_id, as_of);
    END IF;
    v_seed := coalesce(seed, artery.fresh_seed());
    v_run_id := artery.store_allocation(tenant_id, v_total, v_seed, as_of, v_settings);
    IF v_run_id IS NULL THEN
        RAISE NOTICE 'tenant "%" has no ads to allocate to', tenant_id;
        RETURN;
    END IF;
    IF NOT coalesce(propose, false) THEN
        v_mode := 'ask';
    ELSIF (v_settings ->> 'shadow')::boolean THEN
        v_mode := 'shadow';
        PERFORM artery.shadow_allocation(tenant_id, v_run_id);
    ELSE
        SELECT p.proposed, p.proposed_total INTO v_proposed, v_comes_to FROM artery.propose_allocation(tenant_id, v_run_id) p;
    END IF;
    UPDATE artery.allocation_run r
       SET mode = v_mode, proposed = v_proposed, proposed_total = v_comes_to, duration_ms = extract(epoch FROM clock_timestamp() - v_started) * 1000
     WHERE r.tenant_id = allocate_budget.tenant_id AND r.run_id = v_run_id;

    RETURN QUERY
    SELECT b.ad_id, b.current_budget, b.recommended_budget, b.change_percentage, b.confidence, b.reason, b.metrics,
           b.budget_owner_id
      FROM artery.budget_recommendation b
     WHERE b.tenant_id = allocate_budget.tenant_id AND b.run_id = v_run_id
     ORDER BY b.ad_id;
END
$$;
COMMENT ON FUNCTION artery.allocate_budget(text, numeric, bigint, timestamptz, boolean) IS
'Decide the budgets of a tenant''s ads from the tables, keep the run with its inputs, and propose the changes per budget owner (not with propose => false, and with the setting shadow it is only kept what would have been proposed). One run of a tenant at a time: a second one says so and returns no rows.';

CREATE OR REPLACE FUNCTION artery.fresh_seed()
RETURNS bigint
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'artery_fresh_seed';
COMMENT ON FUNCTION artery.fresh_seed() IS 'A random seed, 0 to 2^53 - 1.';

CREATE OR REPLACE FUNCTION artery.store_allocation(
    tenant_id text, total_budget numeric, seed bigint, as_of timestamptz, settings jsonb)
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
-- states and rows of thousands of ads, a few kilobytes each, pass through here: they must not be sorted
SET work_mem = '64MB'
SET enable_mergejoin = off
-- a plan kept for any tenant expects a few ads
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    v_digits integer := artery.currency_digits(settings ->> 'currency');
    v_direct boolean := settings ->> 'mode' = 'direct';
    v_model  text := artery.decision_model(tenant_id);
    v_least  numeric := artery.account_least(tenant_id, settings);
    v_run_id bigint;
    v_ads    bigint;
BEGIN
    INSERT INTO artery.allocation_run AS r (tenant_id, as_of, model, model_version, seed, total_budget, ads, settings, started_at, duration_ms)
    VALUES (store_allocation.tenant_id, store_allocation.as_of, v_model, artery.model_version(v_model), store_allocation.seed,
            store_allocation.total_budget, 0, store_allocation.settings, artery.now(), 0)
    RETURNING r.run_id INTO v_run_id;

    INSERT INTO artery.budget_recommendation (tenant_id, run_id, ad_id, budget_owner_id, current_budget, recommended_budget,
                                              change_percentage, confidence, reason, inputs, metrics)
    SELECT store_allocation.tenant_id, v_run_id, d.ad_id, d.owner_id, d.current_budget, d.recommended_budget,
           d.change_percentage, d.confidence,
           CASE WHEN v_direct THEN replace(d.reason, 'Pipeline ROAS', 'Cash ROAS') ELSE d.reason END
           || CASE WHEN k.held IS NOT NULL THEN ' It is held: ' || k.held || '.'
                   WHEN l.least_budget IS NOT NULL AND d.metrics ->> 'bounded_by' = 'min_budget' THEN ' Meta takes no less.' ELSE '' END
           || CASE WHEN d.owner_id IS NULL THEN ' Not proposed: the owner of its budget is not known.'
                   WHEN s.campaign_id IS NULL THEN ' Not proposed: its campaign is not known.' ELSE '' END,
           d.ad_state, artery.join_objects(d.metrics, artery.make_object('run_id', v_run_id, 'held', k.held, 'least_budget', l.least_budget,
                                                                         'decision', (v.judged).decision, 'decision_reason', (v.judged).reason))
      FROM (SELECT b.*, b.ad_state ->> 'budget_owner_id' AS owner_id
              -- in the order in which they come, that of their ids
              FROM (SELECT artery.list_objects(i.inputs) AS states
                      FROM artery.decision_inputs(store_allocation.tenant_id, store_allocation.as_of, v_model, v_direct) i) a
             CROSS JOIN LATERAL artery.select_budget_units(
                 a.states, store_allocation.total_budget, NULL, store_allocation.seed, v_model, NULL, v_digits) b
             WHERE a.states IS NOT NULL) d
      JOIN artery.ad_state s ON s.tenant_id = store_allocation.tenant_id AND s.ad_id = d.ad_id
      LEFT JOIN artery.owner_bounds(store_allocation.tenant_id, store_allocation.settings) k ON k.budget_owner_id = d.owner_id
     CROSS JOIN LATERAL (
         -- of an owner that nothing is known of yet, that of the account
         SELECT CASE WHEN k.budget_owner_id IS NOT NULL THEN k.least_budget
                     WHEN d.owner_id IS NOT NULL AND v_least > coalesce((store_allocation.settings ->> 'min_budget')::numeric, 0)
                     THEN trim_scale(v_least) END AS least_budget) l
     CROSS JOIN LATERAL (
         SELECT artery.judge_ad((d.ad_state -> 'spend')::numeric,
                    (d.ad_state -> 'pipeline_value')::float8 / greatest((d.ad_state -> 'spend')::float8, 0.01),
                    (d.ad_state -> 'age_hours')::float8 / 24) AS judged OFFSET 0) v;
    GET DIAGNOSTICS v_ads = ROW_COUNT;
    IF v_ads = 0 THEN
        DELETE FROM artery.allocation_run r WHERE r.tenant_id = store_allocation.tenant_id AND r.run_id = v_run_id;
        RETURN NULL;
    END IF;
    UPDATE artery.allocation_run r
       SET ads = v_ads, unallocated = coalesce((SELECT (b.metrics ->> 'budget_unallocated')::numeric FROM artery.budget_recommendation b
                                                WHERE b.tenant_id = r.tenant_id AND b.run_id = r.run_id LIMIT 1), 0)
     WHERE r.tenant_id = store_allocation.tenant_id AND r.run_id = v_run_id;
    RETURN v_run_id;
END
$$;
COMMENT ON FUNCTION artery.store_allocation(text, numeric, bigint, timestamptz, jsonb) IS
'Decide and store a run with its recommendations; returns its id, NULL if there was no ad.';

CREATE OR REPLACE FUNCTION artery.allocation_run_deleted()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM artery.budget_recommendation b USING gone g WHERE b.tenant_id = g.tenant_id AND b.run_id = g.run_id;
    DELETE FROM artery.shadow_budget b USING gone g WHERE b.tenant_id = g.tenant_id AND b.run_id = g.run_id;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION artery.allocation_run_deleted() IS 'Takes the recommendations of deleted runs along.';

CREATE TRIGGER allocation_run_deleted AFTER DELETE ON artery.allocation_run
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION artery.allocation_run_deleted();

CREATE OR REPLACE VIEW artery.v_budget_recommendations WITH (security_barrier) AS
SELECT b.tenant_id, b.run_id, r.as_of, b.ad_id, b.budget_owner_id, b.current_budget, b.recommended_budget,
       b.change_percentage, b.confidence, b.reason, r.seed, r.model, b.change_id, b.inputs, b.metrics,
       b.metrics ->> 'decision' AS decision, b.metrics ->> 'decision_reason' AS decision_reason, b.metrics ->> 'held' AS held, r.mode, r.model_version
  FROM artery.budget_recommendation b
  JOIN artery.allocation_run r ON r.tenant_id = b.tenant_id AND r.run_id = b.run_id
 WHERE artery.tenant_visible(b.tenant_id);
COMMENT ON VIEW artery.v_budget_recommendations IS 'Recommendations of all runs with what led to them; beside the budget whether the ad itself is one to kill, scale or maintain, and whether its owner is held.';
