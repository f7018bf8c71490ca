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
                THEN 'less than 5 percent, which cannot be told from chance yet'
                -- the draws alone move the budgets of young ads by so much
                WHEN abs(w.wanted - w.budget) < 0.15 * w.budget AND w.budget BETWEEN w.low AND w.high AND w.confidence < 0.7
                THEN format('less than 15 percent, and with a confidence of %s it cannot be told from chance yet', round(w.confidence::numeric, 2)) END,
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

CREATE OR REPLACE FUNCTION artery.propose_allocation(
    tenant_id text, run_id bigint, OUT proposed integer, OUT proposed_total numeric)
RETURNS record
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_owner    record;
    v_owners   text[] := '{}';
    v_changes  uuid[] := '{}';
    v_refusals text[] := '{}';
    v_budgets  numeric[] := '{}';
    v_others   numeric := 0;
    v_least    numeric;
BEGIN
    proposed := 0;
    FOR v_owner IN
        SELECT w.* FROM artery.owner_wishes(propose_allocation.tenant_id, propose_allocation.run_id) w ORDER BY w.budget_owner_id
    LOOP
        IF v_owner.campaign_id IS NULL THEN
            v_others := v_others + coalesce(v_owner.budget, 0);
            CONTINUE;
        END IF;
        IF v_owner.refusal IS NULL AND v_owner.open_change IS NULL AND v_owner.wanted < v_owner.budget THEN
            v_least := artery.least_budget(propose_allocation.tenant_id, v_owner.budget_owner_id);
            IF v_owner.budget <= v_least THEN
                v_owner.refusal := format('Meta takes no budget below %s', v_least);
            END IF;
        END IF;
        IF v_owner.refusal IS NULL AND v_owner.open_change IS NULL THEN
            BEGIN
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
                proposed := proposed + 1;
            EXCEPTION WHEN data_exception THEN
                -- a wish that cannot be is its owner's trouble, not that of the others
                v_owner.refusal := SQLERRM;
            END;
        END IF;
        v_owners := v_owners || v_owner.budget_owner_id;
        v_changes := v_changes || CASE WHEN v_owner.refusal IS NULL THEN v_owner.open_change END;
        v_refusals := v_refusals || v_owner.refusal;
        v_budgets := v_budgets || coalesce(v_owner.budget, 0);
    END LOOP;
    -- All rows of the run at once: one by one would read the run anew for every owner.
    UPDATE artery.budget_recommendation b
       SET change_id = w.change_id,
           reason = CASE WHEN w.refusal IS NULL OR b.metrics ? 'held' THEN b.reason
                         ELSE format('%s Not proposed: %s.', b.reason, w.refusal) END
      FROM unnest(v_owners, v_changes, v_refusals) w (budget_owner_id, change_id, refusal)
     WHERE b.tenant_id = propose_allocation.tenant_id AND b.run_id = propose_allocation.run_id
       AND b.budget_owner_id = w.budget_owner_id;
    -- What is asked for as it was proposed, all others as they are.
    SELECT v_others + coalesce(sum(coalesce((c.new_value ->> 'budget')::numeric, w.budget)), 0)
           + (SELECT coalesce(sum(b.current_budget), 0) FROM artery.budget_recommendation b
               WHERE b.tenant_id = propose_allocation.tenant_id AND b.run_id = propose_allocation.run_id AND b.budget_owner_id IS NULL)
      INTO proposed_total
      FROM unnest(v_changes, v_budgets) w (change_id, budget)
      LEFT JOIN artery.ad_change c ON c.tenant_id = propose_allocation.tenant_id AND c.change_id = w.change_id;
END
$$;
COMMENT ON FUNCTION artery.propose_allocation(text, bigint) IS
'Queue a change for every budget owner whose ads together come to another budget, unless the difference is noise or an open change says about the same; says how many are new, and what all budgets come to once the open ones are made.';
