-- throttle: who has to be left alone for a while, as Meta's answers told

CREATE OR REPLACE FUNCTION artery.note_throttle(
    tenant_id text, scope text, scope_id text, reason text, wait_seconds double precision,
    code bigint DEFAULT NULL, subcode bigint DEFAULT NULL, usage_percent double precision DEFAULT NULL,
    message text DEFAULT NULL)
RETURNS timestamptz
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_now   timestamptz := artery.moment();
    v_hits  integer;
    v_until timestamptz;
BEGIN
    DELETE FROM artery.throttle t WHERE t.tenant_id = note_throttle.tenant_id AND t.until < v_now - interval '1 day';
    SELECT t.hits INTO v_hits FROM artery.throttle t
     WHERE t.tenant_id = note_throttle.tenant_id AND t.scope = note_throttle.scope
       AND t.scope_id = note_throttle.scope_id AND t.reason = note_throttle.reason AND t.until <= v_now;
    -- What was under way when a wait began may be refused, too: only a refusal after the wait doubles it.
    v_until := CASE WHEN wait_seconds = 'infinity' THEN 'infinity'
                    ELSE v_now + make_interval(secs => wait_seconds
                        * CASE WHEN reason = 'usage' THEN 1 ELSE 2 ^ least(coalesce(v_hits, 0), 4) END) END;
    INSERT INTO artery.throttle AS t (tenant_id, scope, scope_id, reason, until, since, code, subcode, usage_percent)
    VALUES (note_throttle.tenant_id, note_throttle.scope, note_throttle.scope_id, note_throttle.reason, v_until, v_now,
            note_throttle.code, note_throttle.subcode, note_throttle.usage_percent)
    ON CONFLICT ON CONSTRAINT throttle_pkey DO UPDATE
       SET until = CASE WHEN t.reason = 'usage' THEN excluded.until ELSE greatest(t.until, excluded.until) END,
           since = CASE WHEN t.until <= v_now THEN v_now ELSE t.since END,
           hits = t.hits + CASE WHEN t.until <= v_now THEN 1 ELSE 0 END,
           code = excluded.code, subcode = excluded.subcode, usage_percent = excluded.usage_percent
    RETURNING t.until INTO v_until;
    IF reason = ANY (ARRAY['token', 'account_stopped', 'configuration']) THEN
        PERFORM artery.raise_alert(note_throttle.tenant_id, note_throttle.reason, note_throttle.scope_id,
            CASE note_throttle.reason
                WHEN 'token' THEN 'Meta refuses the access token; nothing is sent until set_secret brings another'
                WHEN 'account_stopped' THEN 'Meta blocked the account for a reason a person has to clear; then artery.resume_delivery'
                ELSE 'Meta cannot be used with these settings' END || coalesce(': ' || message, ''));
    END IF;
    RETURN v_until;
END
$$;
COMMENT ON FUNCTION artery.note_throttle(text, text, text, text, double precision, bigint, bigint, double precision, text) IS
'Keep what an answer of Meta''s told of a wait, with an alert where a person has to act; returns until when.';

CREATE OR REPLACE FUNCTION artery.end_throttle(tenant_id text, scope text, scope_id text, reason text)
RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM artery.throttle t
     WHERE t.tenant_id = end_throttle.tenant_id AND t.scope = end_throttle.scope
       AND t.scope_id = end_throttle.scope_id AND t.reason = end_throttle.reason;
    SELECT artery.clear_alert(end_throttle.tenant_id, end_throttle.reason, end_throttle.scope_id);
$$;
COMMENT ON FUNCTION artery.end_throttle(text, text, text, text) IS
'A wait was over and Meta answers again: forget it, and close its alert.';

CREATE OR REPLACE FUNCTION artery.release_changes(tenant_id text, rules text[])
RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE artery.ad_change c SET run_at = artery.now(), next_allowed_at = artery.now()
     WHERE c.tenant_id = release_changes.tenant_id AND c.state = ANY (ARRAY['blocked', 'unknown'])
       AND c.blocked_rule = ANY (release_changes.rules);
    SELECT artery.wake_worker();
$$;
COMMENT ON FUNCTION artery.release_changes(text, text[]) IS 'Let changes that wait for one of these rules be tried at once.';

CREATE OR REPLACE FUNCTION artery.adopt_configuration(scope_id text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM artery.throttle t
     WHERE t.tenant_id = '' AND t.scope = 'configuration' AND t.scope_id <> adopt_configuration.scope_id;
    UPDATE artery.alert a SET cleared_at = artery.now()
     WHERE a.tenant_id = '' AND a.kind = 'configuration' AND a.key <> adopt_configuration.scope_id AND a.cleared_at IS NULL;
    IF NOT EXISTS (SELECT FROM artery.throttle t WHERE t.tenant_id = '' AND t.scope = 'configuration'
                      AND t.scope_id = adopt_configuration.scope_id AND t.until > artery.moment()) THEN
        PERFORM artery.release_changes(t.tenant_id, ARRAY['configuration'])
           FROM artery.tenant t WHERE EXISTS (
                SELECT FROM artery.ad_change c
                 WHERE c.tenant_id = t.tenant_id AND c.state = ANY (ARRAY['blocked', 'unknown'])
                   AND c.blocked_rule = 'configuration');
    END IF;
END
$$;
COMMENT ON FUNCTION artery.adopt_configuration(text) IS
'The worker works with this address and version of the API from now on: what waited for other settings is tried.';

CREATE OR REPLACE FUNCTION artery.release_on_secret()
RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.value = NEW.value THEN
        RETURN NULL;
    END IF;
    DELETE FROM artery.throttle t
     WHERE t.tenant_id = NEW.tenant_id AND t.reason = ANY (ARRAY['token', 'account_stopped']);
    PERFORM artery.clear_alert(NEW.tenant_id, k.kind)
       FROM unnest(ARRAY['token', 'token_expires', 'permission', 'account_stopped']) k (kind);
    PERFORM artery.release_changes(NEW.tenant_id, ARRAY['token', 'account_stopped', 'configuration']);
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION artery.release_on_secret() IS
'Another token or app secret may cure what the old one could not do: let changes that wait for it be tried at once.';

CREATE TRIGGER release_on_secret AFTER INSERT OR UPDATE OF value ON artery.tenant_secret
    FOR EACH ROW WHEN (NEW.name = ANY (ARRAY['meta_access_token', 'meta_app_secret']))
    EXECUTE FUNCTION artery.release_on_secret();

CREATE OR REPLACE FUNCTION artery.resume_delivery(tenant_id text, reason text DEFAULT NULL)
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_known  constant text[] := ARRAY['account_throttle', 'account_stopped', 'app_throttle', 'insights_throttle',
                                      'object_throttle', 'token', 'usage'];
    v_reasons text[] := CASE WHEN reason IS NULL THEN v_known ELSE ARRAY[reason] END;
    v_lifted integer;
BEGIN
    PERFORM artery.require_tenant(resume_delivery.tenant_id);
    IF reason <> ALL (v_known) THEN
        RAISE EXCEPTION 'unknown reason "%"', left(reason, 64)
            USING ERRCODE = '22023', HINT = 'Known reasons: ' || array_to_string(v_known, ', ') || '.';
    END IF;
    DELETE FROM artery.throttle t WHERE t.tenant_id = resume_delivery.tenant_id AND t.reason = ANY (v_reasons);
    GET DIAGNOSTICS v_lifted = ROW_COUNT;
    PERFORM artery.clear_alert(resume_delivery.tenant_id, r.name) FROM unnest(v_reasons || 'permission'::text) r (name);
    PERFORM artery.release_changes(resume_delivery.tenant_id, v_reasons);
    RETURN v_lifted;
END
$$;
COMMENT ON FUNCTION artery.resume_delivery(text, text) IS
'A person cleared what Meta stopped the tenant for: lift its waits (all, or those of one reason), close their alerts and try what waits. Returns how many were lifted. What concerns an app of several tenants is left.';

CREATE OR REPLACE VIEW artery.v_throttles WITH (security_barrier) AS
SELECT t.tenant_id, t.scope, t.scope_id, t.reason, t.since, t.until, t.hits, t.code, t.subcode, t.usage_percent
  FROM artery.throttle t
 WHERE t.until > artery.now()
   AND (artery.tenant_visible(t.tenant_id)
        OR t.tenant_id = '' AND EXISTS (
           SELECT FROM artery.tenant x
            WHERE artery.tenant_visible(x.tenant_id)
              AND (t.scope = 'configuration' OR x.settings ->> 'meta_app_id' = t.scope_id)));
COMMENT ON VIEW artery.v_throttles IS
'Who is left alone now, why and until when (infinity: until somebody acts). An empty tenant_id concerns all tenants of an app, or all.';
