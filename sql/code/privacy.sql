-- privacy: forgetting persons, and telling what is known of them

CREATE OR REPLACE FUNCTION artery.ensure_salt(tenant_id text)
RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO artery.tenant_salt (tenant_id, salt)
    VALUES (ensure_salt.tenant_id, uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
    ON CONFLICT DO NOTHING
$$;
COMMENT ON FUNCTION artery.ensure_salt(text) IS 'Make the salt of a tenant, if it has none.';

CREATE TRIGGER tenant_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON artery.tenant_salt
    FOR EACH STATEMENT EXECUTE FUNCTION artery.tenant_changed();

CREATE OR REPLACE FUNCTION artery.identity_hash(tenant_id text, kind text, id text)
RETURNS bytea
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT sha256(s.salt || convert_to(kind || '|' || id, 'UTF8'))
      FROM artery.tenant_salt s WHERE s.tenant_id = identity_hash.tenant_id
$$;
COMMENT ON FUNCTION artery.identity_hash(text, text, text) IS 'An id under its tenant''s salt, as tombstones keep it; NULL where the tenant has no salt yet.';

CREATE OR REPLACE FUNCTION artery.is_erased(tenant_id text, kind text, id text)
RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM artery.erased_identity e
                    WHERE e.tenant_id = is_erased.tenant_id
                      AND e.identity_hash = artery.identity_hash(is_erased.tenant_id, kind, id))
$$;
COMMENT ON FUNCTION artery.is_erased(text, text, text) IS 'Whether a contact, e-mail hash (email) or deal was erased.';

CREATE OR REPLACE FUNCTION artery.lock_identities(tenant_id text, contacts text[], deals text[], emails text[])
RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'artery_lock_identities';
COMMENT ON FUNCTION artery.lock_identities(text, text[], text[], text[]) IS
'Keep evidence and attributions of these contacts, deals and e-mail hashes from coming in until the transaction ends.';

CREATE OR REPLACE FUNCTION artery.personal_columns(table_name text)
RETURNS text[]
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE table_name
        WHEN 'click_tracking' THEN ARRAY[
            'fbclid', 'gclid', 'fbc', 'fbp', 'ip_address', 'user_agent', 'device_type', 'os', 'browser', 'screen_width',
            'screen_height', 'timezone', 'timezone_offset', 'fingerprint_hash', 'landing_page_url', 'referrer_url',
            'sighting', 'hardware_key', 'agent_key', 'fingerprint_key']
        WHEN 'conversion_tracking' THEN ARRAY[
            'fbclid', 'fingerprint_hash', 'ip_address', 'user_agent', 'screen_width', 'screen_height', 'timezone',
            'timezone_offset', 'device_type', 'os', 'browser', 'crm_contact_id', 'raw_data'] END
$$;
COMMENT ON FUNCTION artery.personal_columns(text) IS
'Columns of a table that say something of a person: NULL after an erasure, while ad, campaign, time and money stay.';

CREATE OR REPLACE FUNCTION artery.persons_of(
    tenant_id text, INOUT contacts text[], INOUT emails text[], INOUT deals text[], click_id text)
RETURNS record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_known integer := -1;
BEGIN
    -- What is named by a deal or click is its contact.
    contacts := contacts || ARRAY(
        SELECT d.crm_contact_id FROM artery.deal d WHERE d.tenant_id = persons_of.tenant_id AND d.deal_id = ANY (deals)
        UNION SELECT c.crm_contact_id FROM artery.conversion_tracking c
               WHERE c.tenant_id = persons_of.tenant_id AND c.click_id = persons_of.click_id
        UNION SELECT e.crm_contact_id FROM artery.contact_evidence e
               WHERE e.tenant_id = persons_of.tenant_id AND (e.crm_deal_id = ANY (deals) OR e.click_id = persons_of.click_id));
    emails := emails || ARRAY(
        SELECT e.email_hash FROM artery.contact_evidence e
         WHERE e.tenant_id = persons_of.tenant_id AND (e.crm_deal_id = ANY (deals) OR e.click_id = persons_of.click_id));
    -- One e-mail address is one person, whatever the CRM calls them.
    LOOP
        contacts := array_remove(ARRAY(SELECT DISTINCT u.c FROM unnest(contacts) u (c) ORDER BY 1), NULL);
        emails := array_remove(ARRAY(SELECT DISTINCT u.e FROM unnest(emails) u (e) ORDER BY 1), NULL);
        EXIT WHEN cardinality(contacts) + cardinality(emails) = v_known;
        v_known := cardinality(contacts) + cardinality(emails);
        emails := emails || ARRAY(SELECT e.email_hash FROM artery.contact_evidence e
                                   WHERE e.tenant_id = persons_of.tenant_id AND e.crm_contact_id = ANY (contacts));
        contacts := contacts || ARRAY(SELECT e.crm_contact_id FROM artery.contact_evidence e
                                       WHERE e.tenant_id = persons_of.tenant_id AND e.email_hash = ANY (emails)
                                      UNION SELECT unnest(ARRAY[m.crm_contact_id, m.merged_into]) FROM artery.merged_contact m
                                       WHERE m.tenant_id = persons_of.tenant_id
                                         AND (m.crm_contact_id = ANY (contacts) OR m.merged_into = ANY (contacts)));
    END LOOP;
    -- Deals of somebody else, to which the person once belonged, stay that one's.
    deals := ARRAY(
        SELECT x.deal_id
          FROM (SELECT unnest(deals) AS deal_id
                UNION SELECT d.deal_id FROM artery.deal d
                       WHERE d.tenant_id = persons_of.tenant_id AND d.crm_contact_id = ANY (contacts)
                UNION SELECT c.crm_deal_id FROM artery.conversion_tracking c
                       WHERE c.tenant_id = persons_of.tenant_id AND c.crm_contact_id = ANY (contacts)
                UNION SELECT e.crm_deal_id FROM artery.contact_evidence e
                       WHERE e.tenant_id = persons_of.tenant_id
                         AND (e.crm_contact_id = ANY (contacts) OR e.email_hash = ANY (emails))) x
         WHERE x.deal_id IS NOT NULL AND NOT EXISTS (
               SELECT FROM artery.deal d WHERE d.tenant_id = persons_of.tenant_id AND d.deal_id = x.deal_id
                  AND d.crm_contact_id <> ALL (contacts))
         ORDER BY 1);
END
$$;
COMMENT ON FUNCTION artery.persons_of(text, text[], text[], text[], text) IS
'All contacts, e-mail hashes and deals that are known to be the same person as those given.';

CREATE OR REPLACE FUNCTION artery.forget_columns(table_name text, key_column text, tenant_id text, ids text[])
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_columns text[] := artery.personal_columns(table_name);
    v_rows    bigint;
BEGIN
    EXECUTE format('UPDATE artery.%I x SET %s WHERE x.tenant_id = $1 AND x.%I = ANY ($2) AND num_nonnulls(%s) > 0', table_name,
                   (SELECT string_agg(format('%I = NULL', c), ', ') FROM unnest(v_columns) c), key_column,
                   (SELECT string_agg(format('x.%I', c), ', ') FROM unnest(v_columns) c))
        USING tenant_id, ids;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_rows;
END
$$;
COMMENT ON FUNCTION artery.forget_columns(text, text, text, text[]) IS 'Make the personal columns of some rows NULL; returns how many had any.';

CREATE OR REPLACE FUNCTION artery.forget_traces(
    tenant_id text, contacts text[], emails text[], deals text[], click_id text)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_evidence    artery.contact_evidence[];
    v_clicks      text[];
    v_conversions text[];
    v_traces      bigint;
BEGIN
    WITH gone AS (
        DELETE FROM artery.contact_evidence e
         WHERE e.tenant_id = forget_traces.tenant_id
           AND (e.crm_contact_id = ANY (contacts) OR e.email_hash = ANY (emails)
                OR (e.crm_deal_id = ANY (deals) AND e.crm_contact_id IS NULL)
                OR (e.click_id = forget_traces.click_id AND e.crm_contact_id IS NULL))
        RETURNING e AS evidence)
    SELECT coalesce(array_agg(g.evidence), '{}') INTO v_evidence FROM gone g;
    v_clicks := ARRAY(
        SELECT forget_traces.click_id
        UNION SELECT e.click_id FROM unnest(v_evidence) e
        UNION SELECT d.click_id FROM artery.deal d WHERE d.tenant_id = forget_traces.tenant_id AND d.deal_id = ANY (deals)
        UNION SELECT k.click_id FROM unnest(v_evidence) e
                JOIN artery.click_tracking k ON k.tenant_id = forget_traces.tenant_id AND k.fbclid = e.fbclid);
    v_conversions := ARRAY(
        SELECT c.conversion_id FROM artery.conversion_tracking c
         WHERE c.tenant_id = forget_traces.tenant_id
           AND (c.crm_contact_id = ANY (contacts) OR c.crm_deal_id = ANY (deals)
                OR c.click_id = ANY (v_clicks) OR c.attributed_click_id = ANY (v_clicks)));
    v_clicks := v_clicks || ARRAY(
        SELECT unnest(ARRAY[c.click_id, c.attributed_click_id]) FROM artery.conversion_tracking c
         WHERE c.tenant_id = forget_traces.tenant_id AND c.conversion_id = ANY (v_conversions)
        UNION SELECT k.click_id FROM artery.conversion_tracking c
                JOIN artery.click_tracking k ON k.tenant_id = forget_traces.tenant_id AND k.fbclid = c.fbclid
               WHERE c.tenant_id = forget_traces.tenant_id AND c.conversion_id = ANY (v_conversions));
    -- The same device at the same address is the same person, or close enough to err on the side of forgetting.
    WITH device AS MATERIALIZED (
        SELECT e.ip_address, e.fingerprint_hash, e.user_agent FROM unnest(v_evidence) e
        UNION SELECT c.ip_address, c.fingerprint_hash, c.user_agent FROM artery.conversion_tracking c
               WHERE c.tenant_id = forget_traces.tenant_id AND c.conversion_id = ANY (v_conversions)
        UNION SELECT k.ip_address, k.fingerprint_hash, k.user_agent FROM artery.click_tracking k
               WHERE k.tenant_id = forget_traces.tenant_id AND k.click_id = ANY (v_clicks))
    SELECT v_clicks || ARRAY(
               SELECT k.click_id FROM device d JOIN artery.click_tracking k ON k.tenant_id = forget_traces.tenant_id
                  AND k.ip_address = d.ip_address AND (k.fingerprint_hash = d.fingerprint_hash OR k.user_agent = d.user_agent)),
           v_conversions || ARRAY(
               SELECT c.conversion_id FROM device d JOIN artery.conversion_tracking c ON c.tenant_id = forget_traces.tenant_id
                  AND c.ip_address = d.ip_address AND (c.fingerprint_hash = d.fingerprint_hash OR c.user_agent = d.user_agent))
      INTO v_clicks, v_conversions;
    UPDATE artery.conversion_trace t SET candidates = '[]'
     WHERE t.tenant_id = forget_traces.tenant_id AND t.conversion_id = ANY (v_conversions) AND t.candidates::text <> '[]';
    GET DIAGNOSTICS v_traces = ROW_COUNT;
    RETURN jsonb_build_object(
        'evidence', cardinality(v_evidence),
        'clicks', artery.forget_columns('click_tracking', 'click_id', tenant_id, v_clicks),
        'conversions', artery.forget_columns('conversion_tracking', 'conversion_id', tenant_id, v_conversions),
        'traces', v_traces);
END
$$;
COMMENT ON FUNCTION artery.forget_traces(text, text[], text[], text[], text) IS
'Delete a person''s evidence, and empty what their clicks and conversions say of them; returns how many rows of each.';

CREATE OR REPLACE FUNCTION artery.forget_events(tenant_id text, contacts text[], deals text[])
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_rows bigint;
BEGIN
    -- The key is kept as a salted hash: a repeated delivery is still known.
    UPDATE artery.webhook_event w
       SET event_key = 'erased|' || encode(artery.identity_hash(w.tenant_id, 'event', w.event_key), 'hex'),
           object_id = NULL, payload = '{"erased": true}', result = w.result - 'crm_contact_id',
           reason = CASE WHEN w.status = ANY (ARRAY['processed', 'ignored']) THEN w.reason ELSE 'its contact was erased' END,
           status = CASE WHEN w.status = 'processed' THEN 'processed' ELSE 'ignored' END,
           processed_at = coalesce(w.processed_at, artery.now())
     WHERE w.tenant_id = forget_events.tenant_id AND NOT w.payload ? 'erased'
       AND ((w.subscription_type IS DISTINCT FROM 'deal.propertyChange' AND EXISTS (
                SELECT FROM jsonb_each_text(w.payload) p WHERE p.key ILIKE '%objectId' AND p.value = ANY (contacts))
             AND (w.payload ->> 'objectTypeId') IS DISTINCT FROM '0-3')
            OR ((w.subscription_type = 'contact.merge' OR (w.subscription_type = 'object.merge' AND w.payload ->> 'objectTypeId' = '0-1'))
                AND EXISTS (SELECT FROM jsonb_path_query(w.payload, '$.mergedObjectIds[*]') m (id) WHERE m.id #>> '{}' = ANY (contacts)))
            -- Names of deals are names of persons; stages and amounts are not.
            OR (w.object_id = ANY (deals) AND (w.payload ->> 'propertyName') <> ALL (ARRAY['dealstage', 'amount'])
                AND (w.subscription_type LIKE 'deal.%' OR w.payload ->> 'objectTypeId' = '0-3')));
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    RETURN v_rows;
END
$$;
COMMENT ON FUNCTION artery.forget_events(text, text[], text[]) IS
'Empty the raw webhook events of contacts, and those of their deals that tell more than stage and amount; returns how many.';

CREATE OR REPLACE FUNCTION artery.mentions(data jsonb, ids text[])
RETURNS boolean
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM jsonb_path_query(data, '$.** ? (@.type() == "string" || @.type() == "number")') v (value)
                    WHERE v.value #>> '{}' = ANY (ids))
$$;
COMMENT ON FUNCTION artery.mentions(jsonb, text[]) IS 'Whether any value in a document is one of the ids.';

CREATE OR REPLACE FUNCTION artery.forget_jobs(tenant_id text, ids text[])
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_jobs    bigint;
    v_history bigint;
BEGIN
    DELETE FROM artery.job j WHERE j.tenant_id = forget_jobs.tenant_id AND artery.mentions(j.data, ids);
    GET DIAGNOSTICS v_jobs = ROW_COUNT;
    UPDATE artery.job_execution_history h
       SET data = CASE WHEN artery.mentions(h.data, ids) THEN '{"erased": true}' ELSE h.data END,
           result = CASE WHEN artery.mentions(h.result, ids) THEN '{"erased": true}' ELSE h.result END
     WHERE h.tenant_id = forget_jobs.tenant_id AND (artery.mentions(h.data, ids) OR artery.mentions(h.result, ids));
    GET DIAGNOSTICS v_history = ROW_COUNT;
    RETURN v_jobs + v_history;
END
$$;
COMMENT ON FUNCTION artery.forget_jobs(text, text[]) IS 'Remove jobs that name a contact or e-mail hash, and empty the history of such jobs; returns how many.';

CREATE OR REPLACE FUNCTION artery.erase_person(
    tenant_id text, crm_contact_id text, email_hash text, crm_deal_id text, click_id text, requested_by text)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_person record;
    v_deals  bigint;
    v_counts jsonb;
BEGIN
    PERFORM artery.ensure_salt(tenant_id);
    SELECT * INTO v_person FROM artery.persons_of(tenant_id, ARRAY[crm_contact_id], ARRAY[lower(email_hash)], ARRAY[crm_deal_id], click_id);
    -- First the deals' rows, then the locks: in the order of those who attribute a deal.
    PERFORM FROM artery.deal d WHERE d.tenant_id = erase_person.tenant_id AND d.deal_id = ANY (v_person.deals)
      ORDER BY d.deal_id FOR UPDATE;
    PERFORM artery.lock_identities(tenant_id, v_person.contacts, v_person.deals, v_person.emails);
    INSERT INTO artery.erased_identity (tenant_id, identity_hash, erased_at)
    SELECT erase_person.tenant_id, artery.identity_hash(erase_person.tenant_id, i.kind, i.id), artery.now()
      FROM (SELECT 'contact', c FROM unnest(v_person.contacts) c
            UNION ALL SELECT 'email', e FROM unnest(v_person.emails) e
            UNION ALL SELECT 'deal', d FROM unnest(v_person.deals) d) i (kind, id)
     ORDER BY 2
    ON CONFLICT DO NOTHING;
    v_counts := artery.forget_traces(tenant_id, v_person.contacts, v_person.emails, v_person.deals, click_id);
    DELETE FROM artery.merged_contact m
     WHERE m.tenant_id = erase_person.tenant_id AND m.crm_contact_id = ANY (v_person.contacts);
    UPDATE artery.deal d SET crm_contact_id = NULL
     WHERE d.tenant_id = erase_person.tenant_id AND d.crm_contact_id = ANY (v_person.contacts);
    GET DIAGNOSTICS v_deals = ROW_COUNT;
    v_counts := v_counts || jsonb_build_object(
        'deals', v_deals,
        'webhook_events', artery.forget_events(tenant_id, v_person.contacts, v_person.deals),
        'jobs', artery.forget_jobs(tenant_id, v_person.contacts || v_person.emails));
    INSERT INTO artery.erasure_log (tenant_id, erased_at, requested_by, counts)
    VALUES (erase_person.tenant_id, artery.now(), requested_by, v_counts);
    RETURN v_counts;
END
$$;
COMMENT ON FUNCTION artery.erase_person(text, text, text, text, text, text) IS 'The work of erase_contact, for a caller who was checked; requested_by names the door.';

CREATE OR REPLACE FUNCTION artery.erase_contact(
    tenant_id text, crm_contact_id text DEFAULT NULL, email_hash text DEFAULT NULL, crm_deal_id text DEFAULT NULL,
    click_id text DEFAULT NULL)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    IF coalesce(nullif(crm_contact_id, ''), nullif(email_hash, ''), nullif(crm_deal_id, ''), nullif(click_id, '')) IS NULL THEN
        RAISE EXCEPTION 'no person is named' USING ERRCODE = '22004',
            HINT = 'Give crm_contact_id, email_hash, crm_deal_id or click_id.';
    END IF;
    IF email_hash LIKE '%@%' THEN
        RAISE EXCEPTION 'email_hash is an e-mail address, not its hash' USING ERRCODE = '22023',
            HINT = 'Give the SHA-256 of the address in lower case, as hexadecimal digits.';
    END IF;
    RETURN artery.erase_person(tenant_id, nullif(crm_contact_id, ''), nullif(email_hash, ''), nullif(crm_deal_id, ''),
                               nullif(click_id, ''), 'erase_contact');
END
$$;
COMMENT ON FUNCTION artery.erase_contact(text, text, text, text, text) IS
'Forget a person, named by contact, e-mail hash, deal or click: evidence, addresses, agents, fingerprints, raw events and contact ids go; deals, their values and the ads'' credit stay. What comes in of them later is not kept. Returns how many rows of each kind; again is harmless.';

CREATE OR REPLACE FUNCTION artery.erasure_log_append_only()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'the log of erasures is append-only'
        USING ERRCODE = '55000', HINT = 'It is the proof that persons were erased.';
END
$$;
COMMENT ON FUNCTION artery.erasure_log_append_only() IS 'Refuses to change or remove what was logged.';

CREATE TRIGGER append_only AFTER UPDATE OR DELETE ON artery.erasure_log
    FOR EACH ROW EXECUTE FUNCTION artery.erasure_log_append_only();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON artery.erasure_log
    FOR EACH STATEMENT EXECUTE FUNCTION artery.erasure_log_append_only();

CREATE OR REPLACE VIEW artery.v_erasures WITH (security_barrier) AS
SELECT l.tenant_id, l.erasure_id, l.erased_at, l.requested_by, (l.counts ->> 'evidence')::bigint AS evidence,
       (l.counts ->> 'clicks')::bigint AS clicks, (l.counts ->> 'conversions')::bigint AS conversions,
       (l.counts ->> 'traces')::bigint AS traces, (l.counts ->> 'deals')::bigint AS deals,
       (l.counts ->> 'webhook_events')::bigint AS webhook_events, (l.counts ->> 'jobs')::bigint AS jobs
  FROM artery.erasure_log l
 WHERE artery.tenant_visible(l.tenant_id);
COMMENT ON VIEW artery.v_erasures IS 'Persons erased: when, by which door (erase_contact or hubspot), and how many rows of each kind were deleted or emptied.';

CREATE OR REPLACE VIEW artery.v_consent WITH (security_barrier) AS
SELECT r.tenant_id, (r.at AT TIME ZONE coalesce(t.settings ->> 'time_zone', 'UTC'))::date AS day, r.kind, count(*) AS total,
       count(*) FILTER (WHERE r.consent) AS agreed, count(*) FILTER (WHERE NOT r.consent) AS refused,
       count(*) FILTER (WHERE r.consent IS NULL) AS not_said, count(*) FILTER (WHERE r.has_device_data) AS with_device_data
  FROM artery.tenant t
  JOIN (SELECT c.tenant_id, 'click' AS kind, c.click_timestamp AS at, c.consent,
               num_nonnulls(c.fingerprint_hash, c.ip_address, c.user_agent, c.fbp, c.fbc) > 0 AS has_device_data
          FROM artery.click_tracking c
        UNION ALL
        SELECT c.tenant_id, 'conversion', c.conversion_timestamp, c.consent,
               num_nonnulls(c.fingerprint_hash, c.ip_address, c.user_agent) > 0
          FROM artery.conversion_tracking c) r ON r.tenant_id = t.tenant_id
 WHERE artery.tenant_visible(t.tenant_id)
 GROUP BY 1, 2, 3;
COMMENT ON VIEW artery.v_consent IS
'Per tenant, day (of the ad account''s time zone) and kind (click, conversion): how many visitors agreed to be recognised, refused, or were not asked, and of how many device data is kept. The others can be attributed by a click id only.';

CREATE OR REPLACE FUNCTION artery.clear_device_slice(
    table_name text, time_column text, tenant_id text, INOUT since timestamptz, until timestamptz, INOUT batch bigint)
RETURNS record
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- What tells one device from another; kinds of device, systems and browsers may stay for the statistics.
    v_columns text[] := ARRAY(
        SELECT c FROM unnest(ARRAY['fbp', 'ip_address', 'user_agent', 'screen_width', 'screen_height', 'timezone', 'timezone_offset',
                                   'fingerprint_hash', 'hardware_key', 'agent_key', 'fingerprint_key']) c
         WHERE c = ANY (artery.personal_columns(table_name)));
    v_rows    bigint;
    v_step    timestamptz;
BEGIN
    IF since = '-infinity' THEN
        EXECUTE format('SELECT min(x.%1$I) - interval ''1 second'' FROM artery.%2$I x WHERE x.tenant_id = $1 AND x.%1$I > ''-infinity''',
                       time_column, table_name)
           INTO since USING tenant_id;
        since := coalesce(since, until);
    END IF;
    -- An hour at a time, by the index of arrival.
    WHILE since < until AND batch > 0 LOOP
        v_step := least(since + interval '1 hour', until);
        EXECUTE format('UPDATE artery.%1$I x SET %2$s WHERE x.tenant_id = $1 AND x.%3$I > $2 AND x.%3$I <= $4 AND num_nonnulls(%4$s) > 0',
                       table_name, (SELECT string_agg(format('%I = NULL', c), ', ') FROM unnest(v_columns) c), time_column,
                       (SELECT string_agg(format('x.%I', c), ', ') FROM unnest(v_columns) c))
            USING tenant_id, since, until, v_step;
        GET DIAGNOSTICS v_rows = ROW_COUNT;
        batch := batch - v_rows;
        since := v_step;
    END LOOP;
END
$$;
COMMENT ON FUNCTION artery.clear_device_slice(text, text, text, timestamptz, timestamptz, bigint) IS
'Clear the device data of a tenant''s clicks or conversions that came in within a range of time, until about a batch is done; returns up to where, and what is left of the batch.';

CREATE OR REPLACE FUNCTION artery.clear_device_data(batch integer DEFAULT 5000)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_days   integer := current_setting('artery.retention_device_data')::integer;
    v_left   bigint := batch;
    v_tenant text;
    v_until  timestamptz;
    v_mark   artery.device_data_mark;
BEGIN
    PERFORM artery.require_unbound_role();
    IF coalesce(batch, 0) NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'batch must be between 1 and 100000'
            USING ERRCODE = '22023', DETAIL = format('It is %s.', batch), HINT = 'It bounds the rows of a table in one transaction.';
    END IF;
    FOR v_tenant IN SELECT t.tenant_id FROM artery.tenant t WHERE v_days > 0 ORDER BY t.tenant_id LOOP
        EXIT WHEN v_left <= 0;
        v_until := artery.now() - v_days * interval '24 hours'
                   - (artery.effective_settings(v_tenant) ->> 'click_window_days')::float8 * interval '24 hours';
        SELECT m.* INTO v_mark FROM artery.device_data_mark m WHERE m.tenant_id = v_tenant;
        IF NOT FOUND THEN
            v_mark := ROW(v_tenant, '-infinity', '-infinity');
        END IF;
        CONTINUE WHEN v_mark.clicks_until >= v_until AND v_mark.conversions_until >= v_until;
        SELECT s.since, s.batch INTO v_mark.clicks_until, v_left
          FROM artery.clear_device_slice('click_tracking', 'tracked_at', v_tenant, v_mark.clicks_until, v_until, v_left) s;
        SELECT s.since, s.batch INTO v_mark.conversions_until, v_left
          FROM artery.clear_device_slice('conversion_tracking', 'attributed_at', v_tenant, v_mark.conversions_until, v_until, v_left) s;
        INSERT INTO artery.device_data_mark AS m VALUES (v_mark.*)
        ON CONFLICT ON CONSTRAINT device_data_mark_pkey DO UPDATE
           SET clicks_until = EXCLUDED.clicks_until, conversions_until = EXCLUDED.conversions_until;
    END LOOP;
    RETURN least(batch, batch - v_left);
END
$$;
COMMENT ON FUNCTION artery.clear_device_data(integer) IS
'Clear addresses, agents, screens, time zones and fingerprints of clicks and conversions that came in longer ago than artery.retention_device_data and the tenant''s window, about a batch at a time; returns how many rows. The worker does it through purge().';

CREATE OR REPLACE VIEW artery.v_personal_data WITH (security_barrier) AS
SELECT p.tenant_id, p.table_name, p.what, p.rows, p.oldest, p.setting,
       nullif(current_setting(p.setting, true), '0')::integer AS kept_days
  FROM (SELECT c.tenant_id, 'click_tracking' AS table_name, 'device data' AS what, count(*) AS rows, min(c.tracked_at) AS oldest,
               'artery.retention_device_data' AS setting
          FROM artery.click_tracking c
         WHERE num_nonnulls(c.fbp, c.ip_address, c.user_agent, c.screen_width, c.timezone, c.fingerprint_hash) > 0 GROUP BY 1
        UNION ALL
        SELECT c.tenant_id, 'click_tracking', 'click ids and addresses of pages', count(*), min(c.click_timestamp), 'artery.retention_clicks'
          FROM artery.click_tracking c WHERE num_nonnulls(c.fbclid, c.gclid, c.fbc, c.landing_page_url, c.referrer_url) > 0 GROUP BY 1
        UNION ALL
        SELECT c.tenant_id, 'conversion_tracking', 'device data', count(*), min(c.attributed_at), 'artery.retention_device_data'
          FROM artery.conversion_tracking c
         WHERE num_nonnulls(c.ip_address, c.user_agent, c.screen_width, c.timezone, c.fingerprint_hash) > 0 GROUP BY 1
        UNION ALL
        SELECT c.tenant_id, 'conversion_tracking', 'contact, fbclid, raw data', count(*), min(c.conversion_timestamp), NULL
          FROM artery.conversion_tracking c WHERE num_nonnulls(c.crm_contact_id, c.fbclid, c.raw_data) > 0 GROUP BY 1
        UNION ALL
        SELECT e.tenant_id, 'contact_evidence', 'contacts and their traces', count(*), min(e.seen_at), 'artery.retention_evidence'
          FROM artery.contact_evidence e GROUP BY 1
        UNION ALL
        SELECT d.tenant_id, 'deal', 'contact', count(*), min(d.updated_at), NULL
          FROM artery.deal d WHERE d.crm_contact_id IS NOT NULL GROUP BY 1
        UNION ALL
        SELECT m.tenant_id, 'merged_contact', 'contacts that were merged', count(*), min(m.merged_at), NULL
          FROM artery.merged_contact m GROUP BY 1
        UNION ALL
        SELECT w.tenant_id, 'webhook_event', 'what HubSpot sent', count(*), min(w.received_at), 'artery.retention_webhook_events'
          FROM artery.webhook_event w WHERE NOT w.payload ? 'erased' GROUP BY 1) p
 WHERE artery.tenant_visible(p.tenant_id);
COMMENT ON VIEW artery.v_personal_data IS
'Where personal data lies: rows per tenant, table and kind, the oldest of them, and the setting (in days) that removes them; NULL: they stay until the person is erased. Reads the tables whole.';
