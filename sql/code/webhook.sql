-- webhook: HubSpot's events

CREATE OR REPLACE FUNCTION artery.hubspot_webhook(
    body bytea, headers jsonb, method text DEFAULT 'POST', uri text DEFAULT NULL,
    received_at timestamptz DEFAULT artery.now())
RETURNS jsonb
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'artery_hubspot_webhook';
COMMENT ON FUNCTION artery.hubspot_webhook(bytea, jsonb, text, text, timestamptz) IS
'Take in a webhook of HubSpot: the raw body, headers by name, and the address that was called. Error 28000, and nothing stored, unless a tenant concerned signed it. Answers one result for an object, {"status", "results"} for an array. A deleted deal is taken for a lost one, until it is restored; merged contacts and deals live on in the one that stays.';

CREATE OR REPLACE FUNCTION artery.hubspot_signature_valid(
    version integer, secret text, method text, uri text, body bytea, request_timestamp text, signature text)
RETURNS boolean
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_hubspot_signature_valid';
COMMENT ON FUNCTION artery.hubspot_signature_valid(integer, text, text, text, bytea, text, text) IS
'Whether a signature of HubSpot''s version 1, 2 or 3 is that of the request; ages are not judged here. To find out why a webhook is refused.';

CREATE OR REPLACE FUNCTION artery.replay_webhook_events(tenant_id text)
RETURNS jsonb
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'artery_replay_webhook_events';
COMMENT ON FUNCTION artery.replay_webhook_events(text) IS
'Process the tenant''s unmapped and failed events again, after the stages or portals were mended; answers how many ended in which status.';

CREATE OR REPLACE VIEW artery.v_unmapped_events WITH (security_barrier) AS
SELECT w.tenant_id, w.webhook_event_id, w.portal_id, w.subscription_type, w.object_id,
       w.payload ->> 'propertyValue' AS property_value, w.status, w.reason, w.occurred_at, w.received_at
  FROM artery.webhook_event w
 WHERE w.status = ANY (ARRAY['stored', 'unmapped', 'failed']) AND artery.tenant_visible(w.tenant_id);
COMMENT ON VIEW artery.v_unmapped_events IS
'Events that had no effect yet, and why: an unknown stage or portal (unmapped), or an error (failed). replay_webhook_events() tries them again.';
