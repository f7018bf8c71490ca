-- alert: what somebody has to look at

CREATE OR REPLACE FUNCTION artery.raise_alert(tenant_id text, kind text, key text, message text)
RETURNS boolean
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    -- xmax is 0 only in a row that was not there.
    INSERT INTO artery.alert AS a (tenant_id, kind, key, message, raised_at)
    VALUES (raise_alert.tenant_id, raise_alert.kind, raise_alert.key, left(raise_alert.message, 1000), artery.now())
    ON CONFLICT (tenant_id, kind, key) WHERE cleared_at IS NULL DO UPDATE SET message = excluded.message
    RETURNING a.xmax = 0
$$;
COMMENT ON FUNCTION artery.raise_alert(text, text, text, text) IS
'Open an alert, or say more of the one that is open for that kind and key; true if it is new. The message must hold no secret.';

CREATE OR REPLACE FUNCTION artery.clear_alert(tenant_id text, kind text, key text DEFAULT NULL)
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_cleared integer;
BEGIN
    UPDATE artery.alert a SET cleared_at = artery.now()
     WHERE a.tenant_id = clear_alert.tenant_id AND a.kind = clear_alert.kind
       AND a.key = coalesce(clear_alert.key, a.key) AND a.cleared_at IS NULL;
    GET DIAGNOSTICS v_cleared = ROW_COUNT;
    RETURN v_cleared;
END
$$;
COMMENT ON FUNCTION artery.clear_alert(text, text, text) IS
'Close the open alert of that kind and key, or with key NULL all of the kind; returns how many.';

CREATE OR REPLACE VIEW artery.v_alerts WITH (security_barrier) AS
SELECT a.tenant_id, a.alert_id, a.kind, a.key, a.message, a.raised_at
  FROM artery.alert a
 WHERE a.cleared_at IS NULL AND artery.tenant_visible(a.tenant_id);
COMMENT ON VIEW artery.v_alerts IS 'What a person has to look at now.';
