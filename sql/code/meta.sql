-- meta: what answers of Meta's Graph API mean

CREATE OR REPLACE FUNCTION artery.classify_graph_answer(
    http_status integer, operation text, body text, headers jsonb DEFAULT NULL, transport text DEFAULT NULL,
    OUT class text, OUT scope text, OUT wait_seconds integer)
RETURNS SETOF record
LANGUAGE C IMMUTABLE PARALLEL SAFE ROWS 1
AS 'MODULE_PATHNAME', 'artery_classify_graph_answer';
COMMENT ON FUNCTION artery.classify_graph_answer(integer, text, text, jsonb, text) IS
'What an answer of the Graph API to a read, write or batch means: its class, how far it reaches and the least wait. transport tells what happened where no answer came: not_sent, maybe_sent or untrusted.';

CREATE OR REPLACE FUNCTION artery.read_usage_headers(
    headers jsonb, OUT max_percent double precision, OUT pause_seconds integer, OUT pause_scope text,
    OUT pause_account text, OUT pause_type text, OUT full_tier boolean)
RETURNS record
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_read_usage_headers';
COMMENT ON FUNCTION artery.read_usage_headers(jsonb) IS
'What the usage headers of the Graph API say: the fullest quota in percent, and for whom and how long to pause.';

CREATE OR REPLACE FUNCTION artery.release_changes()
RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE artery.ad_change c SET run_at = artery.now(), next_allowed_at = artery.now()
     WHERE c.tenant_id = NEW.tenant_id AND c.state = 'blocked'
       AND c.blocked_rule = ANY (ARRAY['token', 'account_stopped', 'configuration']);
    PERFORM artery.wake_worker();
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION artery.release_changes() IS
'A new token may cure what the old one could not do: let changes that wait for it be tried at once.';

CREATE TRIGGER release_changes AFTER INSERT OR UPDATE OF value ON artery.tenant_secret
    FOR EACH ROW WHEN (NEW.name = ANY (ARRAY['meta_access_token', 'meta_app_secret']))
    EXECUTE FUNCTION artery.release_changes();
