-- late_click: conversions and deals find clicks that come in after them
--
-- The worker does it within seconds; reattribute() does it on demand. A conversion is tried only if a late click was in
-- its window and shares click id, fbclid, fingerprint or address with it, and once per look: an attempt, whatever it
-- finds, moves attributed_at behind looked_at. A deal is found by its own conversion, which has the traces of its evidence.

CREATE OR REPLACE FUNCTION artery.mark_late_clicks(after text, tenants integer, OUT tenant_id text, OUT is_new boolean)
RETURNS SETOF record
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_foreign bigint := pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
    v_notes   bigint[];
    v_moment  timestamptz;
BEGIN
    -- looked_xid of a committed transaction is below that, unless it is another server's, before a restore.
    v_notes := ARRAY(SELECT n.note_id FROM artery.late_click n WHERE n.looked_at IS NULL OR n.looked_xid >= v_foreign);
    IF v_notes <> '{}' THEN
        v_moment := clock_timestamp() + (artery.now() - now());
        WITH free AS (
            SELECT n.tenant_id, n.note_id FROM artery.late_click n WHERE n.note_id = ANY (v_notes) FOR UPDATE SKIP LOCKED)
        UPDATE artery.late_click n SET looked_at = v_moment, looked_xid = pg_current_xact_id()::text::bigint
          FROM free f WHERE n.tenant_id = f.tenant_id AND n.note_id = f.note_id;
    END IF;
    RETURN QUERY
    SELECT n.tenant_id, coalesce(bool_or(n.looked_at = v_moment), false) FROM artery.late_click n
     WHERE n.looked_at IS NOT NULL
     GROUP BY n.tenant_id ORDER BY n.tenant_id <= mark_late_clicks.after, n.tenant_id LIMIT tenants;
END
$$;
COMMENT ON FUNCTION artery.mark_late_clicks(text, integer) IS
'Note when new notes of late clicks are first seen; returns tenants that have notes, those behind the given one first, and whether there are new ones. To be committed before match_late_clicks().';

CREATE OR REPLACE FUNCTION artery.late_click_matches(tenant_id text, since timestamptz[], looked_at timestamptz[], batch integer)
RETURNS TABLE (conversion_id text, deal_id text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
-- Sets are joined, of a size that is another one each time.
SET plan_cache_mode = force_custom_plan
SET enable_nestloop = off
AS $$
DECLARE
    v_settings jsonb := artery.effective_settings(tenant_id);
    v_window   interval := (v_settings ->> 'click_window_days')::float8 * interval '24 hours';
    v_by_id    interval := coalesce((v_settings ->> 'id_window_days')::float8 * interval '24 hours', v_window);
BEGIN
    RETURN QUERY
    WITH late AS MATERIALIZED (
        SELECT k.click_id, k.fbclid, k.fingerprint_hash, k.ip_address, k.click_timestamp AS at,
               -- Conversions that were attributed after this have seen the click.
               (SELECT max(s.looked) FROM unnest(since, late_click_matches.looked_at) s (since, looked)
                 WHERE s.since <= k.tracked_at AND s.looked >= k.tracked_at) AS looked
          FROM artery.click_tracking k
         WHERE k.tenant_id = late_click_matches.tenant_id AND k.tracked_at > '-infinity'
           AND k.tracked_at >= (SELECT min(s) FROM unnest(since) s)
           AND k.tracked_at <= (SELECT max(s) FROM unnest(late_click_matches.looked_at) s)
           -- Late as in src/capture/late_click.h.
           AND k.click_timestamp < k.tracked_at - interval '1 minute'),
    waiting AS MATERIALIZED (
        SELECT c.conversion_id, c.crm_deal_id, c.conversion_timestamp AS at, c.attributed_at, c.click_id, c.fbclid,
               c.fingerprint_hash, c.ip_address
          FROM artery.conversion_tracking c
         WHERE c.tenant_id = late_click_matches.tenant_id AND c.ad_id IS NULL AND c.attribution_method = 'unattributed'
           AND c.attributed_at <= (SELECT max(s) FROM unnest(late_click_matches.looked_at) s)
           AND c.conversion_timestamp >= (SELECT min(l.at) FROM late l)
           AND c.conversion_timestamp <= (SELECT max(l.at) FROM late l) + greatest(v_window, v_by_id)),
    matched AS (
        SELECT w.conversion_id, w.crm_deal_id FROM waiting w WHERE EXISTS (
               SELECT FROM late l WHERE l.click_id = w.click_id
                  AND l.at <= w.at AND l.at >= w.at - v_by_id AND l.looked >= w.attributed_at)
        UNION
        SELECT w.conversion_id, w.crm_deal_id FROM waiting w WHERE EXISTS (
               SELECT FROM late l WHERE l.fbclid = w.fbclid
                  AND l.at <= w.at AND l.at >= w.at - v_by_id AND l.looked >= w.attributed_at)
        UNION
        SELECT w.conversion_id, w.crm_deal_id FROM waiting w WHERE EXISTS (
               SELECT FROM late l WHERE l.fingerprint_hash = w.fingerprint_hash
                  AND l.at <= w.at AND l.at >= w.at - v_window AND l.looked >= w.attributed_at)
        UNION
        SELECT w.conversion_id, w.crm_deal_id FROM waiting w WHERE EXISTS (
               SELECT FROM late l WHERE l.ip_address = w.ip_address
                  AND l.at <= w.at AND l.at >= w.at - v_window AND l.looked >= w.attributed_at))
    SELECT m.conversion_id, d.deal_id
      FROM matched m
      LEFT JOIN artery.deal d ON d.tenant_id = late_click_matches.tenant_id AND d.deal_id = m.crm_deal_id
           AND d.attribution_method = 'unattributed' AND d.conversion_id = m.conversion_id
     -- Deals first: conversions that name a deal take over its ad.
     ORDER BY d.deal_id IS NULL, m.conversion_id LIMIT batch;
END
$$;
COMMENT ON FUNCTION artery.late_click_matches(text, timestamptz[], timestamptz[], integer) IS
'Unattributed conversions, at most so many, that a late click may have earned which came in from since to looked_at and they did not see; with the deal whose attribution they are.';

CREATE OR REPLACE FUNCTION artery.match_late_clicks(
    tenant_id text, batch integer DEFAULT 1000, is_new boolean DEFAULT true, OUT tried integer, OUT attributed integer)
RETURNS record
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- Asked before the search, which so sees whatever transactions below it did.
    v_ended bigint := pg_snapshot_xmin(pg_current_snapshot())::text::bigint;
    -- A transaction gets its id an instant after it looked for clicks; the two seconds are for that instant.
    v_calm  timestamptz := clock_timestamp() + (artery.now() - now()) - interval '2 seconds';
    v_notes record;
    v_match record;
    v_heir  text;
    v_busy  integer := 0;
    v_until timestamptz;        -- for the attempts, which may be slow where the server is busy: the rest comes the next time
BEGIN
    tried := 0;
    attributed := 0;
    WITH mine AS MATERIALIZED (
        SELECT n.note_id, n.tracked_since, n.looked_at FROM artery.late_click n
         WHERE n.tenant_id = match_late_clicks.tenant_id AND n.looked_at IS NOT NULL
           AND (is_new OR n.looked_xid <= v_ended AND n.looked_at <= v_calm) FOR UPDATE SKIP LOCKED),
    looks AS (SELECT m.looked_at, min(m.tracked_since) AS since FROM mine m GROUP BY 1)
    SELECT (SELECT array_agg(m.note_id) FROM mine m) AS ids, array_agg(l.since) AS since, array_agg(l.looked_at) AS looked_at
      INTO v_notes FROM looks l;
    IF v_notes.ids IS NULL THEN
        RETURN;
    END IF;
    FOR v_match IN
        SELECT m.conversion_id, m.deal_id FROM artery.late_click_matches(tenant_id, v_notes.since, v_notes.looked_at, batch) m
    LOOP
        v_until := coalesce(v_until, clock_timestamp() + interval '5 seconds');
        IF clock_timestamp() > v_until THEN
            v_busy := v_busy + 1;
            EXIT;
        END IF;
        -- What somebody else holds is left for the next time: nothing here waits for long.
        IF v_match.deal_id IS NOT NULL THEN
            PERFORM FROM artery.deal d WHERE d.tenant_id = match_late_clicks.tenant_id AND d.deal_id = v_match.deal_id
                FOR NO KEY UPDATE SKIP LOCKED;
        ELSE
            PERFORM FROM artery.conversion_tracking c
              WHERE c.tenant_id = match_late_clicks.tenant_id AND c.conversion_id = v_match.conversion_id
                FOR NO KEY UPDATE SKIP LOCKED;
        END IF;
        IF NOT FOUND THEN
            v_busy := v_busy + 1;
            CONTINUE;
        END IF;
        tried := tried + 1;
        IF v_match.deal_id IS NULL THEN
            attributed := attributed + artery.attribute_again(tenant_id, v_match.conversion_id)::int;
        ELSIF artery.attribute_deal(tenant_id, v_match.deal_id) THEN
            attributed := attributed + 1;
            -- Conversions of the deal that have no traces of their own inherit.
            FOR v_heir IN
                SELECT c.conversion_id FROM artery.conversion_tracking c
                 WHERE c.tenant_id = match_late_clicks.tenant_id AND c.crm_deal_id = v_match.deal_id
                   AND c.attribution_method = 'unattributed'
                   AND num_nonnulls(c.click_id, c.fbclid, c.fingerprint_hash, c.ip_address) = 0
                 ORDER BY c.conversion_id
            LOOP
                attributed := attributed + artery.attribute_again(tenant_id, v_heir)::int;
            END LOOP;
        END IF;
    END LOOP;
    IF v_busy = 0 AND tried < batch THEN
        DELETE FROM artery.late_click n
         WHERE n.tenant_id = match_late_clicks.tenant_id AND n.note_id = ANY (v_notes.ids)
           AND n.looked_xid <= v_ended AND n.looked_at <= v_calm;
    END IF;
END
$$;
COMMENT ON FUNCTION artery.match_late_clicks(text, integer, boolean) IS
'One step of the worker''s care for late clicks: try a batch of the conversions and deals again that one of them may have earned, and forget the notes that have done their work; without is_new, only where they can be forgotten. Returns how many were tried and how many are attributed by it.';
