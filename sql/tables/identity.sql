-- identity: what the landing page knew when a form was sent

-- One row: one sighting of a contact or deal, with the traces it left.
CREATE TABLE artery.contact_evidence (
    tenant_id        text NOT NULL,
    evidence_id      bigint GENERATED ALWAYS AS IDENTITY,
    crm_contact_id   text,
    crm_deal_id      text,
    email_hash       text,
    click_id         text,
    fbclid           text,
    fingerprint_hash text,
    ip_address       inet,
    user_agent       text,
    screen_width     integer,
    screen_height    integer,
    timezone         text,
    timezone_offset  integer,
    device_type      text,
    os               text,
    browser          text,
    consent          boolean,
    seen_at          timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, evidence_id)
);
CREATE INDEX contact_evidence_by_contact ON artery.contact_evidence (tenant_id, crm_contact_id, seen_at DESC)
    WHERE crm_contact_id IS NOT NULL;
CREATE INDEX contact_evidence_by_deal ON artery.contact_evidence (tenant_id, crm_deal_id, seen_at DESC)
    WHERE crm_deal_id IS NOT NULL;
CREATE INDEX contact_evidence_by_email ON artery.contact_evidence (tenant_id, email_hash, seen_at DESC)
    WHERE email_hash IS NOT NULL;
COMMENT ON COLUMN artery.contact_evidence.consent IS 'Whether the visitor agreed to be recognised; NULL where nothing was said, and then consent_required decides.';
COMMENT ON TABLE artery.contact_evidence IS
'Traces of a contact or deal as the landing page saw them (identify); stage events are attributed with them. Personal data: see artery.retention_evidence.';
