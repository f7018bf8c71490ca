-- contact_fetch: reading the contacts of deals from HubSpot
--
-- A deal that enters a stage without finding its ad is queued by whoever records it
-- (src/capture/contact_request.c). The worker asks HubSpot without a transaction and
-- stores contact by contact, each in one: identify() waits for one lock only, and so
-- does this.

CREATE OR REPLACE FUNCTION artery.tenants_with_fetches(
    OUT tenant_id text, OUT run_at timestamptz, OUT paused_until timestamptz)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    tenant_id := '';
    LOOP
        -- From tenant to tenant along the index, however many deals each has.
        SELECT f.tenant_id, f.run_at INTO tenant_id, run_at FROM artery.contact_fetch f
         WHERE f.state = 'queued' AND f.tenant_id > tenants_with_fetches.tenant_id
         ORDER BY f.tenant_id, f.run_at LIMIT 1;
        EXIT WHEN NOT FOUND;
        CONTINUE WHEN NOT EXISTS (
            SELECT FROM artery.tenant t
              JOIN artery.tenant_secret s ON s.tenant_id = t.tenant_id AND s.name = 'hubspot_access_token'
             WHERE t.tenant_id = tenants_with_fetches.tenant_id AND coalesce((t.settings ->> 'enabled')::boolean, true));
        paused_until := (SELECT p.until FROM artery.contact_fetch_pause p
                          WHERE p.tenant_id = tenants_with_fetches.tenant_id AND p.until > artery.moment());
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION artery.tenants_with_fetches() IS
'Enabled tenants with a HubSpot token and queued readings: when the first is due, and until when HubSpot is not asked for them (NULL: it is).';

CREATE OR REPLACE FUNCTION artery.next_contact_fetch_at()
RETURNS timestamptz
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT least((SELECT min(greatest(t.run_at, coalesce(t.paused_until, t.run_at))) FROM artery.tenants_with_fetches() t),
                 (SELECT min(CASE WHEN EXISTS (SELECT FROM pg_stat_get_activity(f.worker_pid)) THEN f.lease_until
                                  ELSE '-infinity' END)
                    FROM artery.contact_fetch f WHERE f.state = 'active'))
$$;
COMMENT ON FUNCTION artery.next_contact_fetch_at() IS
'When the worker has contacts to read next, or a claim to take back; NULL or infinity if none.';

CREATE OR REPLACE FUNCTION artery.rescue_contact_fetches()
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_lost    record;
    v_rescued integer := 0;
BEGIN
    FOR v_lost IN
        SELECT f.tenant_id, f.deal_id, f.attempt FROM artery.contact_fetch f
         WHERE f.state = 'active'
           AND (f.lease_until < artery.moment() OR NOT EXISTS (SELECT FROM pg_stat_get_activity(f.worker_pid)))
    LOOP
        IF artery.settle_contact_fetch(v_lost.tenant_id, v_lost.deal_id, v_lost.attempt, 'lost', NULL,
                                       'the worker went away', 0) THEN
            v_rescued := v_rescued + 1;
        END IF;
    END LOOP;
    RETURN v_rescued;
END
$$;
COMMENT ON FUNCTION artery.rescue_contact_fetches() IS
'Take back readings whose worker is gone or whose lease ran out; they are due at once. Returns how many.';

CREATE OR REPLACE FUNCTION artery.take_contact_fetches(room integer, after text)
RETURNS TABLE (tenant_id text, deal_id text, attempt integer, begun_at timestamptz)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_each  constant integer := 16;  -- of a tenant at once
    v_now   timestamptz := artery.moment();
    v_tenant text;
    v_left  integer := room;
    -- Of deals that began earlier no click is left.
    v_since timestamptz := CASE WHEN current_setting('artery.retention_clicks')::integer = 0 THEN '-infinity'
        ELSE v_now - make_interval(days => current_setting('artery.retention_clicks')::integer) END;
    v_due   record;
BEGIN
    PERFORM artery.rescue_contact_fetches();
    -- Whoever was served last goes behind the others.
    FOR v_tenant IN
        SELECT t.tenant_id FROM artery.tenants_with_fetches() t
         WHERE t.run_at <= v_now AND t.paused_until IS NULL
         ORDER BY t.tenant_id <= after, t.tenant_id
    LOOP
        FOR v_due IN
            SELECT f.deal_id, d.first_event_at,
                   coalesce(d.attribution_method = 'unattributed' AND d.stage IS NOT NULL AND d.first_event_at >= v_since, false)
                   AND NOT artery.is_erased(v_tenant, 'deal', f.deal_id) AS is_needed
              FROM artery.contact_fetch f
              LEFT JOIN artery.deal d ON d.tenant_id = v_tenant AND d.deal_id = f.deal_id
             WHERE f.tenant_id = v_tenant AND f.state = 'queued' AND f.run_at <= v_now
             ORDER BY f.run_at, f.deal_id
             LIMIT greatest(0, least(v_left, v_each - (SELECT count(*) FROM artery.contact_fetch a
                                                        WHERE a.tenant_id = v_tenant AND a.state = 'active')))
               FOR UPDATE OF f SKIP LOCKED
        LOOP
            IF v_due.is_needed THEN
                v_left := v_left - 1;
                RETURN QUERY
                UPDATE artery.contact_fetch f
                   SET state = 'active', attempt = f.attempt + 1, worker_pid = pg_backend_pid(),
                       lease_until = v_now + interval '1 hour'
                 WHERE f.tenant_id = v_tenant AND f.deal_id = v_due.deal_id
                RETURNING f.tenant_id, f.deal_id, f.attempt, v_due.first_event_at;
            ELSE
                UPDATE artery.contact_fetch f SET state = 'done', outcome = 'not_needed', settled_at = v_now
                 WHERE f.tenant_id = v_tenant AND f.deal_id = v_due.deal_id;
            END IF;
        END LOOP;
        EXIT WHEN v_left <= 0;
    END LOOP;
END
$$;
COMMENT ON FUNCTION artery.take_contact_fetches(integer, text) IS
'Claim due readings for the calling worker, at most 16 of a tenant at once, beginning with the tenants after the given one. Deals that need none any more are settled.';

CREATE OR REPLACE FUNCTION artery.sighting_of_contact(
    tenant_id text, crm_contact_id text, email_hash text, click_id text, fbclid text, submitted_at timestamptz,
    begun_at timestamptz)
RETURNS timestamptz
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_until timestamptz := begun_at + interval '5 minutes';  -- form and deal come by different clocks
    v_form  timestamptz;
BEGIN
    -- The form, by the landing page's own word or by HubSpot's ...
    v_form := greatest(submitted_at,
        (SELECT max(e.seen_at) FROM artery.contact_evidence e
          WHERE e.tenant_id = sighting_of_contact.tenant_id AND e.crm_contact_id = sighting_of_contact.crm_contact_id
            AND e.seen_at <= v_until),
        (SELECT max(e.seen_at) FROM artery.contact_evidence e
          WHERE e.tenant_id = sighting_of_contact.tenant_id AND e.email_hash = sighting_of_contact.email_hash
            AND e.seen_at <= v_until));
    -- ... but not one sent before the click that HubSpot names.
    IF v_form IS NULL
       OR click_id IS NOT NULL AND EXISTS (
          SELECT FROM artery.click_tracking c
           WHERE c.tenant_id = sighting_of_contact.tenant_id AND c.click_id = sighting_of_contact.click_id
             AND c.click_timestamp > v_form AND c.click_timestamp <= begun_at)
       OR fbclid IS NOT NULL AND EXISTS (
          SELECT FROM artery.click_tracking c
           WHERE c.tenant_id = sighting_of_contact.tenant_id AND c.fbclid = sighting_of_contact.fbclid
             AND c.click_timestamp > v_form AND c.click_timestamp <= begun_at) THEN
        RETURN begun_at;
    END IF;
    RETURN v_form;
END
$$;
COMMENT ON FUNCTION artery.sighting_of_contact(text, text, text, text, text, timestamptz, timestamptz) IS
'When a contact that HubSpot told of was seen: at its last form before the deal began, else when the deal began.';

CREATE OR REPLACE FUNCTION artery.store_contact(
    tenant_id text, deal_id text, crm_contact_id text, email_hash text, click_id text, fbclid text,
    submitted_at timestamptz, begun_at timestamptz)
RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_contact text := artery.surviving_contact(tenant_id, crm_contact_id);
BEGIN
    -- What is known already is not stored again: contacts may be read several times.
    IF NOT EXISTS (
        SELECT FROM artery.contact_evidence e
         WHERE e.tenant_id = store_contact.tenant_id AND e.crm_contact_id = v_contact
           AND e.crm_deal_id = store_contact.deal_id AND e.email_hash IS NOT DISTINCT FROM store_contact.email_hash
           AND e.click_id IS NOT DISTINCT FROM store_contact.click_id AND e.fbclid IS NOT DISTINCT FROM store_contact.fbclid) THEN
        PERFORM artery.identify(tenant_id, v_contact, email_hash, deal_id, click_id, fbclid,
            seen_at => artery.sighting_of_contact(tenant_id, v_contact, email_hash, click_id, fbclid, submitted_at, begun_at));
    END IF;
    RETURN EXISTS (SELECT FROM artery.deal d
                    WHERE d.tenant_id = store_contact.tenant_id AND d.deal_id = store_contact.deal_id
                      AND d.attribution_method <> 'unattributed');
END
$$;
COMMENT ON FUNCTION artery.store_contact(text, text, text, text, text, text, timestamptz, timestamptz) IS
'Keep what HubSpot told of a deal''s contact as identify() would, unless it is known; true if the deal has its ad now.';

CREATE OR REPLACE FUNCTION artery.settle_contact_fetch(
    tenant_id text, deal_id text, attempt integer, result text, contacts integer, error text, wait_seconds double precision)
RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_last   constant integer := 10;  -- failure after which it is not tried again
    v_waits  constant interval[] := ARRAY['1 minute', '15 minutes', '4 hours', '1 day'];
    v_now    timestamptz := artery.moment();
    v_fetch  artery.contact_fetch;
    v_looks  integer;
    v_failed integer;
BEGIN
    SELECT f.* INTO v_fetch FROM artery.contact_fetch f
     WHERE f.tenant_id = settle_contact_fetch.tenant_id AND f.deal_id = settle_contact_fetch.deal_id
       AND f.attempt = settle_contact_fetch.attempt AND f.state = 'active' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    v_failed := v_fetch.failures + CASE WHEN result = ANY (ARRAY['failed', 'lost']) THEN 1 ELSE 0 END;
    v_looks := v_fetch.looks + CASE WHEN result = 'nothing' THEN 1 ELSE 0 END;
    UPDATE artery.contact_fetch f
       SET state = s.state, failures = CASE WHEN s.state = 'done' OR result = 'nothing' THEN 0 ELSE v_failed END,
           looks = v_looks, worker_pid = NULL, lease_until = NULL,
           outcome = CASE WHEN result = ANY (ARRAY['attributed', 'found', 'nothing', 'gone', 'not_needed']) THEN result
                          ELSE f.outcome END,
           contacts = coalesce(settle_contact_fetch.contacts, f.contacts),
           last_error = CASE WHEN error IS NOT NULL THEN left(error, 1000) WHEN s.state = 'done' THEN NULL ELSE f.last_error END,
           settled_at = CASE WHEN s.state <> 'queued' THEN v_now END,
           run_at = v_now + CASE WHEN result = 'nothing' THEN coalesce(v_waits[v_looks], '0')
               WHEN result = 'failed' THEN make_interval(secs => greatest(wait_seconds,
                   least(3600, 30 * 2 ^ (v_failed - 1)) * (0.75 + random() / 2)))
               ELSE make_interval(secs => wait_seconds) END
      FROM (SELECT CASE WHEN result = 'refused' OR v_failed >= v_last THEN 'failed'
                        WHEN result = ANY (ARRAY['failed', 'lost', 'postponed'])
                             OR (result = 'nothing' AND v_looks <= cardinality(v_waits)) THEN 'queued'
                        ELSE 'done' END AS state) s
     WHERE f.tenant_id = settle_contact_fetch.tenant_id AND f.deal_id = settle_contact_fetch.deal_id
    RETURNING f.* INTO v_fetch;
    IF v_fetch.state = 'failed' THEN
        PERFORM artery.raise_alert(settle_contact_fetch.tenant_id, 'contact_fetch', '',
            format('contacts of %s deals could not be read from HubSpot, the last one: %s; artery.fetch_contacts tries again',
                   (SELECT count(*) FROM artery.contact_fetch f
                     WHERE f.tenant_id = settle_contact_fetch.tenant_id AND f.state = 'failed'), error));
    ELSIF v_fetch.state = 'done' OR result = 'nothing' THEN
        -- HubSpot answers again: the next refusal begins to count anew.
        DELETE FROM artery.contact_fetch_pause p
         WHERE p.tenant_id = settle_contact_fetch.tenant_id AND p.until <= v_now;
        IF FOUND THEN
            PERFORM artery.clear_alert(settle_contact_fetch.tenant_id, 'hubspot_limit');
        END IF;
        IF NOT EXISTS (SELECT FROM artery.contact_fetch f
                        WHERE f.tenant_id = settle_contact_fetch.tenant_id AND f.state = 'failed') THEN
            PERFORM artery.clear_alert(settle_contact_fetch.tenant_id, 'contact_fetch');
        END IF;
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION artery.settle_contact_fetch(text, text, integer, text, integer, text, double precision) IS
'What becomes of a claimed reading: done with an outcome; nothing (looked at again after 1 minute, 15, 4 hours, a day); failed (tried again, doubling from 30 seconds to an hour, ten times); refused (failed for good); postponed and lost (due after the wait). False, and nothing changes, if the claim of that attempt no longer holds.';

CREATE OR REPLACE FUNCTION artery.pause_contact_fetches(
    tenant_id text, reason text, wait_seconds double precision, message text)
RETURNS timestamptz
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_now   timestamptz := artery.moment();
    v_until timestamptz;
BEGIN
    -- What was under way when a pause began may be refused, too: only a refusal after it doubles the wait.
    INSERT INTO artery.contact_fetch_pause AS p (tenant_id, reason, since, until)
    VALUES (pause_contact_fetches.tenant_id, pause_contact_fetches.reason, v_now,
            CASE WHEN wait_seconds = 'infinity' THEN 'infinity' ELSE v_now + make_interval(secs => wait_seconds) END)
    ON CONFLICT ON CONSTRAINT contact_fetch_pause_pkey DO UPDATE
       SET reason = CASE WHEN p.until > excluded.until THEN p.reason ELSE excluded.reason END,
           since = CASE WHEN p.until <= v_now THEN v_now ELSE p.since END,
           hits = p.hits + CASE WHEN p.until <= v_now THEN 1 ELSE 0 END,
           until = greatest(p.until, CASE WHEN excluded.until < 'infinity' AND excluded.reason = 'rate_limit' AND p.until <= v_now
               THEN v_now + make_interval(secs => wait_seconds * 2 ^ least(p.hits, 4)) ELSE excluded.until END)
    RETURNING p.until INTO v_until;
    IF reason = 'token' THEN
        PERFORM artery.raise_alert(pause_contact_fetches.tenant_id, 'hubspot_token', '',
            'HubSpot refuses the access token; no contacts are read until set_secret brings another: ' || message);
    ELSIF reason = 'daily_limit' THEN
        PERFORM artery.raise_alert(pause_contact_fetches.tenant_id, 'hubspot_limit', '',
            'HubSpot''s daily limit of requests is used up; contacts are read when it lets us again: ' || message);
    END IF;
    RETURN v_until;
END
$$;
COMMENT ON FUNCTION artery.pause_contact_fetches(text, text, double precision, text) IS
'HubSpot is not asked for the tenant for so long, with an alert where a person should know; returns until when.';

CREATE OR REPLACE FUNCTION artery.resume_contact_fetches()
RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_tenant text := coalesce(NEW.tenant_id, OLD.tenant_id);
BEGIN
    IF coalesce(NEW.name, OLD.name) = 'hubspot_access_token' AND NEW.value IS DISTINCT FROM OLD.value THEN
        DELETE FROM artery.contact_fetch_pause p WHERE p.tenant_id = v_tenant;
        PERFORM artery.clear_alert(v_tenant, k.kind) FROM unnest(ARRAY['hubspot_token', 'hubspot_limit']) k (kind);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION artery.resume_contact_fetches() IS 'Another HubSpot token may do what the old one could not: contacts are read again.';

CREATE TRIGGER resume_contact_fetches AFTER INSERT OR UPDATE OF value OR DELETE ON artery.tenant_secret
    FOR EACH ROW EXECUTE FUNCTION artery.resume_contact_fetches();

CREATE OR REPLACE FUNCTION artery.fetch_contacts(
    tenant_id text, deal_id text DEFAULT NULL, since timestamptz DEFAULT NULL)
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_queued integer;
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    IF NOT EXISTS (SELECT FROM artery.tenant_secret s
                    WHERE s.tenant_id = fetch_contacts.tenant_id AND s.name = 'hubspot_access_token') THEN
        RAISE EXCEPTION 'tenant "%" has no hubspot_access_token', tenant_id
            USING ERRCODE = '55000', DETAIL = 'Contacts are read from HubSpot with it.',
                  HINT = 'artery.set_secret(tenant_id, ''hubspot_access_token'', ...) sets one.';
    END IF;
    IF deal_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM artery.deal d WHERE d.tenant_id = fetch_contacts.tenant_id AND d.deal_id = fetch_contacts.deal_id) THEN
        RAISE EXCEPTION 'unknown deal "%"', left(deal_id, 256)
            USING ERRCODE = '22023', DETAIL = 'Only contacts of deals that entered a stage are read.',
                  HINT = 'artery.record_stage() records it.';
    END IF;
    INSERT INTO artery.contact_fetch AS f (tenant_id, deal_id, run_at, requested_at)
    SELECT fetch_contacts.tenant_id, d.deal_id, artery.now(), artery.now()
      FROM artery.deal d
     WHERE d.tenant_id = fetch_contacts.tenant_id AND d.attribution_method = 'unattributed' AND d.stage IS NOT NULL
       AND d.deal_id ~ '^[0-9]{1,19}$' AND d.deal_id = coalesce(fetch_contacts.deal_id, d.deal_id)
       AND (fetch_contacts.since IS NULL OR d.first_event_at >= fetch_contacts.since)
     ORDER BY d.deal_id COLLATE "C"
    ON CONFLICT ON CONSTRAINT contact_fetch_pkey DO UPDATE
       SET state = 'queued', run_at = excluded.run_at, requested_at = excluded.requested_at, failures = 0, looks = 0,
           settled_at = NULL
     WHERE f.state <> 'active';
    GET DIAGNOSTICS v_queued = ROW_COUNT;
    -- Who asks may have given the token the rights that it lacked.
    DELETE FROM artery.contact_fetch_pause p WHERE p.tenant_id = fetch_contacts.tenant_id AND p.reason = 'token';
    PERFORM artery.clear_alert(fetch_contacts.tenant_id, 'hubspot_token');
    IF NOT EXISTS (SELECT FROM artery.contact_fetch f
                    WHERE f.tenant_id = fetch_contacts.tenant_id AND f.state = 'failed') THEN
        PERFORM artery.clear_alert(fetch_contacts.tenant_id, 'contact_fetch');
    END IF;
    PERFORM artery.wake_worker();
    RETURN v_queued;
END
$$;
COMMENT ON FUNCTION artery.fetch_contacts(text, text, timestamptz) IS
'Have the contacts of deals without an ad read from HubSpot now, though it was done or given up: of one deal, of those that began since then, or of all. A token that was refused is tried again. Returns how many were queued. New deals need no call.';

CREATE OR REPLACE VIEW artery.v_contact_fetches WITH (security_barrier) AS
SELECT f.tenant_id, f.deal_id, f.state, f.outcome, f.contacts, f.run_at, f.failures, f.looks, f.last_error, f.requested_at,
       f.settled_at
  FROM artery.contact_fetch f
 WHERE artery.tenant_visible(f.tenant_id);
COMMENT ON VIEW artery.v_contact_fetches IS
'Deals whose contacts are or were read from HubSpot, and what came of it; failed: given up, until artery.fetch_contacts or another stage of the deal.';

CREATE OR REPLACE VIEW artery.v_contact_fetch_health WITH (security_barrier) AS
SELECT q.tenant_id, q.queued, q.due, q.active, q.failed, q.oldest_due_at, p.reason AS paused_reason, p.until AS paused_until
  FROM (SELECT f.tenant_id,
               count(*) FILTER (WHERE f.state = 'queued') AS queued,
               count(*) FILTER (WHERE f.state = 'queued' AND f.run_at <= artery.now()) AS due,
               count(*) FILTER (WHERE f.state = 'active') AS active,
               count(*) FILTER (WHERE f.state = 'failed') AS failed,
               min(f.run_at) FILTER (WHERE f.state = 'queued' AND f.run_at <= artery.now()) AS oldest_due_at
          FROM artery.contact_fetch f
         WHERE f.state <> 'done'
         GROUP BY f.tenant_id) q
  LEFT JOIN artery.contact_fetch_pause p ON p.tenant_id = q.tenant_id AND p.until > artery.now()
 WHERE artery.tenant_visible(q.tenant_id);
COMMENT ON VIEW artery.v_contact_fetch_health IS
'Contacts to be read from HubSpot per tenant: deals queued, due, active and failed, and why and until when HubSpot is not asked (infinity: until set_secret brings another token).';

CREATE OR REPLACE FUNCTION artery.classify_hubspot_answer(
    http_status integer, step text, body bytea, retry_after text DEFAULT NULL, click_id_property text DEFAULT 'artery_click_id')
RETURNS jsonb
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_classify_hubspot_answer';
COMMENT ON FUNCTION artery.classify_hubspot_answer(integer, text, bytea, text, text) IS
'What an answer of HubSpot''s means and what is taken from it; step deal, associations or contacts. For tests and for support: paste what HubSpot answered.';
