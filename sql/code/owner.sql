-- owner: which object keeps the budget meant, what it may be, and stopping it

CREATE OR REPLACE FUNCTION artery.budget_keeper(tenant_id text, campaign_id text, budget_owner_id text)
RETURNS text
LANGUAGE plpgsql STABLE
-- plans made while the tables are new and empty must not stay with reading them whole
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
    -- Meta keeps a budget on the campaign or on its ad sets, never on both: of two that were seen, the newer holds.
    RETURN (SELECT CASE WHEN EXISTS (
                SELECT FROM artery.budget_owner c
                  LEFT JOIN artery.budget_owner o
                    ON o.tenant_id = c.tenant_id AND o.budget_owner_id = budget_keeper.budget_owner_id
                 WHERE c.tenant_id = budget_keeper.tenant_id AND c.budget_owner_id = budget_keeper.campaign_id
                   AND (c.budget IS NOT NULL OR c.budget_type = 'lifetime')
                   AND (o.budget IS NULL AND o.budget_type IS DISTINCT FROM 'lifetime' OR o.observed_at < c.observed_at))
            THEN budget_keeper.campaign_id ELSE budget_keeper.budget_owner_id END);
END
$$;
COMMENT ON FUNCTION artery.budget_keeper(text, text, text) IS
'The object that keeps the budget of an ad set by what was seen last: its campaign under a campaign budget, else the ad set itself.';

CREATE OR REPLACE FUNCTION artery.resolve_budget_owner(
    tenant_id text, campaign_id text, adset_id text, ad_id text, budget_owner_id text)
RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_owner  text := budget_owner_id;
    v_owners text[];
BEGIN
    IF v_owner IS NULL AND ad_id IS NOT NULL THEN
        -- An ad set that is no owner is found out when it is read before anything is sent.
        SELECT coalesce(a.budget_owner_id, a.adset_id) INTO v_owner FROM artery.ad_state a
         WHERE a.tenant_id = resolve_budget_owner.tenant_id AND a.ad_id = resolve_budget_owner.ad_id;
        IF v_owner IS NULL AND adset_id IS NULL THEN
            RAISE EXCEPTION 'the budget owner of ad "%" is not known', left(ad_id, 100)
                USING ERRCODE = '22023', DETAIL = 'Meta keeps budgets on ad sets or campaigns, never on ads.',
                      HINT = 'Name the ad set or campaign, or tell the ad''s budget owner by artery.register_ad().';
        END IF;
    END IF;
    IF v_owner IS NULL THEN
        -- The ad set itself, the object its ads are paid by, or the only one of the campaign that can have a budget.
        SELECT array_agg(DISTINCT o.owner_id ORDER BY o.owner_id) INTO v_owners FROM (
            SELECT b.budget_owner_id AS owner_id FROM artery.budget_owner b
             WHERE b.tenant_id = resolve_budget_owner.tenant_id AND b.budget_type IS DISTINCT FROM 'none'
               AND (b.budget_owner_id = coalesce(resolve_budget_owner.adset_id, resolve_budget_owner.campaign_id)
                    OR (resolve_budget_owner.adset_id IS NULL AND b.campaign_id = resolve_budget_owner.campaign_id))
            UNION
            SELECT a.budget_owner_id FROM artery.ad_state a
             WHERE a.tenant_id = resolve_budget_owner.tenant_id AND a.budget_owner_id IS NOT NULL
               AND CASE WHEN resolve_budget_owner.adset_id IS NOT NULL THEN a.adset_id = resolve_budget_owner.adset_id
                        ELSE a.campaign_id = resolve_budget_owner.campaign_id END) o;
        v_owner := coalesce(adset_id, campaign_id);
        IF cardinality(v_owners) = 1 THEN
            v_owner := v_owners[1];
        ELSIF cardinality(v_owners) > 1 AND v_owner <> ALL (v_owners) THEN
            RAISE EXCEPTION 'the budget of "%" is kept on several objects', left(v_owner, 100)
                USING ERRCODE = '22023', DETAIL = format('They are: %s.', left(array_to_string(v_owners, ', '), 500)),
                      HINT = 'Name the ad set.';
        END IF;
    END IF;
    RETURN artery.budget_keeper(tenant_id, campaign_id, v_owner);
END
$$;
COMMENT ON FUNCTION artery.resolve_budget_owner(text, text, text, text, text) IS
'The object of Meta''s that carries the budget meant, the campaign if it has a campaign budget; error 22023 where that cannot be known.';

CREATE OR REPLACE FUNCTION artery.check_change_campaign(tenant_id text, campaign_id text, ad_id text, target_id text)
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_campaign text;
BEGIN
    -- The limit per campaign would be worthless if a change could name another one.
    SELECT o.campaign_id INTO v_campaign FROM (
        SELECT a.campaign_id FROM artery.ad_state a
         WHERE a.tenant_id = check_change_campaign.tenant_id AND a.ad_id = check_change_campaign.ad_id
        UNION ALL
        SELECT b.campaign_id FROM artery.budget_owner b
         WHERE b.tenant_id = check_change_campaign.tenant_id AND b.budget_owner_id = check_change_campaign.target_id) o
     WHERE o.campaign_id <> check_change_campaign.campaign_id LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '"%" belongs to campaign "%", not "%"', left(coalesce(ad_id, target_id), 100),
            left(v_campaign, 100), left(campaign_id, 100) USING ERRCODE = '22023';
    END IF;
END
$$;
COMMENT ON FUNCTION artery.check_change_campaign(text, text, text, text) IS
'Error 22023 where the ad or budget owner is known to belong to another campaign.';

CREATE OR REPLACE FUNCTION artery.least_budget(tenant_id text, budget_owner_id text)
RETURNS numeric
LANGUAGE plpgsql STABLE
-- plans made while the tables are new and empty must not stay with reading them whole
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
    RETURN (SELECT greatest(
                (SELECT o.minimum FROM artery.budget_owner o
                  WHERE o.tenant_id = t.tenant_id AND o.budget_owner_id = least_budget.budget_owner_id),
                (SELECT a.min_daily_budget FROM artery.ad_account a
                  WHERE a.tenant_id = t.tenant_id
                    AND a.account_id = coalesce(ltrim(t.settings ->> 'meta_ad_account_id', 'act_'), a.account_id)
                  ORDER BY a.synced_at DESC LIMIT 1))
              FROM artery.tenant t WHERE t.tenant_id = least_budget.tenant_id);
END
$$;
COMMENT ON FUNCTION artery.least_budget(text, text) IS
'The least daily budget Meta takes for the owner, as last read, in the account''s currency; NULL if not known.';

CREATE OR REPLACE FUNCTION artery.is_known_owner(tenant_id text, budget_owner_id text)
RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM artery.budget_owner o
                    WHERE o.tenant_id = is_known_owner.tenant_id AND o.budget_owner_id = is_known_owner.budget_owner_id)
        OR EXISTS (SELECT FROM artery.ad_state a
                    WHERE a.tenant_id = is_known_owner.tenant_id AND a.adset_id = is_known_owner.budget_owner_id)
        OR EXISTS (SELECT FROM artery.ad_state a
                    WHERE a.tenant_id = is_known_owner.tenant_id AND a.campaign_id = is_known_owner.budget_owner_id)
        OR EXISTS (SELECT FROM artery.ad_change c
                    WHERE c.tenant_id = is_known_owner.tenant_id AND c.target_id = is_known_owner.budget_owner_id
                      AND c.state = ANY (ARRAY['proposed', 'approved', 'blocked', 'sending', 'unknown']))
$$;
COMMENT ON FUNCTION artery.is_known_owner(text, text) IS 'Whether an ad set or campaign of that id was ever seen.';

CREATE OR REPLACE FUNCTION artery.changes_of_owner(tenant_id text, budget_owner_id text, states text[])
RETURNS SETOF artery.ad_change
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    -- One that is locked is being claimed: it will be judged by what holds by then.
    SELECT c.* FROM artery.ad_change c
     WHERE c.tenant_id = changes_of_owner.tenant_id AND c.state = ANY (states)
       AND (changes_of_owner.budget_owner_id = ANY (ARRAY[c.target_id, c.adset_id, c.campaign_id])
            OR c.ad_id IN (SELECT a.ad_id FROM artery.ad_state a
                            WHERE a.tenant_id = changes_of_owner.tenant_id
                              AND changes_of_owner.budget_owner_id = ANY (ARRAY[a.adset_id, a.budget_owner_id])))
     ORDER BY c.change_id FOR UPDATE SKIP LOCKED
$$;
COMMENT ON FUNCTION artery.changes_of_owner(text, text, text[]) IS
'Lock and return the changes in certain states of an ad set or campaign and of what is in it.';

CREATE OR REPLACE FUNCTION artery.hold_changes(tenant_id text, budget_owner_id text, actor text, note text)
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_change artery.ad_change;
    v_held   integer := 0;
BEGIN
    FOR v_change IN
        SELECT c.* FROM artery.changes_of_owner(hold_changes.tenant_id, hold_changes.budget_owner_id, ARRAY['approved', 'blocked']) c
         WHERE c.blocked_rule IS DISTINCT FROM 'owner_paused'
    LOOP
        UPDATE artery.ad_change c
           SET state = 'blocked', blocked_rule = 'owner_paused', next_allowed_at = NULL, run_at = NULL,
               blocked_detail = jsonb_build_object('owner_paused', jsonb_build_object('owner', hold_changes.budget_owner_id)),
               updated_at = artery.now()
         WHERE c.tenant_id = hold_changes.tenant_id AND c.change_id = v_change.change_id;
        INSERT INTO artery.ad_change_history (tenant_id, change_id, campaign_id, target_id, change_type, attempt, outcome,
            old_value, new_value, dry_run, actor, rule, response, recorded_at)
        VALUES (v_change.tenant_id, v_change.change_id, v_change.campaign_id, v_change.target_id, v_change.change_type,
            v_change.attempt, 'blocked', v_change.old_value, v_change.new_value, v_change.dry_run, actor, 'owner_paused',
            CASE WHEN note IS NOT NULL THEN jsonb_build_object('note', note) END, artery.moment());
        v_held := v_held + 1;
    END LOOP;
    RETURN v_held;
END
$$;
COMMENT ON FUNCTION artery.hold_changes(text, text, text, text) IS
'Show the approved changes of a paused owner as held back; returns how many.';

CREATE OR REPLACE FUNCTION artery.pause_owner(
    tenant_id text, budget_owner_id text, paused_by text, note text DEFAULT NULL)
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    PERFORM artery.check_id(budget_owner_id, 'budget_owner_id'), artery.check_text('paused_by', paused_by, 256, true),
            artery.check_text('note', nullif(note, ''), 8192, false);
    -- A stop button that took a mistyped id would seem to work.
    IF NOT artery.is_known_owner(tenant_id, budget_owner_id) THEN
        RAISE EXCEPTION 'unknown ad set or campaign "%"', left(budget_owner_id, 100)
            USING ERRCODE = '22023', HINT = format('View artery.v_budget_owners lists those of tenant "%s".', tenant_id);
    END IF;
    INSERT INTO artery.budget_owner AS o (tenant_id, budget_owner_id, paused_at, paused_by, pause_note, updated_at)
    VALUES (pause_owner.tenant_id, pause_owner.budget_owner_id, artery.now(), pause_owner.paused_by,
            nullif(pause_owner.note, ''), artery.now())
    ON CONFLICT ON CONSTRAINT budget_owner_pkey DO UPDATE
       SET paused_at = coalesce(o.paused_at, excluded.paused_at), paused_by = excluded.paused_by,
           pause_note = excluded.pause_note, updated_at = excluded.updated_at;
    PERFORM artery.link_budget_owner(tenant_id, budget_owner_id);
    RETURN artery.hold_changes(tenant_id, budget_owner_id, paused_by, nullif(note, ''));
END
$$;
COMMENT ON FUNCTION artery.pause_owner(text, text, text, text) IS
'Stop all changes of an ad set or campaign and of what is in it, until resume_owner; returns how many approved ones are held. Only a request under way is finished.';

CREATE OR REPLACE FUNCTION artery.resume_owner(
    tenant_id text, budget_owner_id text, resumed_by text DEFAULT NULL, note text DEFAULT NULL)
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_change   artery.ad_change;
    v_released integer := 0;
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    PERFORM artery.check_id(budget_owner_id, 'budget_owner_id'), artery.check_text('resumed_by', resumed_by, 256, false),
            artery.check_text('note', nullif(note, ''), 8192, false);
    UPDATE artery.budget_owner o SET paused_at = NULL, paused_by = NULL, pause_note = NULL, updated_at = artery.now()
     WHERE o.tenant_id = resume_owner.tenant_id AND o.budget_owner_id = resume_owner.budget_owner_id
       AND o.paused_at IS NOT NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'budget owner "%" is not paused', left(budget_owner_id, 100) USING ERRCODE = '55000';
    END IF;
    -- What another pause still holds back is found so when it would be claimed.
    FOR v_change IN
        SELECT c.* FROM artery.changes_of_owner(tenant_id, budget_owner_id, ARRAY['blocked']) c
         WHERE c.blocked_rule = 'owner_paused'
    LOOP
        UPDATE artery.ad_change c SET run_at = artery.now(), updated_at = artery.now()
         WHERE c.tenant_id = v_change.tenant_id AND c.change_id = v_change.change_id;
        PERFORM artery.record_change(v_change, 'approved', coalesce(resumed_by, session_user::text),
            concat_ws(': ', 'owner resumed', nullif(note, '')));
        v_released := v_released + 1;
    END LOOP;
    PERFORM artery.wake_worker();
    RETURN v_released;
END
$$;
COMMENT ON FUNCTION artery.resume_owner(text, text, text, text) IS
'Let the changes of a paused ad set or campaign go on; returns how many were held. They are judged anew.';

CREATE OR REPLACE FUNCTION artery.judge_again(tenant_id text, rules text[])
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- One that is locked is being claimed, and will be judged by what holds now.
    v_changes uuid[] := ARRAY(
        SELECT c.change_id FROM artery.ad_change c
         WHERE c.tenant_id = judge_again.tenant_id AND c.state = 'blocked' AND c.blocked_rule = ANY (rules)
           FOR UPDATE SKIP LOCKED);
BEGIN
    IF cardinality(v_changes) > 0 THEN
        UPDATE artery.ad_change c SET run_at = artery.moment()
         WHERE c.tenant_id = judge_again.tenant_id AND c.change_id = ANY (v_changes);
        PERFORM artery.wake_worker();
    END IF;
END
$$;
COMMENT ON FUNCTION artery.judge_again(text, text[]) IS
'Have the tenant''s changes that certain rules hold back judged again at once.';

CREATE OR REPLACE FUNCTION artery.owner_changed()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.judge_again(NEW.tenant_id, TG_ARGV[0]::text[]);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION artery.owner_changed() IS 'What held a change back may not hold it any more.';

CREATE TRIGGER owner_lowered AFTER UPDATE OF budget, status, effective_status ON artery.budget_owner FOR EACH ROW
    WHEN (NEW.budget < OLD.budget OR NEW.status <> OLD.status OR NEW.effective_status <> OLD.effective_status)
    EXECUTE FUNCTION artery.owner_changed('{tenant_cap,learning}');
CREATE TRIGGER owner_learnt AFTER UPDATE OF learning_status, currency ON artery.budget_owner FOR EACH ROW
    WHEN (NEW.learning_status IS DISTINCT FROM OLD.learning_status OR NEW.currency IS DISTINCT FROM OLD.currency)
    EXECUTE FUNCTION artery.owner_changed('{learning,currency}');
CREATE TRIGGER account_changed AFTER UPDATE OF account_status, currency ON artery.ad_account FOR EACH ROW
    WHEN (NEW.account_status IS DISTINCT FROM OLD.account_status OR NEW.currency IS DISTINCT FROM OLD.currency)
    EXECUTE FUNCTION artery.owner_changed('{account,currency}');

CREATE OR REPLACE VIEW artery.v_budget_owners WITH (security_barrier) AS
SELECT o.tenant_id, o.budget_owner_id, o.owner_type, o.campaign_id, o.budget, o.observed_at, o.currency, o.minimum,
       o.status, o.effective_status, o.learning_status, o.spend_day, o.spend_today, o.paused_at, o.paused_by, o.pause_note,
       o.edited_at, o.edited_by,
       w.open_changes
  FROM artery.budget_owner o
  CROSS JOIN LATERAL (
       SELECT count(*) AS open_changes FROM artery.ad_change c
        WHERE c.tenant_id = o.tenant_id AND c.target_id = o.budget_owner_id
          AND c.state = ANY (ARRAY['proposed', 'approved', 'blocked', 'sending', 'unknown'])) w
 WHERE artery.tenant_visible(o.tenant_id);
COMMENT ON VIEW artery.v_budget_owners IS
'Ad sets and campaigns with what Meta last told of them, and who paused them.';
