-- account: what Meta says besides budgets and days: the least a budget may be, who
-- edited budgets by hand, and what the token may do

CREATE OR REPLACE FUNCTION artery.sync_minimum(tenant_id text, rows jsonb)
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_settings jsonb := artery.effective_settings(tenant_id);
    v_least    numeric;
BEGIN
    -- Of the minimums by what is paid for, the one for impressions is the least: what no budget may be below.
    SELECT min(artery.read_minor(r.min_daily_budget_imp, v_settings ->> 'currency')) INTO v_least
      FROM jsonb_to_recordset(rows) r(currency text, min_daily_budget_imp text)
     WHERE upper(r.currency) = v_settings ->> 'currency';
    UPDATE artery.ad_account a SET min_daily_budget = greatest(a.min_daily_budget, v_least)
     WHERE a.tenant_id = sync_minimum.tenant_id AND a.account_id = v_settings ->> 'meta_ad_account_id'
       AND v_least IS NOT NULL AND a.min_daily_budget IS DISTINCT FROM greatest(a.min_daily_budget, v_least);
    RETURN jsonb_array_length(rows);
END
$$;
COMMENT ON FUNCTION artery.sync_minimum(text, jsonb) IS
'Store the least daily budget that minimum_budgets tells for the account''s currency, unless the account itself told of a greater one.';

CREATE OR REPLACE FUNCTION artery.read_meta_time(value text)
RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN value ~ '^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9][+-](0[0-9]|1[0-4])[0-5][0-9]$'
                  OR value ~ '^20[0-9]{2}-(0[13-9]|1[0-2])-30T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9][+-](0[0-9]|1[0-4])[0-5][0-9]$'
                  OR value ~ '^20[0-9]{2}-(0[13578]|1[02])-31T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9][+-](0[0-9]|1[0-4])[0-5][0-9]$'
                THEN CASE WHEN value !~ '-02-29T' OR to_char(make_date(left(value, 4)::integer, 3, 1) - 1, 'DD') = '29' THEN value::timestamptz END
                WHEN value ~ '^[1-9][0-9]{8,9}$' THEN to_timestamp(value::float8) END
$$;
COMMENT ON FUNCTION artery.read_meta_time(text) IS 'A moment as Meta writes it, in ISO form or as seconds since 1970; NULL if it is none.';

CREATE OR REPLACE FUNCTION artery.sync_edits(tenant_id text, rows jsonb)
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_app  text := artery.effective_settings(tenant_id) ->> 'meta_app_id';
    v_edit record;
BEGIN
    FOR v_edit IN
        -- Ours are known by the app, and where that is not told by the time.
        SELECT DISTINCT ON (e.object_id) e.object_id, e.edited_at, e.actor
          FROM (SELECT r.object_id, artery.read_meta_time(r.event_time) AS edited_at,
                       coalesce(nullif(left(btrim(r.actor_name), 200), ''), 'somebody') AS actor, r.application_id
                  FROM jsonb_to_recordset(rows) r(event_time text, event_type text, object_id text, actor_name text,
                                                  application_id text)
                 WHERE r.event_type = ANY (ARRAY['update_ad_set_budget', 'update_campaign_budget'])) e
          JOIN artery.budget_owner o
            ON o.tenant_id = sync_edits.tenant_id AND o.budget_owner_id = e.object_id
         WHERE e.edited_at <= artery.moment() + interval '1 hour' AND e.edited_at > coalesce(o.edited_at, '-infinity')
           AND CASE WHEN v_app IS NOT NULL AND e.application_id IS NOT NULL THEN e.application_id <> v_app
                    ELSE NOT EXISTS (SELECT FROM artery.budget_observation b
                                      WHERE b.tenant_id = o.tenant_id AND b.budget_owner_id = o.budget_owner_id
                                        AND b.source = 'sent' AND b.observed_at BETWEEN e.edited_at - interval '2 minutes'
                                                                                    AND e.edited_at + interval '2 minutes') END
         ORDER BY e.object_id, e.edited_at DESC
    LOOP
        UPDATE artery.budget_owner o SET edited_at = v_edit.edited_at, edited_by = v_edit.actor
         WHERE o.tenant_id = sync_edits.tenant_id AND o.budget_owner_id = v_edit.object_id;
    END LOOP;
    PERFORM artery.tell_edits(tenant_id);
    RETURN jsonb_array_length(rows);
END
$$;
COMMENT ON FUNCTION artery.sync_edits(text, jsonb) IS
'Store of a page of the account''s activities who changed a budget last and when, except for artery''s own changes. Nothing else of it is kept.';

CREATE OR REPLACE FUNCTION artery.tell_edits(tenant_id text)
RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO artery.ad_change_history (tenant_id, change_id, campaign_id, target_id, change_type, attempt, outcome, old_value,
                                          new_value, dry_run, actor, response, recorded_at)
    SELECT c.tenant_id, c.change_id, c.campaign_id, c.target_id, c.change_type, c.attempt, 'edited', h.old_value, h.new_value,
           c.dry_run, o.edited_by, jsonb_build_object('edited_at', o.edited_at), artery.moment()
      FROM artery.ad_change_history h
      JOIN artery.ad_change c ON c.tenant_id = h.tenant_id AND c.change_id = h.change_id AND c.state = 'superseded'
      JOIN artery.budget_owner o ON o.tenant_id = c.tenant_id AND o.budget_owner_id = c.target_id
     WHERE h.tenant_id = tell_edits.tenant_id AND h.outcome = 'superseded' AND h.error LIKE 'somebody changed%'
       AND h.recorded_at > artery.moment() - interval '2 days'
       AND o.edited_at BETWEEN h.recorded_at - interval '30 days' AND h.recorded_at + interval '5 minutes'
       AND NOT EXISTS (SELECT FROM artery.ad_change_history e
                        WHERE e.tenant_id = h.tenant_id AND e.change_id = h.change_id AND e.outcome = 'edited')
$$;
COMMENT ON FUNCTION artery.tell_edits(text) IS
'Append to the history of changes that gave way to a person''s edit who that was and when, once it is known.';

CREATE OR REPLACE FUNCTION artery.token_due(tenant_id text, asked boolean)
RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    -- A moment before a day is over: a daily sync shall find it due.
    SELECT asked OR NOT EXISTS (
        SELECT FROM artery.meta_token k
          JOIN artery.tenant_secret s ON s.tenant_id = k.tenant_id AND s.name = 'meta_access_token'
         WHERE k.tenant_id = token_due.tenant_id AND k.checked_at > s.updated_at
           AND k.checked_at > artery.moment() - interval '23 hours 50 minutes')
$$;
COMMENT ON FUNCTION artery.token_due(text, boolean) IS 'Whether Meta is to be asked of the token: when asked for, when it is new, and daily.';

CREATE OR REPLACE FUNCTION artery.token_problem(tenant_id text, token jsonb)
RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_settings jsonb := artery.effective_settings(tenant_id);
    v_account  text := v_settings ->> 'meta_ad_account_id';
    v_given    jsonb := jsonb_path_query_first(token, '$.granular_scopes[*] ? (@.scope == "ads_management").target_ids');
BEGIN
    IF token -> 'is_valid' <> 'true' THEN
        RETURN 'Meta says that the token is not valid';
    ELSIF (v_settings ->> 'dry_run')::boolean THEN
        RETURN NULL;  -- who only reads needs no more
    ELSIF jsonb_typeof(token -> 'scopes') = 'array' AND NOT token -> 'scopes' ? 'ads_management' THEN
        RETURN 'the token lacks the permission ads_management';
    ELSIF jsonb_typeof(v_given) = 'array' AND v_given <> '[]'  -- none: all of them
          AND NOT (v_given ?| ARRAY[v_account, 'act_' || v_account] OR v_given @> to_jsonb(ARRAY[v_account::numeric])) THEN
        RETURN format('the token was not given ad account %s', v_account);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION artery.token_problem(text, jsonb) IS 'Why a token that Meta describes so cannot send changes; NULL if it can.';

CREATE OR REPLACE FUNCTION artery.sync_token(
    tenant_id text, token jsonb, asked_at timestamptz, asked boolean, OUT told boolean, OUT problem text)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_soon    constant interval := '7 days';
    v_expires timestamptz := artery.read_meta_time(token ->> 'expires_at');
    v_access  timestamptz := artery.read_meta_time(token ->> 'data_access_expires_at');
    v_key     text;
BEGIN
    -- Another token meanwhile: this one is of no interest any more.
    SELECT left(encode(sha256(convert_to(s.value, 'UTF8')), 'hex'), 16) INTO v_key
      FROM artery.tenant_secret s
     WHERE s.tenant_id = sync_token.tenant_id AND s.name = 'meta_access_token' AND s.updated_at <= asked_at FOR SHARE;
    told := FOUND AND jsonb_typeof(token -> 'is_valid') IS NOT DISTINCT FROM 'boolean';
    IF NOT told THEN
        RETURN;
    END IF;
    problem := artery.token_problem(tenant_id, token);
    INSERT INTO artery.meta_token AS k (tenant_id, checked_at, is_valid, expires_at, data_access_expires_at, scopes, problem)
    VALUES (sync_token.tenant_id, artery.moment(), (token ->> 'is_valid')::boolean, v_expires, v_access,
            CASE WHEN jsonb_typeof(token -> 'scopes') = 'array'
                 THEN ARRAY(SELECT left(x.scope, 64) FROM jsonb_array_elements_text(token -> 'scopes') x(scope) LIMIT 100) END, sync_token.problem)
    ON CONFLICT ON CONSTRAINT meta_token_pkey DO UPDATE
       SET checked_at = excluded.checked_at, is_valid = excluded.is_valid, expires_at = excluded.expires_at,
           data_access_expires_at = excluded.data_access_expires_at, scopes = excluded.scopes, problem = excluded.problem;
    IF least(v_expires, v_access) < artery.moment() + v_soon THEN
        PERFORM artery.raise_alert(tenant_id, 'token_expires', v_key,
            format('the access token ends at %s: set_secret brings another', least(v_expires, v_access)));
    ELSE
        PERFORM artery.clear_alert(tenant_id, 'token_expires');
    END IF;
    -- What Meta answers the changes themselves told of already stays one alert.
    IF problem IS NOT NULL THEN
        PERFORM artery.clear_alert(tenant_id, 'permission');
        PERFORM artery.note_throttle(tenant_id, 'token', v_key, 'token', 'infinity', message => problem);
    ELSIF NOT asked THEN
        PERFORM artery.clear_alert(tenant_id, 'permission');
    END IF;
END
$$;
COMMENT ON FUNCTION artery.sync_token(text, jsonb, timestamptz, boolean) IS
'Store what debug_token says of the token; one that is not valid or cannot send changes stops the tenant until another is set, one that ends within a week is told. A daily look that finds nothing closes the alert of a lack of permission.';

CREATE OR REPLACE FUNCTION artery.look_closer()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_code     bigint := NEW.response ->> 'code';
    v_subcode  bigint := NEW.response ->> 'error_subcode';
    v_settings jsonb := artery.effective_settings(NEW.tenant_id);
    v_last     timestamptz;
BEGIN
    IF NEW.outcome = 'failed' AND (v_code = ANY (ARRAY[3, 10]) OR v_code BETWEEN 200 AND 299 OR v_subcode = 3191001) THEN
        PERFORM artery.raise_alert(NEW.tenant_id, 'permission', '',
            'Meta refuses changes for a lack of permission: ' || coalesce(NEW.response ->> 'message', 'no message'));
    END IF;
    IF v_settings ->> 'meta_ad_account_id' IS NULL OR NOT EXISTS (
        SELECT FROM artery.tenant_secret s WHERE s.tenant_id = NEW.tenant_id AND s.name = 'meta_access_token') THEN
        RETURN NULL;
    END IF;
    IF NEW.outcome = 'superseded' THEN
        PERFORM artery.enqueue_job(NEW.tenant_id, 'actuals-sync', '{"only": "edits"}', singleton_key => 'edits');
    ELSIF v_code = ANY (ARRAY[3, 10]) OR v_code BETWEEN 200 AND 299 OR v_subcode = 3191001 THEN
        IF v_settings ->> 'meta_app_id' IS NOT NULL AND EXISTS (
            SELECT FROM artery.tenant_secret s WHERE s.tenant_id = NEW.tenant_id AND s.name = 'meta_app_secret') THEN
            PERFORM artery.enqueue_job(NEW.tenant_id, 'actuals-sync', '{"only": "token"}', singleton_key => 'token');
        END IF;
    ELSIF v_code = 803 OR v_code = 100 AND v_subcode = ANY (ARRAY[33, 1885621, 1487056]) THEN
        -- What is known of the object is not true any more; the account is read at most every quarter of an hour for it.
        SELECT max(h.finished_at) INTO v_last FROM artery.job_execution_history h
         WHERE h.tenant_id = NEW.tenant_id AND h.job_name = 'actuals-sync';
        PERFORM artery.enqueue_job(NEW.tenant_id, 'actuals-sync', run_at => greatest(v_last + interval '15 minutes', artery.moment()),
            singleton_key => 'refused');
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION artery.look_closer() IS
'What Meta refused may not be as it was known: look at the token after a lack of permission (one alert per tenant), at the account after an object that is not what it was, at the activities after an edit by hand.';

CREATE TRIGGER look_closer AFTER INSERT ON artery.ad_change_history FOR EACH ROW
    WHEN (NEW.outcome = 'failed' AND NEW.response ? 'code'
          OR NEW.outcome = 'superseded' AND NEW.error LIKE 'somebody changed%')
    EXECUTE FUNCTION artery.look_closer();
