-- proposal: from recommendations to changes, and what is not worth one

CREATE OR REPLACE FUNCTION artery.cooling_owners(
    tenant_id text, OUT budget_owner_id text, OUT what text, OUT settled_at timestamptz, OUT until timestamptz)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_hours interval := make_interval(secs => (artery.effective_settings(tenant_id) ->> 'cooldown_hours')::float8 * 3600);
BEGIN
    RETURN QUERY
    SELECT DISTINCT ON (c.target_id) c.target_id,
           CASE WHEN c.state = 'rejected' THEN 'it was rejected at' WHEN c.state = 'cancelled' AND c.reached_value IS NULL THEN 'it was cancelled at'
                WHEN c.rollback_of IS NOT NULL THEN 'it was rolled back at' ELSE 'it was changed at' END, c.settled_at, c.settled_at + v_hours
      FROM artery.ad_change c
     WHERE c.tenant_id = cooling_owners.tenant_id AND c.settled_at > artery.now() - v_hours
       AND c.change_type = ANY (ARRAY['BUDGET_INCREASE', 'BUDGET_DECREASE'])
       -- what was applied, in whole or in part, and what a person did not want
       AND (c.state = 'completed' OR c.reached_value IS NOT NULL
            OR c.state = ANY (ARRAY['rejected', 'cancelled']) AND c.triggered_by = 'allocate_budget')
     ORDER BY c.target_id, c.settled_at DESC, c.change_id;
END
$$;
COMMENT ON FUNCTION artery.cooling_owners(text) IS
'Budget owners that allocations leave alone for cooldown_hours: what was settled of them last, when, and until when.';

CREATE OR REPLACE FUNCTION artery.owner_wishes(
    tenant_id text, run_id bigint,
    OUT budget_owner_id text, OUT campaign_id text, OUT owner_type text, OUT ads bigint, OUT wanted numeric,
    OUT budget numeric, OUT is_observed boolean, OUT confidence float8, OUT reason text, OUT refusal text, OUT open_change uuid, OUT forbidden boolean)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH owner AS (
        SELECT b.budget_owner_id, coalesce(min(o.campaign_id), min(s.campaign_id)) AS campaign_id,
               min(o.owner_type) AS owner_type, count(*) AS ads, sum(b.recommended_budget) AS wanted,
               sum(b.current_budget) AS estimated, avg(b.confidence) AS confidence,
               bool_or(b.metrics ? 'held') AS held,
               sum((b.metrics ->> 'budget_low')::numeric) AS low, sum((b.metrics ->> 'budget_high')::numeric) AS high,
               (array_agg(b.reason ORDER BY abs(b.recommended_budget - b.current_budget) DESC, b.ad_id))[1] AS reason,
               artery.budget_in_force(owner_wishes.tenant_id, b.budget_owner_id) AS observed
          FROM artery.budget_recommendation b
          JOIN artery.ad_state s ON s.tenant_id = b.tenant_id AND s.ad_id = b.ad_id
          LEFT JOIN artery.budget_owner o ON o.tenant_id = b.tenant_id AND o.budget_owner_id = b.budget_owner_id
         WHERE b.tenant_id = owner_wishes.tenant_id AND b.run_id = owner_wishes.run_id AND b.budget_owner_id IS NOT NULL
         GROUP BY b.budget_owner_id
    ), wish AS (
        SELECT w.*, coalesce(w.observed, w.estimated) AS budget, k.min_budget, k.max_budget
          FROM owner w
          LEFT JOIN artery.owner_bounds(owner_wishes.tenant_id, artery.effective_settings(owner_wishes.tenant_id)) k
            ON k.budget_owner_id = w.budget_owner_id
    )
    SELECT w.budget_owner_id, w.campaign_id, w.owner_type, w.ads, w.wanted, w.budget, w.observed IS NOT NULL,
           w.confidence, w.reason,
           CASE WHEN w.campaign_id IS NULL THEN 'its campaign is not known'
                WHEN w.held THEN 'its budget is held'
                WHEN w.wanted < w.min_budget OR w.wanted > w.max_budget
                THEN format('the largest step does not reach its bounds, %s to %s', coalesce(w.min_budget::text, 'none'), coalesce(w.max_budget::text, 'none'))
                WHEN w.wanted <= 0 THEN 'no budget at all is a pause, which is for people to decide'
                WHEN d.until IS NOT NULL
                THEN format('%s %s UTC, and no other change is asked for before %s UTC', d.what,
                            to_char(d.settled_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), to_char(d.until AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'))
                -- less than one percent is not worth an action on the account
                WHEN abs(w.wanted - w.budget) < greatest(0.01, 0.01 * w.budget) THEN 'less than 1 percent'
                WHEN abs(w.wanted - w.budget) < 0.05 * w.budget AND w.budget BETWEEN w.low AND w.high
                THEN 'less than 5 percent, which cannot be told from chance yet' END,
           c.change_id,
           w.campaign_id IS NULL OR w.wanted <= 0 OR w.held
           OR coalesce(w.wanted < w.min_budget, false) OR coalesce(w.wanted > w.max_budget, false)
      FROM wish w
      LEFT JOIN artery.cooling_owners(owner_wishes.tenant_id) d ON d.budget_owner_id = w.budget_owner_id
      -- an open wish that comes to about the same stays, with the approval it may have
      LEFT JOIN LATERAL (
          SELECT a.change_id FROM artery.ad_change a
           WHERE a.tenant_id = owner_wishes.tenant_id AND a.target_id = w.budget_owner_id
             AND a.budget_owner_id = w.budget_owner_id AND a.triggered_by = 'allocate_budget'
             AND a.state = ANY (ARRAY['proposed', 'approved', 'blocked'])
             AND abs((a.requested_value ->> 'budget')::numeric - w.wanted) < 0.05 * w.wanted
             AND sign((a.requested_value ->> 'budget')::numeric - w.budget) = sign(w.wanted - w.budget)
           ORDER BY a.created_at DESC, a.change_id LIMIT 1) c ON true
$$;
COMMENT ON FUNCTION artery.owner_wishes(text, bigint) IS
'What a run comes to for each budget owner: the sum of its ads, the budget in force, why no change is proposed (refusal; forbidden if it may not be, whatever the size), and the open change that says about the same.';

CREATE OR REPLACE FUNCTION artery.propose_allocation(tenant_id text, run_id bigint)
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_owner    record;
    v_owners   text[] := '{}';
    v_changes  uuid[] := '{}';
    v_refusals text[] := '{}';
    v_proposed integer := 0;
BEGIN
    FOR v_owner IN
        SELECT w.* FROM artery.owner_wishes(propose_allocation.tenant_id, propose_allocation.run_id) w
         WHERE w.campaign_id IS NOT NULL ORDER BY w.budget_owner_id
    LOOP
        IF v_owner.refusal IS NULL AND v_owner.open_change IS NULL THEN
            v_owner.open_change := artery.queue_ad_change(
                tenant_id => propose_allocation.tenant_id, campaign_id => v_owner.campaign_id,
                change_type => CASE WHEN v_owner.wanted > v_owner.budget THEN 'BUDGET_INCREASE' ELSE 'BUDGET_DECREASE' END,
                old_value => CASE WHEN v_owner.is_observed THEN jsonb_build_object('budget', v_owner.budget) END,
                new_value => jsonb_build_object('budget', v_owner.wanted),
                triggered_by => 'allocate_budget',
                adset_id => CASE WHEN v_owner.owner_type = 'campaign' THEN NULL ELSE v_owner.budget_owner_id END,
                ml_confidence => least(v_owner.confidence, 1),
                reason => format('Allocation %s, %s ad(s): %s', propose_allocation.run_id, v_owner.ads, v_owner.reason),
                budget_owner_id => v_owner.budget_owner_id, run_id => propose_allocation.run_id);
            v_proposed := v_proposed + 1;
        END IF;
        v_owners := v_owners || v_owner.budget_owner_id;
        v_changes := v_changes || CASE WHEN v_owner.refusal IS NULL THEN v_owner.open_change END;
        v_refusals := v_refusals || v_owner.refusal;
    END LOOP;
    -- All rows of the run at once: one by one would read the run anew for every owner.
    UPDATE artery.budget_recommendation b
       SET change_id = w.change_id,
           reason = CASE WHEN w.refusal IS NULL OR b.metrics ? 'held' THEN b.reason
                         ELSE format('%s Not proposed: %s.', b.reason, w.refusal) END
      FROM unnest(v_owners, v_changes, v_refusals) w (budget_owner_id, change_id, refusal)
     WHERE b.tenant_id = propose_allocation.tenant_id AND b.run_id = propose_allocation.run_id
       AND b.budget_owner_id = w.budget_owner_id;
    RETURN v_proposed;
END
$$;
COMMENT ON FUNCTION artery.propose_allocation(text, bigint) IS
'Queue a change for every budget owner whose ads together come to another budget, unless the difference is noise or an open change says about the same; returns how many are new.';

CREATE OR REPLACE FUNCTION artery.replay_recommendation(tenant_id text, run_id bigint, ad_id text, changed jsonb)
RETURNS numeric
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT s.recommended_budget
      FROM artery.allocation_run r
     CROSS JOIN LATERAL (
         SELECT jsonb_agg(CASE WHEN b.ad_id = replay_recommendation.ad_id THEN b.inputs || replay_recommendation.changed
                               -- bounds are the owner's, so they change for all its ads
                               WHEN b.inputs ->> 'budget_owner_id' = o.budget_owner_id THEN b.inputs || (
                                   SELECT coalesce(jsonb_object_agg(c.key, c.value), '{}') FROM jsonb_each(replay_recommendation.changed) c
                                    WHERE c.key = ANY (ARRAY['min_budget', 'max_budget']))
                               ELSE b.inputs END ORDER BY b.ad_id) AS states
           FROM artery.budget_recommendation b
           LEFT JOIN artery.budget_recommendation o
             ON o.tenant_id = b.tenant_id AND o.run_id = b.run_id AND o.ad_id = replay_recommendation.ad_id
          WHERE b.tenant_id = r.tenant_id AND b.run_id = r.run_id) i
     CROSS JOIN LATERAL artery.select_budget_units(i.states, r.total_budget, NULL, r.seed, r.model, NULL,
                                                   artery.currency_digits(r.settings ->> 'currency')) s
     WHERE r.tenant_id = replay_recommendation.tenant_id AND r.run_id = replay_recommendation.run_id
       AND s.ad_id = replay_recommendation.ad_id
$$;
COMMENT ON FUNCTION artery.replay_recommendation(text, bigint, text, jsonb) IS
'What a past run would have recommended for an ad had its inputs been changed so; {} for what it did recommend.';

CREATE OR REPLACE FUNCTION artery.what_would_change(tenant_id text, run_id bigint, ad_id text)
RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_inputs jsonb;
    v_model  text;
    v_bound  text;
    v_dna    boolean;
    v_more   text := '';
    v_last   text;
    v_first  text;
    v_clicks numeric;
BEGIN
    SELECT b.inputs, r.model, b.metrics ->> 'bounded_by', b.metrics ? 'dna_effect' INTO v_inputs, v_model, v_bound, v_dna
      FROM artery.budget_recommendation b
      JOIN artery.allocation_run r ON r.tenant_id = b.tenant_id AND r.run_id = b.run_id
     WHERE b.tenant_id = what_would_change.tenant_id AND b.run_id = what_would_change.run_id
       AND b.ad_id = what_would_change.ad_id;
    IF v_bound IS NOT NULL THEN
        v_more := format(' Without bounds of its own: %s a day.', artery.replay_recommendation(tenant_id, run_id, ad_id,
            '{"min_budget": null, "max_budget": null}'));
    END IF;
    IF v_dna THEN
        v_more := v_more || format(' With a creative score of 1: %s a day; of 0: %s.',
            artery.replay_recommendation(tenant_id, run_id, ad_id, '{"dna_score": 1}'),
            artery.replay_recommendation(tenant_id, run_id, ad_id, '{"dna_score": 0}'));
    END IF;
    IF v_model = 'blended' THEN
        RETURN format('Had it earned twice as much: %s a day; nothing: %s.%s',
            artery.replay_recommendation(tenant_id, run_id, ad_id,
                jsonb_build_object('pipeline_value', 2 * (v_inputs ->> 'pipeline_value')::numeric)),
            artery.replay_recommendation(tenant_id, run_id, ad_id, '{"pipeline_value": 0}'), v_more);
    END IF;
    v_first := v_inputs #>> '{stages,0,0}';
    v_last := v_inputs #>> '{stages,-1,0}';
    v_clicks := greatest(round((v_inputs #>> '{hops,0,entered}')::numeric), 100);
    RETURN format('One more %s: %s a day. %s more clicks without any %s: %s a day.%s', v_last,
        artery.replay_recommendation(tenant_id, run_id, ad_id,
            jsonb_build_object('other_wins', coalesce((v_inputs ->> 'other_wins')::numeric, 0) + 1)),
        v_clicks, v_first,
        artery.replay_recommendation(tenant_id, run_id, ad_id,
            jsonb_build_object('hops', jsonb_set(v_inputs -> 'hops', '{0,entered}',
                to_jsonb((v_inputs #>> '{hops,0,entered}')::numeric + v_clicks)))), v_more);
END
$$;
COMMENT ON FUNCTION artery.what_would_change(text, bigint, text) IS
'In words: what a past run would have recommended for an ad had it brought more, or less.';

CREATE OR REPLACE FUNCTION artery.explain_recommendation(
    tenant_id text, run_id bigint, budget_owner_id text,
    OUT ad_id text, OUT current_budget numeric, OUT recommended_budget numeric, OUT confidence float8, OUT model text,
    OUT inputs jsonb, OUT posterior jsonb, OUT probability_best float8, OUT reason text, OUT would_change text,
    OUT change_id uuid, OUT decision text, OUT decision_reason text, OUT bounds jsonb)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    PERFORM artery.check_id(budget_owner_id, 'budget_owner_id');
    IF run_id IS NULL THEN
        RAISE EXCEPTION 'run_id must not be null' USING ERRCODE = '22004', HINT = 'artery.v_budget_recommendations lists runs.';
    END IF;
    RETURN QUERY
    SELECT b.ad_id, b.current_budget, b.recommended_budget, b.confidence, r.model, b.inputs,
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
'Why a run recommends what it does for a budget owner, by ad: inputs, posterior (value per unit of money with its 80 percent interval), probability of being the best ad, the reason, what would change it (the run made again with more or fewer wins, without bounds, with another creative score), the change proposed, whether the ad itself is one to kill, scale or maintain, and the bounds it was held by.';
