-- merge: contacts that the CRM made one

-- One row: the id of a contact that was merged into another one.
CREATE TABLE artery.merged_contact (
    tenant_id      text NOT NULL,
    crm_contact_id text NOT NULL,
    merged_into    text NOT NULL,
    merged_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, crm_contact_id),
    CHECK (crm_contact_id <> merged_into)
);
CREATE INDEX merged_contact_by_survivor ON artery.merged_contact (tenant_id, merged_into);
COMMENT ON TABLE artery.merged_contact IS
'Contacts that were merged into others: what comes in under the old id later is taken for the surviving one''s. merged_into never is a merged id itself.';
COMMENT ON COLUMN artery.merged_contact.merged_at IS 'When artery was told of it.';
