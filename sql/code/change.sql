-- change: wishes, and views of what became of them
--
-- What is approved is what is judged, sent and recorded: the amount is final,
-- fuzz included, when the wish is proposed.

CREATE OR REPLACE FUNCTION artery.check_text(name text, value text, max_bytes integer, required boolean)
RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF value IS NULL AND required THEN
        RAISE EXCEPTION '% must not be null', name USING ERRCODE = '22004';
    ELSIF value = '' THEN
        RAISE EXCEPTION '% must not be empty', name USING ERRCODE = '22023';
    ELSIF octet_length(value) > max_bytes THEN
        RAISE EXCEPTION '% is too long', name USING ERRCODE = '22001',
            DETAIL = format('It has %s bytes, at most %s are accepted.', octet_length(value), max_bytes);
    END IF;
END
$$;
COMMENT ON FUNCTION artery.check_text(text, text, integer, boolean) IS
'Error 22004, 22023 or 22001 where an argument is missing, empty or too long.';

CREATE OR REPLACE FUNCTION artery.check_change_budget(name text, value jsonb, currency text)
RETURNS numeric
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_budget numeric;
    v_digits integer := artery.currency_digits(currency);
BEGIN
    IF jsonb_typeof(value) <> 'object' OR jsonb_typeof(value -> 'budget') IS DISTINCT FROM 'number'
       OR value - 'budget' <> '{}' THEN
        RAISE EXCEPTION '% of a budget change must be {"budget": amount}', name
            USING ERRCODE = '22023', DETAIL = format('It is %s.', left(value::text, 200)),
                  HINT = 'The amount is per day in the currency of the ad account, for example {"budget": 120.00}.';
    END IF;
    v_budget := (value ->> 'budget')::numeric;
    IF v_budget < 0 OR v_budget > 1e12 OR (v_budget = 0 AND name = 'new_value') THEN
        RAISE EXCEPTION 'budget % in % is out of range', left(v_budget::text, 60), name
            USING ERRCODE = '22003', DETAIL = 'A budget is above 0 and at most 1e12.';
    ELSIF scale(trim_scale(v_budget)) > v_digits AND name = 'new_value' THEN
        RAISE EXCEPTION 'budget % has too many decimal places', left(v_budget::text, 60)
            USING ERRCODE = '22003', DETAIL = format('Amounts in %s have at most %s.', currency, v_digits);
    END IF;
    RETURN round(v_budget, greatest(v_digits, scale(trim_scale(v_budget))));
END
$$;
COMMENT ON FUNCTION artery.check_change_budget(text, jsonb, text) IS
'The amount in {"budget": amount}; error 22023 or 22003 where it is none.';

CREATE OR REPLACE FUNCTION artery.check_change_status(name text, value jsonb)
RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF jsonb_typeof(value) <> 'object' OR value - 'status' <> '{}'
       OR coalesce(value ->> 'status', '') <> ALL (ARRAY['ACTIVE', 'PAUSED']) THEN
        RAISE EXCEPTION '% of a status change must be {"status": "ACTIVE"} or {"status": "PAUSED"}', name
            USING ERRCODE = '22023', DETAIL = format('It is %s.', left(value::text, 200));
    END IF;
    RETURN value ->> 'status';
END
$$;
COMMENT ON FUNCTION artery.check_change_status(text, jsonb) IS 'The status in {"status": ...}; error 22023 where it is none.';

CREATE OR REPLACE FUNCTION artery.budget_in_force(tenant_id text, budget_owner_id text)
RETURNS numeric
LANGUAGE plpgsql STABLE
-- plans made while the tables are new and empty must not stay with reading them whole
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
    RETURN (SELECT b.budget FROM artery.budget_observation b
             WHERE b.tenant_id = budget_in_force.tenant_id AND b.budget_owner_id = budget_in_force.budget_owner_id
               AND b.observed_at <= artery.moment()
             ORDER BY b.observed_at DESC, b.observation_seq DESC LIMIT 1);
END
$$;
COMMENT ON FUNCTION artery.budget_in_force(text, text) IS 'The budget last observed, per day in the account''s currency.';

CREATE OR REPLACE FUNCTION artery.record_change(
    change artery.ad_change, outcome text, actor text DEFAULT NULL, note text DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO artery.ad_change_history (tenant_id, change_id, campaign_id, target_id, change_type, attempt, outcome,
        old_value, new_value, dry_run, actor, response, recorded_at)
    VALUES (change.tenant_id, change.change_id, change.campaign_id, change.target_id, change.change_type, change.attempt,
        outcome, change.old_value, change.new_value, change.dry_run, actor,
        CASE WHEN note IS NOT NULL THEN jsonb_build_object('note', note) END, artery.moment());
END
$$;
COMMENT ON FUNCTION artery.record_change(artery.ad_change, text, text, text) IS
'Append what a person or policy did with a change to its history.';

CREATE OR REPLACE FUNCTION artery.refuse_rewriting()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'the history of changes is append-only' USING ERRCODE = '55000';
END
$$;
COMMENT ON FUNCTION artery.refuse_rewriting() IS 'Keeps what happened as it was recorded; retention deletes by age.';

CREATE TRIGGER refuse_rewriting AFTER UPDATE ON artery.ad_change_history
    FOR EACH ROW EXECUTE FUNCTION artery.refuse_rewriting();

CREATE OR REPLACE FUNCTION artery.let_change_run(change artery.ad_change, actor text, note text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_settings jsonb := artery.effective_settings(change.tenant_id);
    v_least    float8 := v_settings ->> 'jitter_ms_min';
    v_most     float8 := v_settings ->> 'jitter_ms_max';
BEGIN
    -- Jitter is a time to run at, never a sleep.
    UPDATE artery.ad_change c
       SET state = 'approved', approved_by = actor, approved_at = artery.now(),
           approval_note = note, updated_at = artery.now(), settled_at = NULL, failures = 0, last_error = NULL,
           run_at = artery.now() + make_interval(secs => (v_least + random() * (v_most - v_least)) / 1000)
     WHERE c.tenant_id = change.tenant_id AND c.change_id = change.change_id;
    PERFORM artery.wake_worker();
    IF NOT current_setting('artery.enabled')::boolean THEN
        RAISE NOTICE 'artery.enabled is off: nothing is sent until it is on';
    ELSIF NOT (v_settings ->> 'enabled')::boolean THEN
        RAISE NOTICE 'tenant "%" is not enabled: nothing is sent until it is', change.tenant_id;
    END IF;
END
$$;
COMMENT ON FUNCTION artery.let_change_run(artery.ad_change, text, text) IS
'Approve: due after a jitter drawn from the tenant''s range.';

CREATE OR REPLACE FUNCTION artery.supersede_changes(change artery.ad_change)
RETURNS void
LANGUAGE plpgsql VOLATILE
-- plans made while the tables are new and empty must not stay with reading them whole
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
    v_older artery.ad_change;
BEGIN
    FOR v_older IN
        SELECT c.* FROM artery.ad_change c
         WHERE c.tenant_id = change.tenant_id AND c.target_id = change.target_id AND c.change_id <> change.change_id
           AND c.state = ANY (ARRAY['proposed', 'approved', 'blocked', 'sending', 'unknown'])
           AND c.new_value ? 'budget' = change.new_value ? 'budget'
           AND c.new_value ? 'status' = change.new_value ? 'status'
           FOR UPDATE
    LOOP
        -- What is under way finishes its step and ends then.
        UPDATE artery.ad_change c
           SET superseded_by = change.change_id, updated_at = artery.now(),
               state = CASE WHEN w.under_way THEN c.state ELSE 'superseded' END,
               settled_at = CASE WHEN NOT w.under_way THEN artery.now() END,
               run_at = CASE WHEN w.under_way THEN c.run_at END
          FROM (SELECT v_older.state = ANY (ARRAY['sending', 'unknown']) AS under_way) w
         WHERE c.tenant_id = v_older.tenant_id AND c.change_id = v_older.change_id;
        IF v_older.state <> ALL (ARRAY['sending', 'unknown']) THEN
            PERFORM artery.record_change(v_older, 'superseded', change.triggered_by, 'by change ' || change.change_id);
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION artery.supersede_changes(artery.ad_change) IS
'End the older open wishes for the same object in favour of this one, with a link and a row of history.';

CREATE OR REPLACE FUNCTION artery.store_change(change artery.ad_change)
RETURNS uuid
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_settings jsonb := artery.effective_settings(change.tenant_id);
    v_percent  numeric := v_settings ->> 'auto_approve_percent';
    v_budget   numeric;
BEGIN
    -- Of two wishes for one object at the same time, one must see the other.
    PERFORM pg_advisory_xact_lock(hashtextextended(change.tenant_id || ' ' || change.target_id, 1095914573));
    INSERT INTO artery.campaign_guard (tenant_id, campaign_id) VALUES (change.tenant_id, change.campaign_id)
    ON CONFLICT DO NOTHING;
    change.change_id := gen_random_uuid();
    change.state := 'proposed';
    change.attempt := 0;
    change.failures := 0;
    change.reconcile := false;
    change.dry_run := v_settings ->> 'dry_run';
    change.created_at := artery.now();
    change.updated_at := artery.now();
    INSERT INTO artery.ad_change VALUES (change.*);
    PERFORM artery.record_change(change, 'proposed', change.triggered_by, change.reason);
    PERFORM artery.supersede_changes(change);

    v_budget := artery.budget_in_force(change.tenant_id, change.budget_owner_id);
    IF v_percent > 0 AND NOT change.safety_override AND change.new_value ? 'budget' AND v_budget > 0
       AND change.ml_confidence >= (v_settings ->> 'auto_approve_confidence')::float8
       AND abs((change.new_value ->> 'budget')::numeric - v_budget) * 100 <= v_percent * v_budget THEN
        PERFORM artery.record_change(change, 'approved', 'policy',
            format('at most %s %% with confidence %s', v_percent, change.ml_confidence));
        PERFORM artery.let_change_run(change, 'policy', NULL);
    END IF;
    RETURN change.change_id;
END
$$;
COMMENT ON FUNCTION artery.store_change(artery.ad_change) IS
'Store a checked wish, supersede the older ones for its object, and approve it where the tenant''s policy does.';

CREATE OR REPLACE FUNCTION artery.fuzz_budget(budget numeric, in_force numeric, settings jsonb)
RETURNS numeric
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_digits integer := artery.currency_digits(settings ->> 'currency');
    v_fuzzed numeric;
    v_limit  numeric;
BEGIN
    IF (settings ->> 'fuzz_percent')::numeric = 0 THEN
        RETURN budget;
    END IF;
    v_fuzzed := budget * (1 + (random() * 2 - 1)::numeric * (settings ->> 'fuzz_percent')::numeric / 100);
    -- What passes in one step, or without a person, still does: deviate to the other side.
    FOREACH v_limit IN ARRAY ARRAY[settings ->> 'velocity_percent', settings ->> 'auto_approve_percent']::numeric[] LOOP
        IF abs(budget - in_force) * 100 <= v_limit * in_force AND abs(v_fuzzed - in_force) * 100 > v_limit * in_force THEN
            v_fuzzed := 2 * budget - v_fuzzed;
        END IF;
    END LOOP;
    v_fuzzed := greatest(v_fuzzed, (settings ->> 'min_budget')::numeric);
    v_fuzzed := least(v_fuzzed, (settings ->> 'max_budget')::numeric);
    v_fuzzed := round(v_fuzzed, v_digits);
    -- Rounded out of the bounds or to nothing, or an increase turned into a decrease: as asked for.
    IF v_fuzzed <= 0 OR v_fuzzed < (settings ->> 'min_budget')::numeric OR v_fuzzed > (settings ->> 'max_budget')::numeric
       OR sign(v_fuzzed - in_force) <> sign(budget - in_force) THEN
        RETURN budget;
    END IF;
    RETURN v_fuzzed;
END
$$;
COMMENT ON FUNCTION artery.fuzz_budget(numeric, numeric, jsonb) IS
'A budget with the tenant''s random deviation: within the tenant''s bounds, on the same side of what is in force, and not beyond a percentage (velocity, automatic approval) that the budget asked for keeps.';

CREATE OR REPLACE FUNCTION artery.fill_budget_change(change artery.ad_change)
RETURNS artery.ad_change
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_settings jsonb := artery.effective_settings(change.tenant_id);
    v_new      numeric := artery.check_change_budget('new_value', change.new_value, v_settings ->> 'currency');
    v_old      numeric;
    v_force    numeric;
    v_least    numeric;
    v_named    text;
    v_digits   integer := artery.currency_digits(v_settings ->> 'currency');
BEGIN
    v_named := coalesce(change.budget_owner_id, change.adset_id, change.ad_id, change.campaign_id);
    change.budget_owner_id := artery.resolve_budget_owner(change.tenant_id, change.campaign_id, change.adset_id,
        change.ad_id, change.budget_owner_id);
    change.target_id := change.budget_owner_id;
    v_settings := artery.settings_of_owner(change.tenant_id, change.budget_owner_id, v_settings);
    v_force := artery.budget_in_force(change.tenant_id, change.budget_owner_id);
    v_old := v_force;
    IF change.old_value IS NOT NULL THEN
        v_old := artery.check_change_budget('old_value', change.old_value, v_settings ->> 'currency');
        -- Amounts meant for an ad set must not reach the campaign that keeps the budget of all its ad sets.
        IF change.target_id = change.campaign_id AND v_named <> change.campaign_id AND v_old <> v_force THEN
            RAISE EXCEPTION 'the budget of "%" is kept on its campaign "%"', left(v_named, 100), left(change.campaign_id, 100)
                USING ERRCODE = '22023', DETAIL = format('In force there is %s, not %s.', v_force, v_old),
                      HINT = 'Propose a budget of the campaign.';
        END IF;
    END IF;
    -- Less than Meta takes is raised to the least it takes; what was asked for is kept.
    change.requested_value := jsonb_build_object('budget', v_new);
    v_least := artery.least_budget(change.tenant_id, change.budget_owner_id);
    v_new := round(greatest(v_new, v_least), greatest(v_digits, scale(trim_scale(greatest(v_new, v_least)))));
    IF v_new = v_old OR (v_new > v_old) <> (change.change_type = 'BUDGET_INCREASE') THEN
        RAISE EXCEPTION '% from % to % is none', change.change_type, v_old, v_new
            USING ERRCODE = '22023', HINT = concat('BUDGET_INCREASE raises a budget, BUDGET_DECREASE lowers it.',
                      ' The least that Meta takes is ' || v_least || '.');
    END IF;
    IF v_new < (v_settings ->> 'min_budget')::numeric OR v_new > (v_settings ->> 'max_budget')::numeric THEN
        RAISE EXCEPTION 'budget % is outside the tenant''s bounds', v_new
            USING ERRCODE = '22003',
                  DETAIL = format('A budget owner may have from %s to %s.', coalesce(v_settings ->> 'min_budget', 'any amount'),
                      coalesce(v_settings ->> 'max_budget', 'any amount')),
                  HINT = 'Settings min_budget and max_budget.';
    END IF;
    IF v_old IS NOT NULL THEN
        change.old_value := jsonb_build_object('budget', round(v_old, greatest(scale(trim_scale(v_old)), v_digits)));
    END IF;
    change.new_value := jsonb_build_object('budget',
        greatest(artery.fuzz_budget(v_new, v_old, v_settings), v_least));
    RETURN change;
END
$$;
COMMENT ON FUNCTION artery.fill_budget_change(artery.ad_change) IS
'Check a wish for a budget, find its owner and the value before it, raise it to the least that Meta takes, and draw its fuzz.';

CREATE OR REPLACE FUNCTION artery.fill_other_change(change artery.ad_change)
RETURNS artery.ad_change
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_status text;
BEGIN
    change.target_id := coalesce(change.ad_id, change.adset_id, change.budget_owner_id, change.campaign_id);
    change.requested_value := change.new_value;
    IF change.change_type = 'TARGETING_UPDATE' THEN
        IF jsonb_typeof(change.new_value -> 'targeting') IS DISTINCT FROM 'object'
           OR change.new_value -> 'targeting' = '{}' THEN
            RAISE EXCEPTION 'TARGETING_UPDATE needs a targeting'
                USING ERRCODE = '22023', HINT = 'Give new_value as {"targeting": {...}}.';
        END IF;
        IF change.ad_id IS NOT NULL AND change.adset_id IS NOT NULL THEN
            change.target_id := change.adset_id;
        END IF;
        RETURN change;
    END IF;
    v_status := artery.check_change_status('new_value', change.new_value);
    IF change.old_value IS NOT NULL AND artery.check_change_status('old_value', change.old_value) = v_status THEN
        RAISE EXCEPTION 'STATUS_CHANGE from % to % is none', v_status, v_status USING ERRCODE = '22023';
    END IF;
    RETURN change;
END
$$;
COMMENT ON FUNCTION artery.fill_other_change(artery.ad_change) IS 'Check a wish for a status or a targeting.';

CREATE OR REPLACE FUNCTION artery.queue_ad_change(
    tenant_id text, campaign_id text, change_type text, old_value jsonb, new_value jsonb, triggered_by text,
    ad_id text DEFAULT NULL, adset_id text DEFAULT NULL, ml_confidence double precision DEFAULT NULL,
    reason text DEFAULT NULL, safety_override boolean DEFAULT false, budget_owner_id text DEFAULT NULL,
    run_id bigint DEFAULT NULL)
RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_change artery.ad_change;
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    PERFORM artery.check_text('campaign_id', campaign_id, 256, true), artery.check_text('ad_id', ad_id, 256, false),
            artery.check_text('adset_id', adset_id, 256, false), artery.check_text('triggered_by', triggered_by, 256, true),
            artery.check_text('reason', nullif(reason, ''), 8192, false),
            artery.check_text('budget_owner_id', budget_owner_id, 256, false);
    IF change_type IS NULL OR new_value IS NULL THEN
        RAISE EXCEPTION 'change_type and new_value must not be null' USING ERRCODE = '22004';
    END IF;
    IF ml_confidence < 0 OR ml_confidence > 1 THEN  -- NaN is above every number
        RAISE EXCEPTION 'ml_confidence % is out of range', ml_confidence
            USING ERRCODE = '22003', DETAIL = 'A confidence is a share between 0 and 1.';
    END IF;
    v_change.tenant_id := tenant_id;
    v_change.campaign_id := campaign_id;
    v_change.adset_id := adset_id;
    v_change.ad_id := ad_id;
    v_change.budget_owner_id := budget_owner_id;
    v_change.change_type := change_type;
    v_change.old_value := nullif(old_value, 'null');
    v_change.new_value := new_value;
    v_change.triggered_by := triggered_by;
    v_change.reason := nullif(reason, '');
    v_change.ml_confidence := ml_confidence;
    v_change.safety_override := coalesce(safety_override, false);
    v_change.run_id := run_id;
    IF change_type = ANY (ARRAY['BUDGET_INCREASE', 'BUDGET_DECREASE']) THEN
        v_change := artery.fill_budget_change(v_change);
    ELSIF change_type = ANY (ARRAY['STATUS_CHANGE', 'TARGETING_UPDATE']) THEN
        v_change := artery.fill_other_change(v_change);
    ELSE
        RAISE EXCEPTION 'unknown change_type "%"', left(change_type, 100)
            USING ERRCODE = '22023', HINT = 'Known types: BUDGET_INCREASE, BUDGET_DECREASE, STATUS_CHANGE, TARGETING_UPDATE.';
    END IF;
    PERFORM artery.check_change_campaign(tenant_id, campaign_id, ad_id, v_change.target_id);
    RETURN artery.store_change(v_change);
END
$$;
COMMENT ON FUNCTION artery.queue_ad_change(text, text, text, jsonb, jsonb, text, text, text, double precision, text, boolean, text, bigint) IS
'Propose a change; returns its id. Budgets are {"budget": 120.00} per day, statuses {"status": "PAUSED"}; a budget on an ad goes to its budget owner. A newer wish for the same object supersedes older open ones. A targeting is kept as a proposal for people only. safety_override lets a budget pass in one step whatever the velocity; a person must approve it with a note.';

-- The protocol step by step, for tests and for looking closer; nothing here sends.

CREATE OR REPLACE FUNCTION artery.claim_ad_changes(
    claim_limit integer, OUT tenant_id text, OUT change_id uuid, OUT attempt integer, OUT reconcile boolean,
    OUT campaign_id text, OUT target_id text, OUT new_value jsonb, OUT sending_value jsonb)
RETURNS SETOF record
LANGUAGE C VOLATILE STRICT
AS 'MODULE_PATHNAME', 'artery_claim_ad_changes';
COMMENT ON FUNCTION artery.claim_ad_changes(integer) IS
'Internal: claim due changes for this session as the worker does. A claim is taken back when the session ends.';

CREATE OR REPLACE FUNCTION artery.judge_ad_change(
    tenant_id text, change_id uuid, attempt integer, live jsonb DEFAULT NULL,
    OUT verdict text, OUT value jsonb, OUT claimed_attempt integer)
RETURNS record
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'artery_judge_ad_change';
COMMENT ON FUNCTION artery.judge_ad_change(text, uuid, integer, jsonb) IS
'Internal: judge a claimed change by what is in force, {"budget": ..} or {"status": ..}; with verdict send the place is reserved.';

CREATE OR REPLACE FUNCTION artery.reserve_ad_change(
    tenant_id text, change_id uuid, live jsonb DEFAULT NULL,
    OUT verdict text, OUT value jsonb, OUT claimed_attempt integer)
RETURNS record
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'artery_reserve_ad_change';
COMMENT ON FUNCTION artery.reserve_ad_change(text, uuid, jsonb) IS
'Internal: claim one approved or blocked change, whatever its time and campaign, and judge it at once.';

CREATE OR REPLACE FUNCTION artery.settle_ad_change(
    tenant_id text, change_id uuid, attempt integer, outcome text, error text DEFAULT NULL, rule text DEFAULT NULL,
    not_before timestamptz DEFAULT NULL)
RETURNS boolean
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'artery_settle_ad_change';
COMMENT ON FUNCTION artery.settle_ad_change(text, uuid, integer, text, text, text, timestamptz) IS
'Internal: settle a claimed change as applied, retry, throttled, failed or unknown; false if the claim is not this attempt''s any more.';

CREATE OR REPLACE VIEW artery.v_pending_changes WITH (security_barrier) AS
SELECT c.tenant_id, c.change_id, c.campaign_id, c.adset_id, c.ad_id, c.budget_owner_id, c.target_id, c.change_type, c.state,
       c.old_value, c.new_value, c.requested_value, c.reached_value, s.steps_done,
       round(100 * ((c.reached_value ->> 'budget')::numeric - s.start_budget)
             / nullif((c.new_value ->> 'budget')::numeric - s.start_budget, 0), 1) AS progress_percent,
       c.blocked_rule, c.blocked_detail, c.next_allowed_at, artery.rule_advice(c.blocked_rule) AS advice,
       c.run_at, c.attempt, c.failures, c.last_error,
       c.ml_confidence, c.reason, c.triggered_by, c.safety_override, c.approved_by, c.approved_at, c.rollback_of,
       c.created_at, artery.now() - c.created_at AS age
  FROM artery.ad_change c
  CROSS JOIN LATERAL (
       SELECT count(*) AS steps_done,
              (pg_catalog.array_agg((h.old_value ->> 'budget')::numeric ORDER BY h.history_id))[1] AS start_budget
         FROM artery.ad_change_history h
        WHERE h.tenant_id = c.tenant_id AND h.change_id = c.change_id AND h.outcome = 'step') s
 WHERE artery.tenant_visible(c.tenant_id)
   AND c.state = ANY (ARRAY['proposed', 'approved', 'blocked', 'sending', 'unknown']);
COMMENT ON VIEW artery.v_pending_changes IS
'Open changes: what waits for approval, for its time, for the guard (rule, numbers, when it can pass, what to do about it), and how far a ramp has come.';

CREATE OR REPLACE VIEW artery.v_failed_changes WITH (security_barrier) AS
SELECT c.tenant_id, c.change_id, c.campaign_id, c.target_id, c.change_type, c.old_value, c.new_value, c.reached_value,
       c.last_error, c.failures, c.attempt, c.dry_run, c.triggered_by, c.reason, c.approved_by, c.created_at, c.settled_at AS failed_at
  FROM artery.ad_change c
 WHERE c.state = 'failed' AND artery.tenant_visible(c.tenant_id);
COMMENT ON VIEW artery.v_failed_changes IS
'Changes that failed for good, with the reason; retry_ad_change revives one, retention forgets them by age.';

CREATE OR REPLACE VIEW artery.v_recent_budget_changes WITH (security_barrier) AS
SELECT h.tenant_id, h.campaign_id, h.target_id AS budget_owner_id, h.change_id, h.change_type, h.outcome,
       (h.old_value ->> 'budget')::numeric AS old_budget, (h.new_value ->> 'budget')::numeric AS new_budget,
       round(((h.new_value ->> 'budget')::numeric - (h.old_value ->> 'budget')::numeric) * 100
             / nullif((h.old_value ->> 'budget')::numeric, 0), 2) AS change_percentage,
       h.dry_run, c.triggered_by, c.reason, c.approved_by, h.duration_ms, h.recorded_at
  FROM artery.ad_change_history h
  LEFT JOIN artery.ad_change c ON c.tenant_id = h.tenant_id AND c.change_id = h.change_id
 WHERE artery.tenant_visible(h.tenant_id) AND h.new_value ? 'budget'
   AND h.outcome = ANY (ARRAY['step', 'completed']) AND h.recorded_at > artery.now() - interval '7 days';
COMMENT ON VIEW artery.v_recent_budget_changes IS
'Budget changes of the last 7 days that were applied, step by step, and those of dry runs (dry_run) that would have been.';

CREATE OR REPLACE VIEW artery.v_campaign_activity_summary WITH (security_barrier) AS
SELECT g.tenant_id, g.campaign_id, a.actions_last_hour, l.limit_value,
       greatest(l.limit_value - a.actions_last_hour, 0) AS places_left,
       CASE WHEN a.actions_last_hour < l.limit_value THEN artery.now()
            ELSE a.acted_at[l.limit_value] + interval '60 minutes' END AS next_allowed_at,
       c.proposed, c.approved, c.blocked, c.in_flight, c.completed_last_day, c.failed_last_day, a.acted_at[1] AS last_action_at
  FROM artery.campaign_guard g
  JOIN artery.tenant t ON t.tenant_id = g.tenant_id
  CROSS JOIN LATERAL (
       SELECT coalesce(t.settings -> d.name, d.default_value)::integer AS limit_value
         FROM artery.setting_definitions() d WHERE d.name = 'rate_limit_per_hour') l
  CROSS JOIN LATERAL (
       SELECT count(*)::integer AS actions_last_hour, array_agg(x.acted_at ORDER BY x.acted_at DESC) AS acted_at
         FROM artery.campaign_action x
        WHERE x.tenant_id = g.tenant_id AND x.campaign_id = g.campaign_id
          AND x.acted_at > artery.now() - interval '60 minutes') a
  CROSS JOIN LATERAL (
       SELECT count(*) FILTER (WHERE x.state = 'proposed') AS proposed,
              count(*) FILTER (WHERE x.state = 'approved') AS approved,
              count(*) FILTER (WHERE x.state = 'blocked') AS blocked,
              count(*) FILTER (WHERE x.state = ANY (ARRAY['sending', 'unknown'])) AS in_flight,
              count(*) FILTER (WHERE x.state = 'completed'
                                 AND x.settled_at > artery.now() - interval '1 day') AS completed_last_day,
              count(*) FILTER (WHERE x.state = 'failed' AND x.settled_at > artery.now() - interval '1 day') AS failed_last_day
         FROM artery.ad_change x
        WHERE x.tenant_id = g.tenant_id AND x.campaign_id = g.campaign_id) c
 WHERE artery.tenant_visible(g.tenant_id);
COMMENT ON VIEW artery.v_campaign_activity_summary IS
'Per campaign: places taken in the last 60 minutes of those allowed, and how many changes are in which state.';

CREATE OR REPLACE VIEW artery.v_safety_check_failures WITH (security_barrier) AS
SELECT h.tenant_id, h.campaign_id, h.target_id, h.change_id, h.change_type, h.rule AS blocked_rule,
       h.old_value, h.new_value, h.checks, h.next_allowed_at, h.error, h.dry_run, h.recorded_at, c.state AS state_now
  FROM artery.ad_change_history h
  LEFT JOIN artery.ad_change c ON c.tenant_id = h.tenant_id AND c.change_id = h.change_id
 WHERE artery.tenant_visible(h.tenant_id) AND h.outcome = 'blocked';
COMMENT ON VIEW artery.v_safety_check_failures IS
'When the guard held a change back: by which rule, with which numbers, until when, and what became of the change.';
