-- constraint: what a person allows a budget owner

CREATE OR REPLACE FUNCTION artery.constrain_owner(
    tenant_id text, budget_owner_id text, min_budget numeric DEFAULT NULL, max_budget numeric DEFAULT NULL,
    max_step_percent float8 DEFAULT NULL, pinned boolean DEFAULT false, set_by text DEFAULT NULL, note text DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    PERFORM artery.check_id(budget_owner_id, 'budget_owner_id'), artery.check_amount(coalesce(min_budget, 0), 'min_budget'),
            artery.check_amount(coalesce(max_budget, 0), 'max_budget'), artery.check_text('set_by', set_by, 256, false),
            artery.check_text('note', nullif(note, ''), 8192, false);
    IF min_budget > max_budget THEN
        RAISE EXCEPTION 'min_budget % is above max_budget %', min_budget, max_budget USING ERRCODE = '22023';
    ELSIF max_step_percent = 'NaN' OR max_step_percent < 0 OR max_step_percent > 1000 THEN
        RAISE EXCEPTION 'max_step_percent % is out of range', max_step_percent
            USING ERRCODE = '22003', DETAIL = 'It must be between 0 and 1000.', HINT = 'For 20 percent, give 20.';
    ELSIF NOT artery.is_known_owner(tenant_id, budget_owner_id) THEN
        -- A bound on a mistyped id would seem to hold.
        RAISE EXCEPTION 'unknown ad set or campaign "%"', left(budget_owner_id, 100)
            USING ERRCODE = '22023', HINT = format('View artery.v_budget_owners lists those of tenant "%s".', tenant_id);
    END IF;
    IF min_budget IS NULL AND max_budget IS NULL AND max_step_percent IS NULL AND NOT coalesce(pinned, false) THEN
        DELETE FROM artery.owner_constraint k
         WHERE k.tenant_id = constrain_owner.tenant_id AND k.budget_owner_id = constrain_owner.budget_owner_id;
    ELSE
        INSERT INTO artery.owner_constraint (tenant_id, budget_owner_id, min_budget, max_budget, max_step_percent, pinned,
                                             set_by, note, updated_at)
        VALUES (constrain_owner.tenant_id, constrain_owner.budget_owner_id, constrain_owner.min_budget,
                constrain_owner.max_budget, constrain_owner.max_step_percent, coalesce(constrain_owner.pinned, false),
                constrain_owner.set_by, nullif(constrain_owner.note, ''), artery.now())
        ON CONFLICT ON CONSTRAINT owner_constraint_pkey DO UPDATE
           SET min_budget = excluded.min_budget, max_budget = excluded.max_budget,
               max_step_percent = excluded.max_step_percent, pinned = excluded.pinned,
               set_by = excluded.set_by, note = excluded.note, updated_at = excluded.updated_at;
    END IF;
    -- What the old bounds held back may pass now.
    PERFORM artery.judge_again(tenant_id, ARRAY['owner_cap']);
    RETURN EXISTS (SELECT FROM artery.owner_constraint k
                    WHERE k.tenant_id = constrain_owner.tenant_id AND k.budget_owner_id = constrain_owner.budget_owner_id);
END
$$;
COMMENT ON FUNCTION artery.constrain_owner(text, text, numeric, numeric, float8, boolean, text, text) IS
'Bound the daily budget of an ad set or campaign, in place of the tenant''s min_budget, max_budget and max_step_percent; a bound of the tenant that contradicts one given here gives way. pinned keeps it as it is: counted in the total, never changed by an allocation. Replaces what was set before; with nothing given, the tenant''s settings hold again. Returns whether it has bounds of its own.';

CREATE OR REPLACE FUNCTION artery.account_least(tenant_id text, settings jsonb)
RETURNS numeric
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- the account read last, or the one that is set; nothing where it is in another currency
    SELECT l.least FROM (
        SELECT CASE WHEN a.currency = settings ->> 'currency' THEN a.min_daily_budget END AS least
          FROM artery.ad_account a
         WHERE a.tenant_id = account_least.tenant_id
           AND a.account_id = coalesce(ltrim(settings ->> 'meta_ad_account_id', 'act_'), a.account_id)
         ORDER BY a.synced_at DESC LIMIT 1) l
$$;
COMMENT ON FUNCTION artery.account_least(text, jsonb) IS
'The least daily budget that Meta takes in the tenant''s ad account, as last read, in the tenant''s currency; NULL if not known.';

CREATE OR REPLACE FUNCTION artery.owner_bounds(
    tenant_id text, settings jsonb,
    OUT budget_owner_id text, OUT min_budget numeric, OUT max_budget numeric, OUT max_step_percent float8, OUT held text,
    OUT least_budget numeric)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT b.budget_owner_id, greatest(b.low, b.least), b.high, b.step,
           CASE WHEN b.held IS NOT NULL THEN b.held
                WHEN b.high < b.least
                THEN format('Meta takes no budget below %s, and it may have at most %s', trim_scale(b.least), trim_scale(b.high)) END,
           CASE WHEN b.least > coalesce(b.low, 0) THEN trim_scale(b.least) END
      FROM (SELECT coalesce(o.budget_owner_id, k.budget_owner_id) AS budget_owner_id,
                   -- a bound of its own comes before the tenant's that contradicts it
                   CASE WHEN k.min_budget IS NULL AND (settings ->> 'min_budget')::numeric > k.max_budget THEN k.max_budget
                        ELSE coalesce(k.min_budget, (settings ->> 'min_budget')::numeric) END AS low,
                   CASE WHEN k.max_budget IS NULL AND (settings ->> 'max_budget')::numeric < k.min_budget THEN k.min_budget
                        ELSE coalesce(k.max_budget, (settings ->> 'max_budget')::numeric) END AS high,
                   greatest(a.least, CASE WHEN coalesce(o.currency, settings ->> 'currency') = settings ->> 'currency' THEN o.minimum END) AS least,
                   coalesce(k.max_step_percent, (settings ->> 'max_step_percent')::float8) AS step,
                   CASE WHEN k.pinned THEN 'pinned' || coalesce(' by ' || k.set_by, '') || coalesce(': ' || k.note, '')
                        WHEN o.paused_at IS NOT NULL THEN format('its changes are paused by %s', o.paused_by)
                        WHEN c.paused_at IS NOT NULL THEN format('changes of its campaign are paused by %s', c.paused_by)
                        WHEN o.learning_status = 'LEARNING' AND (settings ->> 'hold_while_learning')::boolean
                        THEN 'it is in Meta''s learning phase' END AS held
              FROM (SELECT b.* FROM artery.budget_owner b WHERE b.tenant_id = owner_bounds.tenant_id) o
              FULL JOIN (SELECT x.* FROM artery.owner_constraint x WHERE x.tenant_id = owner_bounds.tenant_id) k
                ON k.budget_owner_id = o.budget_owner_id
              LEFT JOIN artery.budget_owner c
                ON c.tenant_id = owner_bounds.tenant_id AND c.budget_owner_id = o.campaign_id AND c.paused_at IS NOT NULL
             CROSS JOIN (SELECT artery.account_least(owner_bounds.tenant_id, settings) AS least OFFSET 0) a) b
$$;
COMMENT ON FUNCTION artery.owner_bounds(text, jsonb) IS
'The bounds that hold for each known budget owner, its own or the tenant''s that do not contradict them, and never less than Meta takes (least_budget, where that is what counts), and why it is held at its budget, if it is.';

CREATE OR REPLACE FUNCTION artery.settings_of_owner(tenant_id text, budget_owner_id text, settings jsonb)
RETURNS jsonb
LANGUAGE plpgsql STABLE
-- plans made while the tables are new and empty must not stay with reading them whole
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
    RETURN (SELECT settings_of_owner.settings || coalesce((
                SELECT jsonb_strip_nulls(jsonb_build_object(
                           'min_budget', CASE WHEN k.min_budget IS NULL AND (settings_of_owner.settings ->> 'min_budget')::numeric > k.max_budget
                                              THEN k.max_budget ELSE k.min_budget END,
                           'max_budget', CASE WHEN k.max_budget IS NULL AND (settings_of_owner.settings ->> 'max_budget')::numeric < k.min_budget
                                              THEN k.min_budget ELSE k.max_budget END))
                  FROM artery.owner_constraint k
                 WHERE k.tenant_id = settings_of_owner.tenant_id AND k.budget_owner_id = settings_of_owner.budget_owner_id), '{}'));
END
$$;
COMMENT ON FUNCTION artery.settings_of_owner(text, text, jsonb) IS 'The tenant''s settings with the bounds that are the owner''s own.';

CREATE OR REPLACE VIEW artery.v_owner_constraints WITH (security_barrier) AS
SELECT o.tenant_id, o.budget_owner_id, o.owner_type, o.campaign_id, o.budget,
       greatest(CASE WHEN k.min_budget IS NULL AND (t.settings ->> 'min_budget')::numeric > k.max_budget THEN k.max_budget
                     ELSE coalesce(k.min_budget, (t.settings ->> 'min_budget')::numeric) END, m.least) AS min_budget,
       CASE WHEN k.max_budget IS NULL AND (t.settings ->> 'max_budget')::numeric < k.min_budget THEN k.min_budget
            ELSE coalesce(k.max_budget, (t.settings ->> 'max_budget')::numeric) END AS max_budget,
       coalesce(k.max_step_percent, (t.settings ->> 'max_step_percent')::float8) AS max_step_percent,
       coalesce(k.pinned, false) AS pinned, o.paused_at IS NOT NULL OR c.paused_at IS NOT NULL AS paused,
       coalesce(o.learning_status = 'LEARNING' AND coalesce((t.settings ->> 'hold_while_learning')::boolean, true), false) AS learning,
       k.budget_owner_id IS NOT NULL AS is_own, k.set_by, k.note, k.updated_at, m.least AS least_budget
  FROM artery.budget_owner o
  JOIN artery.tenant t ON t.tenant_id = o.tenant_id
  LEFT JOIN artery.owner_constraint k ON k.tenant_id = o.tenant_id AND k.budget_owner_id = o.budget_owner_id
  LEFT JOIN artery.budget_owner c ON c.tenant_id = o.tenant_id AND c.budget_owner_id = o.campaign_id
  -- as artery.account_least: a view's functions run with the rights of whoever looks
  LEFT JOIN LATERAL (
      SELECT a.currency, a.min_daily_budget FROM artery.ad_account a
       WHERE a.tenant_id = o.tenant_id AND a.account_id = coalesce(ltrim(t.settings ->> 'meta_ad_account_id', 'act_'), a.account_id)
       ORDER BY a.synced_at DESC LIMIT 1) a ON true
 CROSS JOIN LATERAL (
      SELECT greatest(CASE WHEN a.currency = u.currency THEN a.min_daily_budget END,
                      CASE WHEN coalesce(o.currency, u.currency) = u.currency THEN o.minimum END) AS least
        FROM (SELECT coalesce(t.settings ->> 'currency', 'USD') AS currency) u) m
 WHERE artery.tenant_visible(o.tenant_id);
COMMENT ON VIEW artery.v_owner_constraints IS
'What bounds the budget of each ad set and campaign in allocations: least, most and largest step (its own where is_own, else the tenant''s; the least never below least_budget, which is what Meta takes), and whether it is held at its budget, being pinned, paused, or in Meta''s learning phase.';
