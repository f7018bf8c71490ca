-- funnel: what the model `delayed` reads from clicks and deals

CREATE OR REPLACE FUNCTION artery.fold_exposure(ages float8[], impressions float8[], clicks float8[], spend float8[])
RETURNS jsonb
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_fold_exposure';
COMMENT ON FUNCTION artery.fold_exposure(float8[], float8[], float8[], float8[]) IS
'What an ad showed, by day with the oldest first (ages in days), as the sums with a half-life that a decision reads.';

CREATE OR REPLACE FUNCTION artery.fold_hop(ages float8[], counts float8[], durations float8[], weights float8[])
RETURNS jsonb
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_fold_hop';
COMMENT ON FUNCTION artery.fold_hop(float8[], float8[], float8[], float8[]) IS
'A step of the funnel: who entered it (days ago, and how many), and how many days those took who went on (and how many they were), as the sums that a decision reads.';

CREATE OR REPLACE FUNCTION artery.tenant_funnel(
    tenant_id text, OUT stage_name text, OUT place integer, OUT stage_value numeric, OUT is_won boolean)
RETURNS SETOF record
LANGUAGE sql STABLE ROWS 6
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT s.stage_name,
           CASE WHEN s.is_won THEN 1 + count(*) FILTER (WHERE NOT s.is_won) OVER ()
                ELSE row_number() OVER (ORDER BY s.is_won, s.stage_value, s.stage_confidence, s.stage_name) END::integer,
           s.stage_value, s.is_won
      FROM artery.tenant t
      LEFT JOIN artery.tenant_template p ON p.template = t.template
      LEFT JOIN artery.synthetic_revenue_config c ON c.tenant_id = t.tenant_id
     CROSS JOIN LATERAL artery.merge_stages(p.stage_values, c.stage_values) s
     WHERE t.tenant_id = tenant_funnel.tenant_id
       -- a stage without value and without doubt is where deals end that are lost
       AND (s.is_won OR s.stage_value > 0 OR s.stage_confidence > 0 AND s.stage_confidence < 1)
$$;
COMMENT ON FUNCTION artery.tenant_funnel(text) IS
'The tenant''s stages in the order in which deals go through them: by value, the won ones at one place at the end, those of lost deals left out.';

CREATE OR REPLACE FUNCTION artery.ad_exposure(
    tenant_id text, as_of timestamptz, only_ad text DEFAULT NULL,
    OUT ad_id text, OUT exposure jsonb, OUT ages float8[], OUT clicks float8[])
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_day     date := artery.account_day(tenant_id, as_of);
    v_elapsed float8;
BEGIN
    SELECT extract(epoch FROM ad_exposure.as_of AT TIME ZONE coalesce(t.settings ->> 'time_zone', 'UTC') - v_day::timestamp) / 86400
      INTO v_elapsed
      FROM artery.tenant t WHERE t.tenant_id = ad_exposure.tenant_id;
    RETURN QUERY
    SELECT f.ad_id, artery.fold_exposure(f.ages, f.impressions, f.clicks, f.spend), f.ages, f.clicks
      FROM (SELECT d.ad_id, array_agg(d.age) AS ages, array_agg(d.impressions) AS impressions, array_agg(d.clicks) AS clicks,
                   array_agg(d.spend) AS spend
              FROM (SELECT x.ad_id, x.impressions::float8, x.clicks::float8, x.spend::float8,
                           -- of the middle of the day, or of what there is of it
                           CASE WHEN x.day = v_day THEN v_elapsed / 2 ELSE (v_day - x.day) + v_elapsed - 0.5 END AS age
                      FROM artery.ad_day x
                     WHERE x.tenant_id = ad_exposure.tenant_id AND x.day <= v_day
                       AND (only_ad IS NULL OR x.ad_id = only_ad)
                     ORDER BY x.ad_id, x.day) d
             GROUP BY d.ad_id) f;
END
$$;
COMMENT ON FUNCTION artery.ad_exposure(text, timestamptz, text) IS
'What each ad showed until as_of, as a decision reads it, and the clicks of each day with their age in days.';

CREATE OR REPLACE FUNCTION artery.deal_progress(
    tenant_id text, as_of timestamptz, only_ad text DEFAULT NULL,
    OUT ad_id text, OUT place integer, OUT ages float8[], OUT durations float8[], OUT weights float8[])
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
-- compiling takes longer than the work, for any number of ads one has
SET jit = off
AS $$
BEGIN
    RETURN QUERY
    WITH funnel AS MATERIALIZED (
        SELECT f.stage_name, f.place FROM artery.tenant_funnel(deal_progress.tenant_id) f
    ), entered AS (
        SELECT e.deal_id, f.place, min(e.occurred_at) AS entered_at
          FROM artery.deal_stage_event e
          JOIN funnel f ON f.stage_name = e.stage_to
         WHERE e.tenant_id = deal_progress.tenant_id
           AND NOT e.is_value AND e.occurred_at <= deal_progress.as_of
         GROUP BY e.deal_id, f.place
    ), reached AS (
        -- who skipped a stage has passed it when they came further
        SELECT n.deal_id, p.place, min(n.entered_at) AS reached_at
          FROM entered n JOIN (SELECT DISTINCT f.place FROM funnel f) p ON p.place <= n.place
         GROUP BY n.deal_id, p.place
    ), earned AS (
        -- a deal counts for its ad or, where the attribution says so, for several in parts
        SELECT d.deal_id, k.ad_id, k.credit::float8 AS credit, CASE WHEN k.ad_id = d.ad_id THEN d.click_id END AS click_id
          FROM artery.deal d
          LEFT JOIN artery.conversion_trace x ON x.tenant_id = deal_progress.tenant_id AND x.conversion_id = d.conversion_id
         CROSS JOIN LATERAL jsonb_each_text(coalesce(x.credit, CASE WHEN d.ad_id IS NOT NULL THEN jsonb_build_object(d.ad_id, 1) END)) k(ad_id, credit)
         WHERE d.tenant_id = deal_progress.tenant_id AND (only_ad IS NULL OR k.ad_id = only_ad) AND k.credit::float8 > 0
    ), timed AS (
        SELECT w.ad_id, r.place, r.reached_at, r.deal_id, w.credit,
               CASE WHEN r.place > 1 THEN r.reached_at - lag(r.reached_at) OVER (PARTITION BY w.ad_id, r.deal_id ORDER BY r.place)
                    ELSE r.reached_at - c.click_timestamp END AS took
          FROM reached r
          JOIN earned w ON w.deal_id = r.deal_id
          LEFT JOIN artery.click_tracking c
            ON c.tenant_id = deal_progress.tenant_id AND c.click_id = w.click_id AND r.place = 1
    )
    SELECT t.ad_id, t.place,
           array_agg(extract(epoch FROM deal_progress.as_of - t.reached_at)::float8 / 86400 ORDER BY t.reached_at, t.deal_id),
           array_agg(CASE WHEN t.took IS NOT NULL THEN greatest(extract(epoch FROM t.took)::float8, 0) / 86400 END ORDER BY t.reached_at, t.deal_id),
           array_agg(t.credit ORDER BY t.reached_at, t.deal_id)
      FROM timed t GROUP BY t.ad_id, t.place;
END
$$;
COMMENT ON FUNCTION artery.deal_progress(text, timestamptz, text) IS
'For each ad and place in the funnel: how many days ago its deals came there, and how many days after the place before (or the click; null where it is not known), and how much of each deal counts for the ad.';

CREATE OR REPLACE FUNCTION artery.recounted_inputs(
    tenant_id text, as_of timestamptz, names text[], won_value numeric, only_ad text DEFAULT NULL,
    OUT ad_id text, OUT inputs jsonb)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
-- compiling takes longer than the work, for any number of ads one has
SET jit = off
AS $$
DECLARE
    v_none jsonb := artery.fold_hop(NULL, NULL, NULL, NULL);
BEGIN
    RETURN QUERY
    WITH progress AS MATERIALIZED (
        SELECT p.* FROM artery.deal_progress(recounted_inputs.tenant_id, recounted_inputs.as_of, only_ad) p
    ), shown AS MATERIALIZED (
        SELECT x.* FROM artery.ad_exposure(recounted_inputs.tenant_id, recounted_inputs.as_of, only_ad) x
    ), hops AS (
        SELECT s.ad_id, jsonb_agg(jsonb_build_array(names[s.place], coalesce((SELECT trim_scale(round(sum(w)::numeric, 6)) FROM unnest(r.weights) w), 0)) ORDER BY s.place) AS stages,
               jsonb_agg(CASE WHEN r.ad_id IS NULL AND e.ad_id IS NULL AND s.place > 1 THEN v_none
                              WHEN s.place = 1 THEN artery.fold_hop(x.ages, x.clicks, r.durations, r.weights)
                              ELSE artery.fold_hop(e.ages, e.weights, r.durations, r.weights) END
                         ORDER BY s.place) AS hops
          FROM (SELECT a.ad_id, p.place FROM artery.ad_state a, generate_series(1, cardinality(names)) p(place)
                 WHERE a.tenant_id = recounted_inputs.tenant_id AND (only_ad IS NULL OR a.ad_id = only_ad)) s
          LEFT JOIN progress r ON r.ad_id = s.ad_id AND r.place = s.place
          LEFT JOIN progress e ON e.ad_id = s.ad_id AND e.place = s.place - 1
          LEFT JOIN shown x ON x.ad_id = s.ad_id AND s.place = 1
         GROUP BY s.ad_id
    )
    SELECT h.ad_id, jsonb_build_object('stages', h.stages, 'won_value', won_value, 'hops', h.hops,
                                       'exposure', coalesce(x.exposure, '{}'))
      FROM hops h
      LEFT JOIN shown x ON x.ad_id = h.ad_id;
END
$$;
COMMENT ON FUNCTION artery.recounted_inputs(text, timestamptz, text[], numeric, text) IS
'What funnel_inputs tells, from all facts until any moment.';

CREATE OR REPLACE FUNCTION artery.deal_values(
    tenant_id text, only_ad text DEFAULT NULL, OUT ad_id text, OUT value numeric, OUT cash numeric)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT d.ad_id, sum(d.stage_value), sum(d.deal_value) FILTER (WHERE d.is_won)
      FROM artery.deal d
     WHERE d.tenant_id = deal_values.tenant_id AND d.ad_id IS NOT NULL AND d.stage IS NOT NULL
       AND (only_ad IS NULL OR d.ad_id = only_ad)
     GROUP BY d.ad_id
$$;
COMMENT ON FUNCTION artery.deal_values(text, text) IS 'What the deals of each ad are worth at present, and what the won ones brought.';

CREATE OR REPLACE FUNCTION artery.funnel_stages(tenant_id text, OUT names text[], OUT won_value numeric)
RETURNS record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    SELECT array_agg(f.name ORDER BY f.place), max(f.value) INTO names, won_value
      FROM (SELECT t.place, (array_agg(t.stage_name ORDER BY t.stage_value DESC, t.stage_name))[1] AS name,
                   max(t.stage_value) AS value
              FROM artery.tenant_funnel(funnel_stages.tenant_id) t GROUP BY t.place) f;
    -- the model goes through at most so many stages
    IF cardinality(names) > 16 OR won_value <= 0 THEN
        names := NULL;
    END IF;
END
$$;
COMMENT ON FUNCTION artery.funnel_stages(text) IS
'The stages of a tenant as the model `delayed` takes them, by their places, and the value of a won deal; no names where it has none of any value.';

CREATE OR REPLACE FUNCTION artery.is_counted(tenant_id text, as_of timestamptz)
RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (
        SELECT FROM artery.allocation_state s
         WHERE s.tenant_id = is_counted.tenant_id AND s.counted_at = as_of
           AND s.days_through = artery.account_day(is_counted.tenant_id, as_of) - 1
           AND s.form = artery.allocation_form(is_counted.tenant_id))
$$;
COMMENT ON FUNCTION artery.is_counted(text, timestamptz) IS 'Whether the sums that are kept of a tenant''s ads and deals have been brought up to this moment.';

CREATE OR REPLACE FUNCTION artery.funnel_inputs(
    tenant_id text, as_of timestamptz, only_ad text DEFAULT NULL,
    OUT ad_id text, OUT inputs jsonb, OUT deal_value numeric, OUT deal_cash numeric)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
-- compiling takes longer than the work, for any number of ads one has
SET jit = off
AS $$
DECLARE
    v_names text[];
    v_value numeric;
BEGIN
    SELECT f.names, f.won_value INTO v_names, v_value FROM artery.funnel_stages(funnel_inputs.tenant_id) f;
    IF v_names IS NULL THEN
        RETURN;
    END IF;
    -- from the sums that are kept, where they have been brought up to this moment; for a look at the past, from all facts
    IF artery.is_counted(tenant_id, as_of) THEN
        RETURN QUERY
        SELECT h.ad_id, h.inputs, coalesce(v.value, 0), coalesce(v.cash, 0)
          FROM artery.counted_inputs(funnel_inputs.tenant_id, funnel_inputs.as_of, v_names, v_value, only_ad) h
          LEFT JOIN artery.deal_values(funnel_inputs.tenant_id, only_ad) v ON v.ad_id = h.ad_id;
    ELSE
        RETURN QUERY
        SELECT h.ad_id, h.inputs, coalesce(v.value, 0), coalesce(v.cash, 0)
          FROM artery.recounted_inputs(funnel_inputs.tenant_id, funnel_inputs.as_of, v_names, v_value, only_ad) h
          LEFT JOIN artery.deal_values(funnel_inputs.tenant_id, only_ad) v ON v.ad_id = h.ad_id;
    END IF;
END
$$;
COMMENT ON FUNCTION artery.funnel_inputs(text, timestamptz, text) IS
'What the model `delayed` adds to the state of each ad; no rows for a tenant without stages of any value. deal_value and deal_cash are what the funnel accounts for.';

CREATE OR REPLACE FUNCTION artery.decision_inputs(
    tenant_id text, as_of timestamptz, model text, direct boolean, only_ad text DEFAULT NULL,
    OUT ad_id text, OUT inputs jsonb)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
-- a plan kept for any ad and for all of them would do for neither
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    v_names text[];
    v_value numeric;
BEGIN
    IF model = 'delayed' THEN
        SELECT f.names, f.won_value INTO v_names, v_value FROM artery.funnel_stages(decision_inputs.tenant_id) f;
    END IF;
    -- value that no deal accounts for, told or of single conversions, counts as so many wins
    IF v_names IS NULL OR NOT artery.is_counted(tenant_id, as_of) THEN
        RETURN QUERY
        SELECT i.ad_id,
               artery.join_objects(artery.join_objects(i.inputs, f.inputs), CASE WHEN o.other > 0
                   THEN jsonb_build_object('other_wins', least(o.other / (f.inputs -> 'won_value')::numeric, 1e15)) END)
          FROM artery.allocation_inputs(decision_inputs.tenant_id, decision_inputs.as_of, only_ad) i
          LEFT JOIN artery.funnel_inputs(decision_inputs.tenant_id, decision_inputs.as_of, only_ad) f
            ON v_names IS NOT NULL AND f.ad_id = i.ad_id
         CROSS JOIN LATERAL (
              SELECT (i.inputs -> 'pipeline_value')::numeric - CASE WHEN direct THEN f.deal_cash ELSE f.deal_value END AS other) o
         ORDER BY i.ad_id;
        RETURN;
    END IF;
    -- the same, with the states made where all is known of them: they are long, and each time they are handed on takes as long as making them
    RETURN QUERY
    SELECT i.ad_id,
           artery.join_objects(
               artery.join_objects(i.inputs, artery.funnel_state(v_names, v_value, c.exposure, c.age, c.clicks, c.places, c.sums, c.ages)),
               CASE WHEN o.other > 0 THEN jsonb_build_object('other_wins', least(o.other / v_value, 1e15)) END)
      FROM artery.allocation_inputs(decision_inputs.tenant_id, decision_inputs.as_of, only_ad) i
      JOIN artery.counted_sums(decision_inputs.tenant_id, decision_inputs.as_of, only_ad) c ON c.ad_id = i.ad_id
      LEFT JOIN artery.deal_values(decision_inputs.tenant_id, only_ad) v ON v.ad_id = i.ad_id
     CROSS JOIN LATERAL (
          SELECT (i.inputs -> 'pipeline_value')::numeric - coalesce(CASE WHEN direct THEN v.cash ELSE v.value END, 0) AS other) o
     ORDER BY i.ad_id;
END
$$;
COMMENT ON FUNCTION artery.decision_inputs(text, timestamptz, text, boolean, text) IS
'The states of the ads, in the order of their ids, as the model takes them: allocation_inputs, with those of the funnel and the value that no deal accounts for.';
