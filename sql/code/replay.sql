-- replay: past runs made again, and explained
--
-- What a run decided is stored and is shown from there. What is computed anew from
-- its inputs is computed by the model as it is now, and says so where that is another
-- version of its mathematics than the one that decided.

CREATE OR REPLACE FUNCTION artery.decide_again(
    tenant_id text, run_id bigint, changed_ad text DEFAULT NULL, changed jsonb DEFAULT '{}',
    OUT ad_id text, OUT current_budget numeric, OUT recommended_budget numeric, OUT change_percentage float8,
    OUT confidence float8, OUT metrics jsonb)
RETURNS SETOF record
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT s.ad_id, s.current_budget, s.recommended_budget, s.change_percentage, s.confidence, s.metrics
      FROM artery.allocation_run r
     CROSS JOIN LATERAL (
         SELECT array_agg(CASE WHEN b.ad_id = decide_again.changed_ad THEN b.inputs || decide_again.changed
                               -- bounds are the owner's, so they change for all its ads
                               WHEN b.inputs ->> 'budget_owner_id' = o.budget_owner_id THEN b.inputs || (
                                   SELECT coalesce(jsonb_object_agg(c.key, c.value), '{}') FROM jsonb_each(decide_again.changed) c
                                    WHERE c.key = ANY (ARRAY['min_budget', 'max_budget']))
                               ELSE b.inputs END ORDER BY b.ad_id) AS states
           FROM artery.budget_recommendation b
           LEFT JOIN artery.budget_recommendation o
             ON o.tenant_id = b.tenant_id AND o.run_id = b.run_id AND o.ad_id = decide_again.changed_ad
          WHERE b.tenant_id = r.tenant_id AND b.run_id = r.run_id) i
     CROSS JOIN LATERAL artery.select_budget_units(i.states, r.total_budget, NULL, r.seed, r.model, NULL,
                                                   artery.currency_digits(r.settings ->> 'currency')) s
     WHERE r.tenant_id = decide_again.tenant_id AND r.run_id = decide_again.run_id AND i.states IS NOT NULL
$$;
COMMENT ON FUNCTION artery.decide_again(text, bigint, text, jsonb) IS
'A past run decided again by the model as it is now, on the inputs that were kept; those of changed_ad, if one is named, changed so.';

CREATE OR REPLACE FUNCTION artery.require_run(tenant_id text, run_id bigint, OUT model text, OUT decided_version integer, OUT replay_version integer)
RETURNS record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF run_id IS NULL THEN
        RAISE EXCEPTION 'run_id must not be null' USING ERRCODE = '22004', HINT = 'artery.v_budget_recommendations lists runs.';
    END IF;
    SELECT r.model, r.model_version, artery.model_version(r.model) INTO model, decided_version, replay_version
      FROM artery.allocation_run r WHERE r.tenant_id = require_run.tenant_id AND r.run_id = require_run.run_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'tenant "%" has no run %', left(tenant_id, 256), run_id
            USING ERRCODE = '22023', DETAIL = 'Runs are kept for artery.retention_allocation days.',
                  HINT = 'artery.v_budget_recommendations lists runs.';
    END IF;
END
$$;
COMMENT ON FUNCTION artery.require_run(text, bigint) IS
'The model of a run with the version of it that decided and the one that is here now; error 22023 if there is no such run.';

CREATE OR REPLACE FUNCTION artery.note_other_version(run_id bigint, model text, decided_version integer, replay_version integer)
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF decided_version <> replay_version THEN
        RAISE NOTICE 'run % was decided by version % of the model %; here it is decided again by version %, which may come to other numbers',
            run_id, decided_version, model, replay_version;
    END IF;
END
$$;
COMMENT ON FUNCTION artery.note_other_version(bigint, text, integer, integer) IS
'Says so where a run is decided again by another version of the model than the one that decided it.';

CREATE OR REPLACE FUNCTION artery.replay_allocation(
    tenant_id text, run_id bigint,
    OUT ad_id text, OUT budget_owner_id text, OUT recommended_budget numeric, OUT replayed_budget numeric,
    OUT share float8, OUT replayed_share float8, OUT draw float8, OUT replayed_draw float8, OUT is_same boolean,
    OUT model text, OUT model_version integer, OUT replay_version integer)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
SET work_mem = '64MB'
AS $$
DECLARE
    v_run record;
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    SELECT * INTO v_run FROM artery.require_run(tenant_id, run_id);
    PERFORM artery.note_other_version(run_id, v_run.model, v_run.decided_version, v_run.replay_version);
    RETURN QUERY
    SELECT b.ad_id, b.budget_owner_id, b.recommended_budget, d.recommended_budget,
           (b.metrics ->> 'share')::float8, (d.metrics ->> 'share')::float8, (b.metrics ->> 'draw')::float8, (d.metrics ->> 'draw')::float8,
           -- all of what was computed; the rest of the metrics is what the run itself added
           (b.current_budget, b.recommended_budget, b.change_percentage, b.confidence, b.metrics - ARRAY['run_id', 'held', 'least_budget', 'decision', 'decision_reason'])
           IS NOT DISTINCT FROM (d.current_budget, d.recommended_budget, d.change_percentage, d.confidence, d.metrics),
           v_run.model, v_run.decided_version, v_run.replay_version
      FROM artery.budget_recommendation b
      LEFT JOIN artery.decide_again(replay_allocation.tenant_id, replay_allocation.run_id) d ON d.ad_id = b.ad_id
     WHERE b.tenant_id = replay_allocation.tenant_id AND b.run_id = replay_allocation.run_id
     ORDER BY b.ad_id;
END
$$;
COMMENT ON FUNCTION artery.replay_allocation(text, bigint) IS
'A past run decided again from what it kept (inputs, total, seed), by ad: the budget and share (of blended also the draw) stored and replayed. is_same: these and all metrics are the same, to the last digit. model_version decided the run, replay_version decides now; where they differ a notice says so, and other numbers are to be expected.';

CREATE OR REPLACE FUNCTION artery.replay_recommendation(tenant_id text, run_id bigint, ad_id text, changed jsonb DEFAULT '{}')
RETURNS numeric
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_run    record;
    v_budget numeric;
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    PERFORM artery.check_id(ad_id, 'ad_id');
    IF jsonb_typeof(changed) IS DISTINCT FROM 'object' OR changed ? 'ad_id' THEN
        RAISE EXCEPTION 'changed must be an object of inputs other than "ad_id"'
            USING ERRCODE = '22023', HINT = 'For example {"max_budget": 100}; the column inputs of artery.v_budget_recommendations shows what there is.';
    END IF;
    SELECT * INTO v_run FROM artery.require_run(tenant_id, run_id);
    PERFORM artery.note_other_version(run_id, v_run.model, v_run.decided_version, v_run.replay_version);
    SELECT d.recommended_budget INTO v_budget
      FROM artery.decide_again(replay_recommendation.tenant_id, replay_recommendation.run_id, replay_recommendation.ad_id, changed) d
     WHERE d.ad_id = replay_recommendation.ad_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'run % has no recommendation for ad "%"', run_id, left(ad_id, 256)
            USING ERRCODE = '22023', HINT = 'artery.v_budget_recommendations lists runs and their ads.';
    END IF;
    RETURN v_budget;
END
$$;
COMMENT ON FUNCTION artery.replay_recommendation(text, bigint, text, jsonb) IS
'What the model would have recommended for an ad in a past run had its inputs been changed so; {} for the inputs as they were. A notice says if another version of the model decided the run.';

CREATE OR REPLACE FUNCTION artery.budget_if(tenant_id text, run_id bigint, ad_id text, changed jsonb)
RETURNS numeric
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT d.recommended_budget FROM artery.decide_again(budget_if.tenant_id, budget_if.run_id, budget_if.ad_id, budget_if.changed) d
     WHERE d.ad_id = budget_if.ad_id
$$;
COMMENT ON FUNCTION artery.budget_if(text, bigint, text, jsonb) IS 'replay_recommendation without its checks.';

CREATE OR REPLACE FUNCTION artery.try_changes(tenant_id text, run_id bigint, ad_id text)
RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_inputs jsonb;
    v_model  text;
    v_bound  text;
    v_least  jsonb;
    v_dna    boolean;
    v_more   text := '';
    v_last   text;
    v_first  text;
    v_clicks numeric;
BEGIN
    SELECT b.inputs, r.model, b.metrics ->> 'bounded_by', b.metrics -> 'least_budget', b.metrics ? 'dna_effect'
      INTO v_inputs, v_model, v_bound, v_least, v_dna
      FROM artery.budget_recommendation b
      JOIN artery.allocation_run r ON r.tenant_id = b.tenant_id AND r.run_id = b.run_id
     WHERE b.tenant_id = try_changes.tenant_id AND b.run_id = try_changes.run_id
       AND b.ad_id = try_changes.ad_id;
    IF v_bound IS NOT NULL THEN
        v_more := format(' Without bounds of its own: %s a day.', artery.budget_if(tenant_id, run_id, ad_id,
            -- what Meta takes at least is none of its own
            jsonb_build_object('min_budget', v_least, 'max_budget', NULL)));
    END IF;
    IF v_dna THEN
        v_more := v_more || format(' With a creative score of 1: %s a day; of 0: %s.',
            artery.budget_if(tenant_id, run_id, ad_id, '{"dna_score": 1}'),
            artery.budget_if(tenant_id, run_id, ad_id, '{"dna_score": 0}'));
    END IF;
    IF v_model = 'blended' THEN
        RETURN format('Had it earned twice as much: %s a day; nothing: %s.%s',
            artery.budget_if(tenant_id, run_id, ad_id,
                jsonb_build_object('pipeline_value', least(2 * (v_inputs ->> 'pipeline_value')::numeric, 1e12))),
            artery.budget_if(tenant_id, run_id, ad_id, '{"pipeline_value": 0}'), v_more);
    END IF;
    v_first := v_inputs #>> '{stages,0,0}';
    v_last := v_inputs #>> '{stages,-1,0}';
    v_clicks := greatest(round((v_inputs #>> '{hops,0,entered}')::numeric), 100);
    RETURN format('One more %s: %s a day. %s more clicks without any %s: %s a day.%s', v_last,
        artery.budget_if(tenant_id, run_id, ad_id,
            jsonb_build_object('other_wins', coalesce((v_inputs ->> 'other_wins')::numeric, 0) + 1)),
        v_clicks, v_first,
        artery.budget_if(tenant_id, run_id, ad_id,
            jsonb_build_object('hops', jsonb_set(v_inputs -> 'hops', '{0,entered}',
                to_jsonb((v_inputs #>> '{hops,0,entered}')::numeric + v_clicks)))), v_more);
END
$$;
COMMENT ON FUNCTION artery.try_changes(text, bigint, text) IS
'In words: what the model comes to on the inputs of a past run had an ad brought more, or less.';

CREATE OR REPLACE FUNCTION artery.what_would_change(tenant_id text, run_id bigint, ad_id text)
RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_run record;
BEGIN
    SELECT * INTO v_run FROM artery.require_run(tenant_id, run_id);
    IF v_run.decided_version = v_run.replay_version THEN
        RETURN artery.try_changes(tenant_id, run_id, ad_id);
    END IF;
    -- Amounts of two versions are not to be compared: so the new one says first what it comes to without any change.
    BEGIN
        RETURN format('Decided by version %s of the model; what follows is computed by version %s, which comes to %s a day on the same inputs. %s',
            v_run.decided_version, v_run.replay_version, artery.budget_if(tenant_id, run_id, ad_id, '{}'),
            artery.try_changes(tenant_id, run_id, ad_id));
    EXCEPTION WHEN data_exception THEN
        RETURN format('Not known: it was decided by version %s of the model, on inputs that version %s, which is here now, does not take.',
            v_run.decided_version, v_run.replay_version);
    END;
END
$$;
COMMENT ON FUNCTION artery.what_would_change(text, bigint, text) IS
'In words: what a past run would have recommended for an ad had it brought more, or less. Where another version of the model decided the run it says so, and what the present one comes to without any change.';

CREATE OR REPLACE FUNCTION artery.explain_recommendation(
    tenant_id text, run_id bigint, budget_owner_id text,
    OUT ad_id text, OUT current_budget numeric, OUT recommended_budget numeric, OUT confidence float8, OUT model text, OUT model_version integer,
    OUT inputs jsonb, OUT posterior jsonb, OUT probability_best float8, OUT reason text, OUT would_change text,
    OUT change_id uuid, OUT decision text, OUT decision_reason text, OUT bounds jsonb)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    PERFORM artery.check_id(budget_owner_id, 'budget_owner_id');
    PERFORM artery.require_run(tenant_id, run_id);
    RETURN QUERY
    SELECT b.ad_id, b.current_budget, b.recommended_budget, b.confidence, r.model, r.model_version, b.inputs,
           CASE r.model WHEN 'delayed' THEN jsonb_build_object(
                    'mean', b.metrics -> 'value_mean', 'low', b.metrics -> 'value_low', 'high', b.metrics -> 'value_high',
                    'interval', 0.8, 'average', b.metrics -> 'value_average', 'rates', b.metrics -> 'rates',
                    'delay_days', b.metrics -> 'delay_days', 'typical_ctr', b.metrics -> 'typical_ctr',
                    'owner_mean', b.metrics -> 'owner_value_mean', 'dna_effect', b.metrics -> 'dna_effect', 'dna_slopes', b.metrics -> 'dna_slopes')
                ELSE jsonb_build_object('alpha', b.metrics -> 'alpha', 'beta', b.metrics -> 'beta', 'draw', b.metrics -> 'draw') END,
           (b.metrics ->> 'probability_best')::float8, b.reason,
           artery.what_would_change(b.tenant_id, b.run_id, b.ad_id), b.change_id, b.metrics ->> 'decision', b.metrics ->> 'decision_reason',
           jsonb_strip_nulls(jsonb_build_object(
               'wanted', b.metrics -> 'wanted_budget', 'min_budget', b.inputs -> 'min_budget', 'max_budget', b.inputs -> 'max_budget',
               'bounded_by', b.metrics -> 'bounded_by', 'held', b.metrics -> 'held', 'unallocated', b.metrics -> 'budget_unallocated',
               'least_of_meta', b.metrics -> 'least_budget',
               'exploration', b.inputs -> 'exploration'))
      FROM artery.budget_recommendation b
      JOIN artery.allocation_run r ON r.tenant_id = b.tenant_id AND r.run_id = b.run_id
     WHERE b.tenant_id = explain_recommendation.tenant_id AND b.run_id = explain_recommendation.run_id
       AND b.budget_owner_id = explain_recommendation.budget_owner_id
     ORDER BY b.ad_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'run % has no recommendation for budget owner "%"', run_id, left(budget_owner_id, 256)
            USING ERRCODE = '22023', HINT = 'artery.v_budget_recommendations lists runs and budget owners.';
    END IF;
END
$$;
COMMENT ON FUNCTION artery.explain_recommendation(text, bigint, text) IS
'Why a run recommends what it does for a budget owner, by ad: inputs, posterior (value per unit of money with its 80 percent interval), probability of being the best ad, the reason, all as the run stored it, and what would change it (the run made again with more or fewer wins, without bounds, with another creative score; where a newer version of the model does that, it says so), the change proposed, whether the ad itself is one to kill, scale or maintain, and the bounds it was held by.';
