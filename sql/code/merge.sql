-- merge: contacts that the CRM made one

CREATE OR REPLACE FUNCTION artery.surviving_contact(tenant_id text, crm_contact_id text)
RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce((SELECT m.merged_into FROM artery.merged_contact m
                      WHERE m.tenant_id = surviving_contact.tenant_id AND m.crm_contact_id = surviving_contact.crm_contact_id),
                    crm_contact_id)
$$;
COMMENT ON FUNCTION artery.surviving_contact(text, text) IS 'The contact into which the given one was merged; itself where it was not.';

CREATE OR REPLACE FUNCTION artery.merge_contacts(tenant_id text, survivor text, gone text[])
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_survivor text;
    v_gone     text[];
BEGIN
    -- First the deals' rows, then the locks: in the order of those who attribute a deal.
    PERFORM FROM artery.deal d WHERE d.tenant_id = merge_contacts.tenant_id AND d.crm_contact_id = ANY (gone || survivor)
      ORDER BY d.deal_id FOR UPDATE;
    PERFORM artery.lock_identities(tenant_id, ARRAY(SELECT DISTINCT u.c FROM unnest(gone || survivor) u (c) ORDER BY 1), NULL, NULL);
    v_survivor := artery.surviving_contact(tenant_id, survivor);
    v_gone := ARRAY(SELECT DISTINCT u.c FROM unnest(gone || survivor) u (c) WHERE u.c <> v_survivor ORDER BY 1);
    INSERT INTO artery.merged_contact (tenant_id, crm_contact_id, merged_into, merged_at)
    SELECT merge_contacts.tenant_id, u.c, v_survivor, artery.now() FROM unnest(v_gone) u (c)
    ON CONFLICT ON CONSTRAINT merged_contact_pkey DO UPDATE SET merged_into = EXCLUDED.merged_into;
    UPDATE artery.merged_contact m SET merged_into = v_survivor
     WHERE m.tenant_id = merge_contacts.tenant_id AND m.merged_into = ANY (v_gone);
    UPDATE artery.contact_evidence e SET crm_contact_id = v_survivor
     WHERE e.tenant_id = merge_contacts.tenant_id AND e.crm_contact_id = ANY (v_gone);
    UPDATE artery.deal d SET crm_contact_id = v_survivor, updated_at = artery.now()
     WHERE d.tenant_id = merge_contacts.tenant_id AND d.crm_contact_id = ANY (v_gone);
    PERFORM artery.attribute_deal(d.tenant_id, d.deal_id)
       FROM (SELECT x.tenant_id, x.deal_id FROM artery.deal x
              WHERE x.tenant_id = merge_contacts.tenant_id AND x.crm_contact_id = v_survivor
                AND x.attribution_method = 'unattributed' AND x.stage IS NOT NULL
              ORDER BY x.deal_id FOR UPDATE) d;
END
$$;
COMMENT ON FUNCTION artery.merge_contacts(text, text, text[]) IS
'Let evidence and deals of contacts that the CRM merged follow the surviving one, and attribute its deals that wait for evidence. Conversions keep the id they came with.';
