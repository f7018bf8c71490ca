-- calibration: learning, and telling what was learnt and weighed

CREATE OR REPLACE FUNCTION artery.click_values(
    tenant_id text, ip_address inet, fingerprint_key bigint, hardware_key bigint, agent_key bigint, sighting smallint)
RETURNS bigint[]
LANGUAGE C STABLE
AS 'MODULE_PATHNAME', 'artery_click_values';
COMMENT ON FUNCTION artery.click_values(text, inet, bigint, bigint, bigint, smallint) IS
'The keys in attribution_value that a click counts for.';

CREATE OR REPLACE FUNCTION artery.click_class(sighting smallint)
RETURNS integer
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_click_class';
COMMENT ON FUNCTION artery.click_class(smallint) IS
'Class of a click: 0 iOS in an app, 1 iOS, 2 Android in an app, 3 Android, 4 other.';

CREATE OR REPLACE FUNCTION artery.learnt_numbers()
RETURNS integer
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_learnt_numbers';
COMMENT ON FUNCTION artery.learnt_numbers() IS 'How many numbers the calibrated model learns of a tenant.';

CREATE OR REPLACE FUNCTION artery.learnt_step(sums float8[], positions smallint[], amounts float8[], weight float8)
RETURNS float8[]
LANGUAGE C IMMUTABLE
AS 'MODULE_PATHNAME', 'artery_learnt_step';
COMMENT ON FUNCTION artery.learnt_step(float8[], smallint[], float8[], float8) IS 'A step of the aggregate sum_learnt.';

CREATE OR REPLACE AGGREGATE artery.sum_learnt(smallint[], float8[], float8) (
    SFUNC = artery.learnt_step,
    STYPE = float8[]
);
COMMENT ON AGGREGATE artery.sum_learnt(smallint[], float8[], float8) IS
'What conversions taught, as places and amounts with a weight each, in one array of all numbers.';

CREATE OR REPLACE FUNCTION artery.combine_learnt(one float8[], weight float8, other float8[], other_weight float8)
RETURNS float8[]
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_combine_learnt';
COMMENT ON FUNCTION artery.combine_learnt(float8[], float8, float8[], float8) IS
'The weighted sum of two arrays of learnt numbers; one that is null, or ends early, counts as zeros.';

CREATE OR REPLACE FUNCTION artery.faded(age interval, half_life_days float8)
RETURNS float8
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_faded';
COMMENT ON FUNCTION artery.faded(interval, float8) IS 'What is left of 1 after an age, given its half-life.';

CREATE OR REPLACE FUNCTION artery.count_clicks(
    tenant_id text, after timestamptz, until timestamptz, OUT clicks bigint, OUT oldest timestamptz,
    OUT newest timestamptz, OUT sums float8[])
RETURNS record
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH fresh AS MATERIALIZED (
        SELECT c.click_timestamp AS at, c.sighting,
               artery.click_values(count_clicks.tenant_id, c.ip_address, c.fingerprint_key, c.hardware_key, c.agent_key, c.sighting) AS keys
          FROM artery.click_tracking c
         WHERE c.tenant_id = count_clicks.tenant_id AND c.tracked_at > '-infinity' AND c.tracked_at > after
           AND c.tracked_at <= until),
    span AS MATERIALIZED (SELECT count(*) AS clicks, min(f.at) AS oldest, max(f.at) AS newest FROM fresh f),
    counted AS (
        INSERT INTO artery.attribution_value AS v (tenant_id, value_key, occurrences, counted_at)
        SELECT count_clicks.tenant_id, k.key, sum(power(2::float8, -least(extract(epoch FROM s.newest - f.at)::float8 / 604800, 200))),
               s.newest
          FROM fresh f CROSS JOIN span s CROSS JOIN LATERAL unnest(f.keys) k (key)
         GROUP BY k.key, s.newest ORDER BY k.key
        ON CONFLICT ON CONSTRAINT attribution_value_pkey DO UPDATE
           SET occurrences = v.occurrences * artery.faded(EXCLUDED.counted_at - v.counted_at, 7)
                             + EXCLUDED.occurrences * artery.faded(v.counted_at - EXCLUDED.counted_at, 7),
               counted_at = greatest(v.counted_at, EXCLUDED.counted_at))
    SELECT s.clicks, s.oldest, s.newest,
           ARRAY(SELECT coalesce(sum(p.clicks), 0)
                   FROM generate_series(0, 12) g
                   LEFT JOIN (SELECT k.place, power(2::float8, -least(extract(epoch FROM s.newest - f.at)::float8 / 2592000, 200)) AS clicks
                                FROM fresh f CROSS JOIN LATERAL (
                                     VALUES (artery.click_class(f.sighting)),
                                            (5 + mod(floor(extract(epoch FROM f.at) / 10800), 8)::integer)) k (place)) p ON p.place = g
                  GROUP BY g ORDER BY g)
      FROM span s
$$;
COMMENT ON FUNCTION artery.count_clicks(text, timestamptz, timestamptz) IS
'Count the clicks that came in between two moments into attribution_value, one write per distinct value; returns how many there were and their number per class and per eighth of the day (UTC), faded to the newest of them.';

CREATE OR REPLACE FUNCTION artery.attribution_horizon(INOUT state artery.attribution_state, OUT until timestamptz)
RETURNS record
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_moment   timestamptz := clock_timestamp() + (artery.now() - now());
    v_ended    bigint;      -- the transaction id after the last that has ended
    v_others   bigint;      -- the oldest transaction id of somebody else who is writing
    v_next     bigint;      -- those who write with ids from here on have begun to after v_moment
BEGIN
    -- A click has its transaction's id before its tracked_at, a trace before its traced_at, and its transaction has
    -- by then locked the table that it, or its conversion, goes into. So those from before v_moment that are not
    -- visible yet belong to transactions that hold such a lock now; when those have ended, all of them are visible. A
    -- snapshot does not name those that began after the last that has ended; but each holds a lock on its id, which
    -- has 32 bits of it.
    v_ended := pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
    WITH held AS MATERIALIZED (
        SELECT l.locktype, l.mode, l.database, l.relation, l.transactionid, l.virtualtransaction FROM pg_locks l
         WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()),
    writer AS (
        SELECT DISTINCT h.virtualtransaction FROM held h
         WHERE h.locktype = 'relation' AND h.mode = 'RowExclusiveLock'
           AND h.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
           AND (h.relation = ANY (ARRAY['artery.click_tracking'::regclass, 'artery.conversion_tracking'::regclass]::oid[])
                OR h.relation IN (SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = 'artery.click_tracking'::regclass)))
    SELECT min(r.id), max(r.id) + 1 INTO v_others, v_next
      FROM (SELECT v_ended + (h.transactionid::text::bigint - v_ended % 4294967296 + 6442450944) % 4294967296 - 2147483648 AS id
              FROM held h JOIN writer w ON w.virtualtransaction = h.virtualtransaction
             WHERE h.locktype = 'transactionid' AND h.mode = 'ExclusiveLock') r;
    IF state.mark_xid > greatest(v_ended, v_next) THEN
        state.mark_at := NULL;      -- the mark of another server, before a restore
    END IF;
    IF v_others IS NULL THEN
        until := v_moment;
        state.mark_at := NULL;
    ELSIF state.mark_at IS NOT NULL AND state.mark_xid > v_others THEN
        until := state.counted_until;
        RETURN;
    ELSE
        until := coalesce(state.mark_at, state.counted_until);
        state.mark_at := v_moment;
        state.mark_xid := v_next;
    END IF;
    until := greatest(until, state.counted_until);
END
$$;
COMMENT ON FUNCTION artery.attribution_horizon(artery.attribution_state) IS
'The moment up to which all clicks that will ever bear a tracked_at, and traces a traced_at, are visible, and the state with its mark set for the next time.';

-- A plan made while there are few traces would else read them all when there are many.
CREATE OR REPLACE FUNCTION artery.fold_attribution(tenant_id text, wait boolean, batch integer)
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
    v_state  artery.attribution_state;
    v_until  timestamptz;
    v_last   timestamptz;
    v_horizon record;
    v_clicks record;
    v_lessons bigint;
BEGIN
    IF wait THEN
        PERFORM pg_advisory_xact_lock(hashtext('artery calibration'), hashtext(tenant_id));
    ELSIF NOT pg_try_advisory_xact_lock(hashtext('artery calibration'), hashtext(tenant_id)) THEN
        RETURN -1;
    END IF;
    SELECT s.* INTO v_state FROM artery.attribution_state s WHERE s.tenant_id = fold_attribution.tenant_id;
    IF NOT FOUND THEN
        v_state := ROW(tenant_id, 0, array_fill(0::float8, ARRAY[artery.learnt_numbers()]), '2000-01-01', NULL,
                       '-infinity', NULL, NULL, now());
    END IF;
    IF cardinality(v_state.learnt) <> artery.learnt_numbers() THEN
        RAISE EXCEPTION 'what was learnt of tenant "%" is of another version of the model', tenant_id
            USING ERRCODE = '55000', HINT = 'Call artery.rebuild_attribution_state().';
    END IF;

    SELECT h.* INTO v_horizon FROM artery.attribution_horizon(v_state) h;
    v_state := v_horizon.state;
    v_until := v_horizon.until;
    IF batch IS NOT NULL THEN
        SELECT c.tracked_at INTO v_last FROM artery.click_tracking c
         WHERE c.tenant_id = fold_attribution.tenant_id AND c.tracked_at > '-infinity'
           AND c.tracked_at > v_state.counted_until AND c.tracked_at <= v_until
         ORDER BY c.tracked_at OFFSET batch LIMIT 1;
    END IF;
    v_until := coalesce(v_last, v_until);
    SELECT k.* INTO v_clicks FROM artery.count_clicks(tenant_id, v_state.counted_until, v_until) k;

    -- In one statement, so that a trace that was replaced meanwhile is either there or has its correction here. What
    -- this function had come to before is in the state; later traces that are no more never were.
    WITH removed AS (
        DELETE FROM artery.attribution_correction d WHERE d.tenant_id = fold_attribution.tenant_id
        RETURNING d.traced_at, d.happened_at, d.positions, d.amounts),
    lesson AS (
        SELECT t.happened_at, t.positions, t.amounts, 1::float8 AS sign
          FROM artery.conversion_trace t
         WHERE t.tenant_id = fold_attribution.tenant_id AND t.traced_at > v_state.counted_until AND t.traced_at <= v_until
        UNION ALL
        SELECT r.happened_at, r.positions, r.amounts, -1 FROM removed r WHERE r.traced_at <= v_state.counted_until),
    moment AS MATERIALIZED (
        SELECT count(*) AS lessons, min(l.happened_at) AS oldest,
               greatest(v_state.learnt_at, v_clicks.newest, max(l.happened_at)) AS at FROM lesson l)
    SELECT m.lessons, least(v_state.known_since, v_clicks.oldest, m.oldest), m.at,
           artery.combine_learnt(
               artery.combine_learnt(v_state.learnt, artery.faded(m.at - v_state.learnt_at, 30),
                                     (SELECT artery.sum_learnt(l.positions, l.amounts, l.sign * artery.faded(m.at - l.happened_at, 30)) FROM lesson l), 1),
               1, CASE WHEN v_clicks.clicks > 0 THEN v_clicks.sums END, artery.faded(m.at - v_clicks.newest, 30))
      INTO v_lessons, v_state.known_since, v_state.learnt_at, v_state.learnt
      FROM moment m;
    -- Of a state that has not changed nobody need hear.
    IF v_lessons + v_clicks.clicks > 0 OR v_state.version = 0 THEN
        v_state.version := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    END IF;

    -- Values not seen for 100 days have faded to less than a ten-thousandth.
    IF v_state.folded_at < now() - interval '1 day' THEN
        DELETE FROM artery.attribution_value v
         WHERE v.tenant_id = fold_attribution.tenant_id AND v.counted_at < v_state.learnt_at - interval '100 days';
    END IF;
    INSERT INTO artery.attribution_state
    VALUES (tenant_id, v_state.version, v_state.learnt, v_state.learnt_at,
            v_state.known_since, v_until, v_state.mark_at, v_state.mark_xid, clock_timestamp())
    ON CONFLICT ON CONSTRAINT attribution_state_pkey DO UPDATE
       SET version = EXCLUDED.version, learnt = EXCLUDED.learnt, learnt_at = EXCLUDED.learnt_at,
           known_since = EXCLUDED.known_since, counted_until = EXCLUDED.counted_until, mark_at = EXCLUDED.mark_at,
           mark_xid = EXCLUDED.mark_xid, folded_at = EXCLUDED.folded_at;
    RETURN v_lessons + v_clicks.clicks;
END
$$;
COMMENT ON FUNCTION artery.fold_attribution(text, boolean, integer) IS
'Add new clicks (at most about batch, NULL for all) and what conversions taught to a tenant''s state; returns how many, -1 if somebody else is at it and wait is false.';

CREATE OR REPLACE FUNCTION artery.tell_learnt()
RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'artery_tell_learnt';
COMMENT ON FUNCTION artery.tell_learnt() IS
'After a tenant''s state is written: sessions that keep it read it again.';

CREATE TRIGGER tell_learnt AFTER INSERT OR UPDATE OR DELETE ON artery.attribution_state
    FOR EACH ROW EXECUTE FUNCTION artery.tell_learnt();

CREATE OR REPLACE FUNCTION artery.fold_attribution_state(tenant_id text)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    RETURN artery.fold_attribution(tenant_id, true, NULL);
END
$$;
COMMENT ON FUNCTION artery.fold_attribution_state(text) IS
'Let the calibrated model learn from the clicks and conversions that are new; returns how many. The worker does it within seconds of a conversion, and conversions themselves do where no worker runs.';

CREATE OR REPLACE FUNCTION artery.rebuild_attribution_state(tenant_id text)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    PERFORM pg_advisory_xact_lock(hashtext('artery calibration'), hashtext(tenant_id));
    DELETE FROM artery.attribution_value v WHERE v.tenant_id = rebuild_attribution_state.tenant_id;
    UPDATE artery.attribution_state s
       SET learnt = array_fill(0::float8, ARRAY[artery.learnt_numbers()]), learnt_at = '2000-01-01', known_since = NULL,
           mark_at = s.counted_until, mark_xid = 0, counted_until = '-infinity',
           version = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
     WHERE s.tenant_id = rebuild_attribution_state.tenant_id;
    RETURN artery.fold_attribution(tenant_id, true, NULL);
END
$$;
COMMENT ON FUNCTION artery.rebuild_attribution_state(text) IS
'Learn everything again from the clicks and conversions that are stored; returns how many. The same result as before, but for clicks removed since.';

CREATE OR REPLACE FUNCTION artery.explain_attribution(tenant_id text, conversion_id text)
RETURNS TABLE (rank integer, click_id text, ad_id text, hours_before float8, probability float8, chosen boolean,
               device text, device_weight float8, network text, network_weight float8, expected_per_day float8,
               explanation text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_conversion record;
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    SELECT c.*, t.conversion_id IS NOT NULL AS weighed, t.best_click_id AS weighed_click, t.stated, t.by_id, t.was_right,
           t.no_click, t.unseen_click, t.candidates AS told
      INTO v_conversion
      FROM artery.conversion_tracking c
      LEFT JOIN artery.conversion_trace t ON t.tenant_id = c.tenant_id AND t.conversion_id = c.conversion_id
     WHERE c.tenant_id = explain_attribution.tenant_id AND c.conversion_id = explain_attribution.conversion_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'unknown conversion "%"', conversion_id USING ERRCODE = '22023',
            HINT = 'See artery.conversion_tracking.';
    END IF;
    RETURN QUERY SELECT 0, v_conversion.attributed_click_id, v_conversion.ad_id, v_conversion.attribution_window_hours,
        v_conversion.attribution_confidence, v_conversion.success, NULL::text, NULL::float8, NULL::text, NULL::float8,
        NULL::float8, v_conversion.reason || CASE WHEN v_conversion.by_id THEN
            format(' Without it, the model would have %s, stating %s.', CASE WHEN v_conversion.was_right THEN
                   'found the same click' WHEN v_conversion.weighed_click IS NULL THEN 'found no click'
                   ELSE 'named another click' END, round(v_conversion.stated::numeric, 2)) ELSE '' END;
    IF NOT v_conversion.weighed THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT k.place::integer, k.c ->> 0, k.c ->> 1, (k.c ->> 2)::float8, (k.c ->> 3)::float8,
           v_conversion.success AND v_conversion.attributed_click_id = k.c ->> 0, w.device, (k.c ->> 5)::float8, w.network,
           (k.c ->> 7)::float8, (k.c ->> 8)::float8,
           format('%s: %s. %s: %s. A click this old brings %s conversions a day.%s', w.device,
                  artery.weight_in_words((k.c ->> 5)::float8), w.network, artery.weight_in_words((k.c ->> 7)::float8),
                  trim_scale((k.c ->> 8)::numeric), CASE WHEN (k.c ->> 9)::float8 >= 0.05 THEN
                  format(' %s %% of its probability came from older clicks that seem to be the same person''s.',
                         round((k.c ->> 9)::numeric * 100)) ELSE '' END)
      FROM json_array_elements(v_conversion.told) WITH ORDINALITY k (c, place)
      CROSS JOIN LATERAL (SELECT artery.device_words((k.c ->> 4)::integer) AS device,
                                 artery.network_words((k.c ->> 6)::integer) AS network) w
     ORDER BY k.place;
    RETURN QUERY
    SELECT json_array_length(v_conversion.told) + x.n, NULL::text, NULL::text, NULL::float8, x.p, false, NULL::text,
           NULL::float8, NULL::text, NULL::float8, NULL::float8, x.words
      FROM (VALUES (1, v_conversion.no_click, 'no click: the visitor came by another way'),
                   (2, v_conversion.unseen_click, 'a click that nothing links to this conversion')) x (n, p, words);
END
$$;
COMMENT ON FUNCTION artery.explain_attribution(text, text) IS
'Why a conversion was attributed as it was: the answer (rank 0), then the candidates, the most probable first, with the weight of each kind of evidence (how many times likelier it is for the same person than for a stranger), then that it was no click, or one not seen. Probabilities of candidates are those before calibration.';

CREATE OR REPLACE FUNCTION artery.device_words(agreement integer)
RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_device_words';
COMMENT ON FUNCTION artery.device_words(integer) IS 'How a click''s device agrees with the conversion''s, as words.';

CREATE OR REPLACE FUNCTION artery.network_words(agreement integer)
RETURNS text
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_network_words';
COMMENT ON FUNCTION artery.network_words(integer) IS 'How a click''s network agrees with the conversion''s, as words.';

CREATE OR REPLACE FUNCTION artery.weight_in_words(weight float8)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN weight >= 1.05 THEN format('%s times likelier for the same person', artery.short_number(weight))
                WHEN weight <= 0.95 THEN format('%s times likelier for a stranger', artery.short_number(1 / greatest(weight, 1e-9)))
                ELSE 'says nothing' END
$$;
COMMENT ON FUNCTION artery.weight_in_words(float8) IS 'A weight of evidence as words.';

CREATE OR REPLACE FUNCTION artery.short_number(number float8)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN number >= 10 THEN to_char(number, 'FM999,999,999,999') ELSE to_char(number, 'FM0.0') END
$$;
COMMENT ON FUNCTION artery.short_number(float8) IS 'A number of 1 or more as people write it.';

CREATE OR REPLACE VIEW artery.v_ad_credit WITH (security_barrier) AS
WITH conversion AS (
    SELECT c.tenant_id, c.conversion_id, (c.conversion_timestamp AT TIME ZONE coalesce(t.settings ->> 'time_zone', 'UTC'))::date AS day,
           c.attribution_method = 'url_param' AS by_id, x.unseen_click,
           coalesce(x.credit, CASE WHEN c.ad_id IS NOT NULL THEN jsonb_build_object(c.ad_id, 1) END) AS credit
      FROM artery.tenant t
      JOIN artery.conversion_tracking c ON c.tenant_id = t.tenant_id
      LEFT JOIN artery.conversion_trace x ON x.tenant_id = c.tenant_id AND x.conversion_id = c.conversion_id
     WHERE artery.tenant_visible(t.tenant_id)),
known AS MATERIALIZED (
    SELECT c.tenant_id, c.day, k.ad_id, sum(k.credit::float8) AS credit,
           coalesce(sum(k.credit::float8) FILTER (WHERE NOT c.by_id), 0) AS credit_without_id
      FROM conversion c CROSS JOIN LATERAL jsonb_each_text(c.credit) k (ad_id, credit)
     GROUP BY 1, 2, 3),
share AS (
    SELECT k.tenant_id, k.ad_id, sum(k.credit) / sum(sum(k.credit)) OVER (PARTITION BY k.tenant_id) AS share
      FROM known k GROUP BY 1, 2),
unseen AS (
    SELECT c.tenant_id, c.day, sum(c.unseen_click) AS credit FROM conversion c WHERE NOT c.by_id GROUP BY 1, 2)
SELECT tenant_id, ad_id, day, sum(credit) AS credit, sum(credit_without_id) AS credit_without_id
  FROM (SELECT k.tenant_id, k.ad_id, k.day, k.credit, k.credit_without_id FROM known k
        UNION ALL
        SELECT u.tenant_id, s.ad_id, u.day, u.credit * s.share, u.credit * s.share
          FROM unseen u JOIN share s ON s.tenant_id = u.tenant_id WHERE u.credit > 0) a
 GROUP BY tenant_id, ad_id, day;
COMMENT ON VIEW artery.v_ad_credit IS
'Conversions per ad and day as sums of fractions: 1 where the id survived, else the probability that one of the ad''s clicks led there. What clicks that were not seen have earned is shared out as the rest is.';

CREATE OR REPLACE VIEW artery.v_attribution_calibration WITH (security_barrier) AS
SELECT b.tenant_id, b.stated_from, least(b.stated_from + 0.1, 1) AS stated_to, count(*) AS conversions,
       avg(b.stated) AS stated, avg(b.was_right::integer)::float8 AS observed
  FROM (SELECT t.tenant_id, t.was_right, t.stated, least(floor(t.stated * 10), 9)::numeric / 10 AS stated_from
          FROM (SELECT x.tenant_id, x.was_right,
                       least(x.stated / greatest(1 - x.no_click, 0.01), 1) AS stated
                  FROM artery.conversion_trace x
                 WHERE x.by_id AND x.best_click_id IS NOT NULL AND artery.tenant_visible(x.tenant_id)) t) b
 GROUP BY b.tenant_id, b.stated_from;
COMMENT ON VIEW artery.v_attribution_calibration IS
'Is the stated confidence true? On conversions whose id survived: what the calibrated model stated with the id hidden (given that there was a click, as there was), and how often it named the right one.';
