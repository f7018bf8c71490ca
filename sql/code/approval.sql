-- approval: what people decide about a change

CREATE OR REPLACE FUNCTION artery.lock_change(tenant_id text, change_id uuid, action text, states text[])
RETURNS artery.ad_change
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_change artery.ad_change;
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    IF change_id IS NULL THEN
        RAISE EXCEPTION 'change_id must not be null' USING ERRCODE = '22004';
    END IF;
    SELECT c.* INTO v_change FROM artery.ad_change c
     WHERE c.tenant_id = lock_change.tenant_id AND c.change_id = lock_change.change_id FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'unknown change %', change_id USING ERRCODE = '22023',
            HINT = format('View artery.v_pending_changes lists the open changes of tenant "%s".', tenant_id);
    ELSIF v_change.state <> ALL (states) THEN
        RAISE EXCEPTION 'cannot % change %: it is %', action, change_id, v_change.state
            USING ERRCODE = '55000', DETAIL = format('That is possible in state %s.', array_to_string(states, ', '));
    END IF;
    RETURN v_change;
END
$$;
COMMENT ON FUNCTION artery.lock_change(text, uuid, text, text[]) IS
'Lock and return a change; error 22023 if unknown, 55000 if not in one of the states.';

CREATE OR REPLACE FUNCTION artery.approve_ad_change(
    tenant_id text, change_id uuid, approved_by text, note text DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_change artery.ad_change := artery.lock_change(tenant_id, change_id, 'approve', ARRAY['proposed']);
BEGIN
    PERFORM artery.check_text('approved_by', approved_by, 256, true), artery.check_text('note', nullif(note, ''), 8192, false);
    IF v_change.change_type = 'TARGETING_UPDATE' THEN
        RAISE EXCEPTION 'a TARGETING_UPDATE cannot be sent' USING ERRCODE = '0A000',
            HINT = 'Make it in Ads Manager and reject or cancel the proposal.';
    END IF;
    -- Meta keeps the budget elsewhere by now: the amounts are another object's.
    IF v_change.new_value ? 'budget' AND v_change.target_id
       <> artery.budget_keeper(v_change.tenant_id, v_change.campaign_id, v_change.target_id) THEN
        RAISE EXCEPTION 'cannot approve change %: the budget of "%" is kept on its campaign now', change_id, v_change.target_id
            USING ERRCODE = '55000', HINT = 'Reject it and propose a budget of the campaign.';
    END IF;
    IF v_change.safety_override AND coalesce(btrim(note), '') = '' THEN
        RAISE EXCEPTION 'a change with safety_override is approved with a note only' USING ERRCODE = '22023',
            HINT = 'Say in note why the velocity rule shall not hold.';
    END IF;
    PERFORM artery.record_change(v_change, 'approved', approved_by, note);
    PERFORM artery.let_change_run(v_change, approved_by, note);
    RETURN 'approved';
END
$$;
COMMENT ON FUNCTION artery.approve_ad_change(text, uuid, text, text) IS
'Approve a proposed change: exactly its new_value is sent when the guard allows it.';

CREATE OR REPLACE FUNCTION artery.end_change(change artery.ad_change, state text, actor text, note text)
RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.check_text('note', nullif(note, ''), 8192, false);
    UPDATE artery.ad_change c
       SET state = end_change.state, run_at = NULL, settled_at = artery.now(), updated_at = artery.now()
     WHERE c.tenant_id = change.tenant_id AND c.change_id = change.change_id;
    PERFORM artery.record_change(change, end_change.state, actor, note);
    RETURN end_change.state;
END
$$;
COMMENT ON FUNCTION artery.end_change(artery.ad_change, text, text, text) IS 'End a change by a person''s decision.';

CREATE OR REPLACE FUNCTION artery.reject_ad_change(
    tenant_id text, change_id uuid, rejected_by text DEFAULT NULL, note text DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.check_text('rejected_by', rejected_by, 256, false);
    RETURN artery.end_change(artery.lock_change(tenant_id, change_id, 'reject', ARRAY['proposed']),
        'rejected', coalesce(rejected_by, session_user), note);
END
$$;
COMMENT ON FUNCTION artery.reject_ad_change(text, uuid, text, text) IS 'Refuse a proposed change.';

CREATE OR REPLACE FUNCTION artery.cancel_ad_change(
    tenant_id text, change_id uuid, cancelled_by text DEFAULT NULL, note text DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.check_text('cancelled_by', cancelled_by, 256, false);
    RETURN artery.end_change(
        artery.lock_change(tenant_id, change_id, 'cancel', ARRAY['proposed', 'approved', 'blocked']),
        'cancelled', coalesce(cancelled_by, session_user), note);
END
$$;
COMMENT ON FUNCTION artery.cancel_ad_change(text, uuid, text, text) IS
'Stop a change that is not under way; what of a ramp was applied stays (rollback_ad_change takes it back).';

CREATE OR REPLACE FUNCTION artery.rollback_ad_change(tenant_id text, change_id uuid)
RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_change artery.ad_change := artery.lock_change(tenant_id, change_id, 'roll back',
        ARRAY['approved', 'blocked', 'completed', 'failed', 'cancelled', 'superseded']);
    v_before jsonb;
    v_now    numeric;
BEGIN
    SELECT h.old_value INTO v_before FROM artery.ad_change_history h
     WHERE h.tenant_id = v_change.tenant_id AND h.change_id = v_change.change_id AND NOT h.dry_run
       AND h.outcome = ANY (ARRAY['step', 'completed']) AND h.old_value IS DISTINCT FROM h.new_value
     ORDER BY h.history_id LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'cannot roll back change %: nothing of it was applied', change_id
            USING ERRCODE = '55000', DETAIL = format('It is %s.', v_change.state);
    END IF;
    v_now := artery.budget_in_force(tenant_id, v_change.budget_owner_id);
    IF v_before IS NULL OR (v_before ->> 'budget')::numeric = v_now THEN
        RAISE EXCEPTION 'cannot roll back change %: %', change_id,
            CASE WHEN v_before IS NULL THEN 'the value before it is not known' ELSE 'the value before it is in force' END
            USING ERRCODE = '55000';
    END IF;
    v_change.rollback_of := v_change.change_id;
    v_change.old_value := v_change.new_value;
    v_change.new_value := v_before;
    v_change.requested_value := v_before;
    IF v_before ? 'budget' THEN
        v_change.old_value := jsonb_build_object('budget', v_now);
        v_change.change_type := CASE WHEN (v_before ->> 'budget')::numeric > v_now THEN 'BUDGET_INCREASE'
                                     ELSE 'BUDGET_DECREASE' END;
    END IF;
    v_change.triggered_by := 'rollback';
    v_change.reason := format('rollback of change %s', change_id);
    v_change.ml_confidence := NULL;
    v_change.safety_override := false;
    v_change.run_id := NULL;
    v_change.run_at := NULL;
    v_change.sending_value := NULL;
    v_change.sending_from := NULL;
    v_change.sending_at := NULL;
    v_change.sending_worker := NULL;
    v_change.sending_started := NULL;
    v_change.reached_value := NULL;
    v_change.checks := NULL;
    v_change.blocked_rule := NULL;
    v_change.blocked_detail := NULL;
    v_change.next_allowed_at := NULL;
    v_change.last_error := NULL;
    v_change.approved_by := NULL;
    v_change.approved_at := NULL;
    v_change.approval_note := NULL;
    v_change.superseded_by := NULL;
    v_change.settled_at := NULL;
    RETURN artery.store_change(v_change);
END
$$;
COMMENT ON FUNCTION artery.rollback_ad_change(text, uuid) IS
'Propose the value in force before the change (all its steps), without fuzz; returns the new change''s id.';

CREATE OR REPLACE FUNCTION artery.retry_ad_change(tenant_id text, change_id uuid)
RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_change artery.ad_change := artery.lock_change(tenant_id, change_id, 'retry', ARRAY['failed']);
BEGIN
    IF EXISTS (SELECT FROM artery.ad_change c
                WHERE c.tenant_id = v_change.tenant_id AND c.target_id = v_change.target_id
                  AND c.new_value ? 'budget' = v_change.new_value ? 'budget'
                  AND c.state = ANY (ARRAY['proposed', 'approved', 'blocked', 'sending', 'unknown'])) THEN
        RAISE EXCEPTION 'cannot retry change %: there is a newer one for "%"', change_id, v_change.target_id
            USING ERRCODE = '55000', HINT = 'Cancel the newer one first.';
    END IF;
    PERFORM artery.record_change(v_change, 'approved', session_user, 'retry');
    PERFORM artery.let_change_run(v_change, v_change.approved_by, v_change.approval_note);
    RETURN 'approved';
END
$$;
COMMENT ON FUNCTION artery.retry_ad_change(text, uuid) IS 'Give a failed change all its attempts again.';
