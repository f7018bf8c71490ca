-- identity: what the landing page knew when a form was sent

CREATE OR REPLACE FUNCTION artery.identify(
    tenant_id text, crm_contact_id text DEFAULT NULL, email_hash text DEFAULT NULL, crm_deal_id text DEFAULT NULL,
    click_id text DEFAULT NULL, fbclid text DEFAULT NULL, fingerprint_hash text DEFAULT NULL,
    ip_address inet DEFAULT NULL, user_agent text DEFAULT NULL, seen_at timestamptz DEFAULT artery.now(),
    screen_width int DEFAULT NULL, screen_height int DEFAULT NULL, timezone text DEFAULT NULL,
    timezone_offset int DEFAULT NULL, device_type text DEFAULT NULL, os text DEFAULT NULL, browser text DEFAULT NULL,
    consent boolean DEFAULT NULL, client_hints jsonb DEFAULT NULL)
RETURNS bigint
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'artery_identify';
COMMENT ON FUNCTION artery.identify IS
'Keep what the landing page knew of a contact, e-mail hash or deal when its form was sent; returns the id of the evidence (NULL if the person was erased). Without consent only the ids of the click are kept. Deals of it that wait for evidence are attributed at once.';
