-- progress: counting facts once, and again only where they changed

CREATE OR REPLACE FUNCTION artery.hop_sums(
    sums float8[], days float8, ages float8[], counts float8[], durations float8[], weights float8[])
RETURNS float8[]
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_hop_sums';
COMMENT ON FUNCTION artery.hop_sums(float8[], float8, float8[], float8[], float8[], float8[]) IS
'Sums of a hop (NULL: empty) after so many days, with entries of those ages and with those that went on in those times (days; NULL: not known) added. Counts and weights below 0 take back.';

CREATE OR REPLACE FUNCTION artery.exposure_sums(
    sums float8[], days float8[], impressions float8[], clicks float8[], spend float8[])
RETURNS float8[]
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_exposure_sums';
COMMENT ON FUNCTION artery.exposure_sums(float8[], float8[], float8[], float8[], float8[]) IS
'Sums of what an ad showed (NULL: nothing) with further days added, each so many days after the one before.';

CREATE OR REPLACE FUNCTION artery.funnel_state(
    names text[], won_value numeric, exposure float8[], exposure_age float8, clicks float8[],
    places integer[], sums float8[], ages float8[])
RETURNS jsonb
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_funnel_state';
COMMENT ON FUNCTION artery.funnel_state(text[], numeric, float8[], float8, float8[], integer[], float8[], float8[]) IS
'The part of an ad''s state that the model delayed reads, from its sums and how old they are in days.';

CREATE OR REPLACE FUNCTION artery.allocation_form(tenant_id text)
RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object('numbers', artery.funnel_state('{}', 0, artery.exposure_sums(NULL, '{0,1}', '{1,1}', '{1,1}', '{1,1}'), 1,
                                                             artery.hop_sums(NULL, 0, '{1}', '{1}', NULL, NULL), NULL, NULL, NULL),
                              'funnel', (SELECT jsonb_agg(jsonb_build_array(f.stage_name, f.place) ORDER BY f.place, f.stage_name)
                                           FROM artery.tenant_funnel(allocation_form.tenant_id) f))
$$;
COMMENT ON FUNCTION artery.allocation_form(text) IS
'What counted sums depend on besides facts: the tenant''s funnel, and what the model makes of an example.';

CREATE OR REPLACE FUNCTION artery.note_progress()
RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_TABLE_NAME = 'ad_day' AND TG_OP = 'UPDATE' THEN
        INSERT INTO artery.allocation_delta (tenant_id, ad_id, day)
        SELECT f.tenant_id, f.ad_id, min(f.day)
          FROM (SELECT x.tenant_id, x.ad_id, x.day, x.impressions, x.clicks, x.spend FROM gone x
                EXCEPT SELECT y.tenant_id, y.ad_id, y.day, y.impressions, y.clicks, y.spend FROM made y) f
         GROUP BY f.tenant_id, f.ad_id ORDER BY f.tenant_id, f.ad_id;
    ELSIF TG_TABLE_NAME = 'ad_day' THEN
        INSERT INTO artery.allocation_delta (tenant_id, ad_id, day)
        SELECT f.tenant_id, f.ad_id, min(f.day) FROM made f GROUP BY f.tenant_id, f.ad_id ORDER BY f.tenant_id, f.ad_id;
    ELSE
        INSERT INTO artery.allocation_delta (tenant_id, deal_id)
        SELECT DISTINCT f.tenant_id, f.deal_id FROM made f;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION artery.note_progress() IS 'Notes the ads and deals whose facts a statement has changed, so that they are counted again.';

-- The rows a statement made, or took away, are "made"; those it replaced are "gone".
CREATE TRIGGER note_insert AFTER INSERT ON artery.ad_day
    REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION artery.note_progress();
CREATE TRIGGER note_update AFTER UPDATE ON artery.ad_day
    REFERENCING OLD TABLE AS gone NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION artery.note_progress();
CREATE TRIGGER note_delete AFTER DELETE ON artery.ad_day
    REFERENCING OLD TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION artery.note_progress();
CREATE TRIGGER note_insert AFTER INSERT ON artery.deal_stage_event
    REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION artery.note_progress();
CREATE TRIGGER note_delete AFTER DELETE ON artery.deal_stage_event
    REFERENCING OLD TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION artery.note_progress();
CREATE TRIGGER note_delete AFTER DELETE ON artery.deal
    REFERENCING OLD TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION artery.note_progress();
CREATE OR REPLACE FUNCTION artery.note_deal()
RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_TABLE_NAME = 'deal' THEN
        INSERT INTO artery.allocation_delta (tenant_id, deal_id) VALUES (NEW.tenant_id, NEW.deal_id);
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO artery.allocation_delta (tenant_id, deal_id) VALUES (OLD.tenant_id, substr(OLD.conversion_id, 6));
    ELSE
        INSERT INTO artery.allocation_delta (tenant_id, deal_id) VALUES (NEW.tenant_id, substr(NEW.conversion_id, 6));
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION artery.note_deal() IS 'Notes a deal whose attribution was made, changed or taken away.';

-- By row, so that stages of deals that keep their ad, and conversions that are no deals, cost no call. A trace that is
-- inserted is noted by who inserts it: a WHEN is prepared anew for every statement.
CREATE TRIGGER note_attribution AFTER UPDATE ON artery.deal FOR EACH ROW
    WHEN (NEW.ad_id IS DISTINCT FROM OLD.ad_id OR NEW.click_id IS DISTINCT FROM OLD.click_id
          OR NEW.conversion_id IS DISTINCT FROM OLD.conversion_id) EXECUTE FUNCTION artery.note_deal();
CREATE TRIGGER note_attribution AFTER UPDATE OF credit ON artery.conversion_trace
    FOR EACH ROW WHEN (NEW.conversion_id LIKE 'deal:%') EXECUTE FUNCTION artery.note_deal();
CREATE TRIGGER note_removal AFTER DELETE ON artery.conversion_trace
    FOR EACH ROW WHEN (OLD.conversion_id LIKE 'deal:%') EXECUTE FUNCTION artery.note_deal();

CREATE OR REPLACE FUNCTION artery.count_days(tenant_id text, ads text[], after date, until date)
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    v_counted bigint;
BEGIN
    -- From the beginning where a counted day has changed, ...
    DELETE FROM artery.ad_progress p
     WHERE p.tenant_id = count_days.tenant_id AND (ads IS NULL OR p.ad_id = ANY (ads));
    -- ... else what was added.
    WITH fact AS (
        SELECT d.ad_id, d.day, d.impressions, d.clicks, d.spend FROM artery.ad_day d
         WHERE d.tenant_id = count_days.tenant_id AND d.day <= until AND (ads IS NULL OR d.ad_id = ANY (ads))
         UNION ALL
        SELECT d.ad_id, d.day, d.impressions, d.clicks, d.spend FROM artery.ad_day d
         WHERE d.tenant_id = count_days.tenant_id AND d.day > after AND d.day <= until AND d.ad_id <> ALL (ads)
    ), placed AS (
        SELECT f.ad_id, f.day, f.impressions::float8, f.clicks::float8, f.spend::float8,
               f.day - coalesce(lag(f.day) OVER (PARTITION BY f.ad_id ORDER BY f.day), p.days_through, f.day) AS gap,
               max(f.day) OVER (PARTITION BY f.ad_id) AS last, p.days_through, p.exposure, p.clicks AS clicks_before
          FROM fact f
          LEFT JOIN artery.ad_progress p ON p.tenant_id = count_days.tenant_id AND p.ad_id = f.ad_id
    )
    INSERT INTO artery.ad_progress AS p (tenant_id, ad_id, days_through, exposure, clicks)
    SELECT count_days.tenant_id, f.ad_id, f.last,
           artery.exposure_sums(f.exposure, array_agg(f.gap::float8 ORDER BY f.day), array_agg(f.impressions ORDER BY f.day),
                                array_agg(f.clicks ORDER BY f.day), array_agg(f.spend ORDER BY f.day)),
           artery.hop_sums(f.clicks_before, coalesce(f.last - f.days_through, 0),
                           array_agg((f.last - f.day)::float8 ORDER BY f.day), array_agg(f.clicks ORDER BY f.day), NULL, NULL)
      FROM placed f GROUP BY f.ad_id, f.last, f.days_through, f.exposure, f.clicks_before
    ON CONFLICT ON CONSTRAINT ad_progress_pkey DO UPDATE
       SET days_through = excluded.days_through, exposure = excluded.exposure, clicks = excluded.clicks;
    GET DIAGNOSTICS v_counted = ROW_COUNT;
    RETURN v_counted;
END
$$;
COMMENT ON FUNCTION artery.count_days(text, text[], date, date) IS
'Count the days after one date until another into ad_progress, and all days until then of the ads named (NULL: of all ads); returns how many ads.';

CREATE OR REPLACE FUNCTION artery.deal_steps(
    tenant_id text, until timestamptz, deals text[],
    OUT deal_id text, OUT credit jsonb, OUT click_ad text, OUT places integer[], OUT reached timestamptz[], OUT took float8[])
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
BEGIN
    RETURN QUERY
    WITH funnel AS MATERIALIZED (
        SELECT f.stage_name, f.place FROM artery.tenant_funnel(deal_steps.tenant_id) f
    ), entered AS (
        SELECT e.deal_id, f.place, min(e.occurred_at) AS entered_at
          FROM artery.deal_stage_event e
          JOIN funnel f ON f.stage_name = e.stage_to
         WHERE e.tenant_id = deal_steps.tenant_id AND (deals IS NULL OR e.deal_id = ANY (deals))
           AND NOT e.is_value AND e.occurred_at <= until
         GROUP BY e.deal_id, f.place
    ), reached AS (
        -- who skipped a stage has passed it when they came further
        SELECT n.deal_id, p.place, min(n.entered_at) AS reached_at
          FROM entered n JOIN (SELECT DISTINCT f.place FROM funnel f) p ON p.place <= n.place
         GROUP BY n.deal_id, p.place
    ), steps AS (
        SELECT r.deal_id, array_agg(r.place ORDER BY r.place) AS places, array_agg(r.reached_at ORDER BY r.place) AS reached
          FROM reached r GROUP BY r.deal_id
    )
    SELECT s.deal_id, w.credit, d.ad_id, s.places, s.reached,
           ARRAY(SELECT CASE WHEN u.since IS NOT NULL THEN greatest(extract(epoch FROM u.at - u.since)::float8, 0) / 86400 END
                   FROM (SELECT r.n, r.at, CASE WHEN r.n > 1 THEN s.reached[r.n - 1] ELSE c.click_timestamp END AS since
                           FROM unnest(s.reached) WITH ORDINALITY r(at, n)) u ORDER BY u.n)
      FROM steps s
      JOIN artery.deal d ON d.tenant_id = deal_steps.tenant_id AND d.deal_id = s.deal_id
      LEFT JOIN artery.conversion_trace x ON x.tenant_id = deal_steps.tenant_id AND x.conversion_id = d.conversion_id
     -- a deal counts for its ad or, where the attribution says so, for several in parts
     CROSS JOIN LATERAL (SELECT coalesce(x.credit, CASE WHEN d.ad_id IS NOT NULL THEN jsonb_build_object(d.ad_id, 1) END) AS credit) w
      LEFT JOIN artery.click_tracking c ON c.tenant_id = deal_steps.tenant_id AND c.click_id = d.click_id
     WHERE w.credit IS NOT NULL AND w.credit <> '{}';
END
$$;
COMMENT ON FUNCTION artery.deal_steps(text, timestamptz, text[]) IS
'When deals (NULL: all) came to each place of the funnel, by what was recorded until a moment, how many days after the place before or their click (NULL: not known), and the ads that share them.';

CREATE OR REPLACE FUNCTION artery.count_deals(tenant_id text, until timestamptz, deals text[])
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    v_last    integer := (SELECT max(f.place) FROM artery.tenant_funnel(tenant_id) f);
    v_counted bigint;
BEGIN
    WITH fresh AS MATERIALIZED (
        SELECT s.* FROM artery.deal_steps(count_deals.tenant_id, until, deals) s
    ), counted AS MATERIALIZED (
        SELECT c.deal_id, c.credit, c.click_ad, c.places, c.reached, c.took FROM artery.deal_credit c
         WHERE c.tenant_id = count_deals.tenant_id AND (deals IS NULL OR c.deal_id = ANY (deals))
    ), moved AS MATERIALIZED (
        -- what was counted is taken back, and what is known now is counted
        SELECT f.*, 1 AS sign FROM (SELECT * FROM fresh EXCEPT SELECT * FROM counted) f
         UNION ALL
        SELECT o.*, -1 FROM (SELECT * FROM counted EXCEPT SELECT * FROM fresh) o
    ), step AS MATERIALIZED (
        SELECT k.ad_id, u.place, extract(epoch FROM count_deals.until - u.reached)::float8 / 86400 AS age,
               CASE WHEN u.place > 1 OR k.ad_id = m.click_ad THEN u.took END AS took, m.sign * k.credit::float8 AS weight,
               row_number() OVER (ORDER BY u.reached, m.deal_id, u.place, k.ad_id, m.sign) AS line
          FROM moved m
         CROSS JOIN LATERAL jsonb_each_text(m.credit) k (ad_id, credit)
         CROSS JOIN LATERAL unnest(m.places, m.reached, m.took) u (place, reached, took)
    ), reach AS (
        SELECT s.ad_id, s.place, array_agg(s.took ORDER BY s.line) AS took, array_agg(s.weight ORDER BY s.line) AS weights
          FROM step s GROUP BY s.ad_id, s.place
    ), enter AS (
        -- who reached a place has entered the hop to the next
        SELECT s.ad_id, s.place + 1 AS place, array_agg(s.age ORDER BY s.line) AS ages, array_agg(s.weight ORDER BY s.line) AS counts
          FROM step s WHERE s.place < v_last GROUP BY s.ad_id, s.place
    ), hop AS (
        SELECT coalesce(r.ad_id, e.ad_id) AS ad_id, coalesce(r.place, e.place) AS place, e.ages, e.counts, r.took, r.weights
          FROM reach r FULL JOIN enter e ON e.ad_id = r.ad_id AND e.place = r.place
    ), sums AS (
        INSERT INTO artery.hop_progress (tenant_id, ad_id, place, counted_at, sums)
        SELECT count_deals.tenant_id, h.ad_id, h.place, count_deals.until,
               artery.hop_sums(p.sums, coalesce(extract(epoch FROM count_deals.until - p.counted_at)::float8 / 86400, 0),
                               h.ages, h.counts, h.took, h.weights)
          FROM hop h
          LEFT JOIN artery.hop_progress p ON p.tenant_id = count_deals.tenant_id AND p.ad_id = h.ad_id AND p.place = h.place
        ON CONFLICT ON CONSTRAINT hop_progress_pkey DO UPDATE SET counted_at = excluded.counted_at, sums = excluded.sums
    ), forgotten AS (
        DELETE FROM artery.deal_credit c USING counted o
         WHERE c.tenant_id = count_deals.tenant_id AND c.deal_id = o.deal_id
           AND NOT EXISTS (SELECT FROM fresh f WHERE f.deal_id = o.deal_id)
    ), kept AS (
        INSERT INTO artery.deal_credit (tenant_id, deal_id, credit, click_ad, places, reached, took)
        SELECT count_deals.tenant_id, m.deal_id, m.credit, m.click_ad, m.places, m.reached, m.took FROM moved m WHERE m.sign = 1
        ON CONFLICT ON CONSTRAINT deal_credit_pkey DO UPDATE
           SET credit = excluded.credit, click_ad = excluded.click_ad, places = excluded.places, reached = excluded.reached,
               took = excluded.took
        RETURNING 1
    )
    SELECT count(*) INTO v_counted FROM kept;

    -- What is stated of the future waits for its time.
    INSERT INTO artery.allocation_delta (tenant_id, deal_id)
    SELECT DISTINCT e.tenant_id, e.deal_id FROM artery.deal_stage_event e
     WHERE e.tenant_id = count_deals.tenant_id AND e.occurred_at > until AND (deals IS NULL OR e.deal_id = ANY (deals));
    RETURN v_counted;
END
$$;
COMMENT ON FUNCTION artery.count_deals(text, timestamptz, text[]) IS
'Bring deals (NULL: all) into the sums of their ads as they are known at a moment, in place of how they were counted before; returns how many have changed.';

CREATE OR REPLACE FUNCTION artery.fold_allocation(tenant_id text, until timestamptz, wait boolean DEFAULT true)
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_day   date := artery.account_day(tenant_id, until) - 1;
    v_form  jsonb := artery.allocation_form(tenant_id);
    v_state artery.allocation_state;
    v_deals text[];
    v_ads   text[];
    v_moved bigint;
BEGIN
    IF wait THEN
        PERFORM pg_advisory_xact_lock(hashtext('artery progress'), hashtext(tenant_id));
    ELSIF NOT pg_try_advisory_xact_lock(hashtext('artery progress'), hashtext(tenant_id)) THEN
        RETURN -1;
    END IF;
    SELECT s.* INTO v_state FROM artery.allocation_state s WHERE s.tenant_id = fold_allocation.tenant_id;
    IF FOUND AND v_state.form = v_form THEN
        IF v_state.counted_at > until OR v_state.days_through > v_day THEN
            RETURN -1;          -- what is counted is not taken back for a look at the past
        END IF;
        -- A change that is not visible yet stays noted; one seen twice is counted once.
        WITH gone AS (
            DELETE FROM artery.allocation_delta d WHERE d.tenant_id = fold_allocation.tenant_id
            RETURNING d.deal_id, d.ad_id, d.day)
        SELECT array_agg(DISTINCT g.deal_id) FILTER (WHERE g.deal_id IS NOT NULL),
               array_agg(DISTINCT g.ad_id) FILTER (WHERE g.day <= v_state.days_through)
          INTO v_deals, v_ads FROM gone g;
        v_deals := coalesce(v_deals, '{}');
        v_ads := coalesce(v_ads, '{}');
    ELSE
        DELETE FROM artery.allocation_delta d WHERE d.tenant_id = fold_allocation.tenant_id;
        DELETE FROM artery.hop_progress h WHERE h.tenant_id = fold_allocation.tenant_id;
        DELETE FROM artery.deal_credit c WHERE c.tenant_id = fold_allocation.tenant_id;
    END IF;
    v_moved := CASE WHEN v_deals = '{}' THEN 0 ELSE artery.count_deals(tenant_id, until, v_deals) END
             + CASE WHEN v_ads = '{}' AND v_day = v_state.days_through THEN 0
                    ELSE artery.count_days(tenant_id, v_ads, v_state.days_through, v_day) END;
    INSERT INTO artery.allocation_state (tenant_id, form, days_through, counted_at, folded_at)
    VALUES (fold_allocation.tenant_id, v_form, v_day, until, clock_timestamp())
    ON CONFLICT ON CONSTRAINT allocation_state_pkey DO UPDATE
       SET form = excluded.form, days_through = excluded.days_through, counted_at = excluded.counted_at,
           folded_at = excluded.folded_at;
    RETURN v_moved;
END
$$;
COMMENT ON FUNCTION artery.fold_allocation(text, timestamptz, boolean) IS
'Bring what the model delayed has counted of a tenant up to a moment; returns how many ads and deals were counted (again), -1 if it is beyond that moment already, or if somebody else is at it and wait is false.';

CREATE OR REPLACE FUNCTION artery.purge_progress(tenant_id text)
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_deleted bigint;
BEGIN
    -- Under the lock of the fold: without a state, the first fold counts all there is.
    IF NOT pg_try_advisory_xact_lock(hashtext('artery progress'), hashtext(tenant_id)) THEN
        RETURN 0;
    END IF;
    IF EXISTS (SELECT FROM artery.allocation_state s JOIN artery.tenant t ON t.tenant_id = s.tenant_id
                WHERE s.tenant_id = purge_progress.tenant_id) THEN
        RETURN greatest(artery.fold_allocation(tenant_id, artery.now()), 0);
    END IF;
    DELETE FROM artery.allocation_delta d WHERE d.tenant_id = purge_progress.tenant_id;
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    RETURN v_deleted;
END
$$;
COMMENT ON FUNCTION artery.purge_progress(text) IS
'Count what is noted in allocation_delta, or forget it for a tenant that makes no decisions by it; returns how much.';

CREATE OR REPLACE FUNCTION artery.rebuild_allocation_state(tenant_id text)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_until timestamptz;
    v_ads   bigint;
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    PERFORM artery.settle_feedback(f.tenant_id, f.ad_id)
      FROM (SELECT DISTINCT b.tenant_id, b.ad_id FROM artery.ad_feedback b
             WHERE b.tenant_id = rebuild_allocation_state.tenant_id ORDER BY b.ad_id) f;
    SELECT count(artery.sum_ad_days(s.tenant_id, s.ad_id) IS NULL) INTO v_ads
      FROM artery.ad_state s WHERE s.tenant_id = rebuild_allocation_state.tenant_id;
    PERFORM pg_advisory_xact_lock(hashtext('artery progress'), hashtext(tenant_id));
    DELETE FROM artery.allocation_state s WHERE s.tenant_id = rebuild_allocation_state.tenant_id RETURNING s.counted_at INTO v_until;
    PERFORM artery.fold_allocation(tenant_id, coalesce(v_until, artery.now()));
    RETURN v_ads;
END
$$;
COMMENT ON FUNCTION artery.rebuild_allocation_state(text) IS
'Compute the totals of all ads, and what the model delayed has counted of ads and deals, again from what was recorded; returns the number of ads. The same result as before, but for clicks removed since.';

CREATE OR REPLACE FUNCTION artery.counted_sums(
    tenant_id text, as_of timestamptz, only_ad text DEFAULT NULL,
    OUT ad_id text, OUT exposure float8[], OUT age float8, OUT clicks float8[], OUT places integer[], OUT sums float8[], OUT ages float8[])
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    v_day     date := artery.account_day(tenant_id, as_of);
    v_elapsed float8;
    v_through date;
BEGIN
    SELECT extract(epoch FROM counted_sums.as_of AT TIME ZONE coalesce(t.settings ->> 'time_zone', 'UTC') - v_day::timestamp) / 86400
      INTO v_elapsed FROM artery.tenant t WHERE t.tenant_id = counted_sums.tenant_id;
    SELECT s.days_through INTO v_through FROM artery.allocation_state s WHERE s.tenant_id = counted_sums.tenant_id;
    RETURN QUERY
    WITH shown AS (
        -- with what there is of the day itself, as of its middle so far
        SELECT a.ad_id, coalesce((v_day - p.days_through) + v_elapsed - 0.5, 0) AS age, p.exposure, p.clicks,
               d.impressions::float8 AS impressions, d.clicks::float8 AS today, d.spend::float8 AS spend
          FROM artery.ad_state a
          LEFT JOIN artery.ad_progress p ON p.tenant_id = counted_sums.tenant_id AND p.ad_id = a.ad_id
          LEFT JOIN artery.ad_day d
            ON d.tenant_id = counted_sums.tenant_id AND d.ad_id = a.ad_id AND d.day = v_day AND d.day > v_through
         WHERE a.tenant_id = counted_sums.tenant_id AND (only_ad IS NULL OR a.ad_id = only_ad)
    ), present AS (
        SELECT s.ad_id, CASE WHEN s.impressions IS NULL THEN s.age ELSE v_elapsed / 2 END AS age,
               CASE WHEN s.impressions IS NULL THEN s.exposure
                    ELSE artery.exposure_sums(s.exposure, ARRAY[greatest(s.age - v_elapsed / 2, 0)], ARRAY[s.impressions],
                                              ARRAY[s.today], ARRAY[s.spend]) END AS exposure,
               CASE WHEN s.impressions IS NULL THEN s.clicks
                    ELSE artery.hop_sums(s.clicks, greatest(s.age - v_elapsed / 2, 0), ARRAY[0], ARRAY[s.today], NULL, NULL) END AS clicks
          FROM shown s
    ), hop AS (
        -- sorted once, not for each of the arrays
        SELECT k.ad_id, array_agg(k.place) AS places, array_agg(k.sums) AS sums, array_agg(k.age) AS ages
          FROM (SELECT h.ad_id, h.place, h.sums, extract(epoch FROM counted_sums.as_of - h.counted_at)::float8 / 86400 AS age
                  FROM artery.hop_progress h
                 WHERE h.tenant_id = counted_sums.tenant_id AND (only_ad IS NULL OR h.ad_id = only_ad)
                 ORDER BY h.ad_id, h.place) k
         GROUP BY k.ad_id
    )
    SELECT s.ad_id, s.exposure, s.age, s.clicks, h.places, h.sums, h.ages
      FROM present s LEFT JOIN hop h ON h.ad_id = s.ad_id;
END
$$;
COMMENT ON FUNCTION artery.counted_sums(text, timestamptz, text) IS
'The sums that are kept of each ad, for the moment they were brought up to, as artery.funnel_state() makes a state of them.';

CREATE OR REPLACE FUNCTION artery.counted_inputs(
    tenant_id text, as_of timestamptz, names text[], won_value numeric, only_ad text DEFAULT NULL,
    OUT ad_id text, OUT inputs jsonb)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.ad_id, artery.funnel_state(counted_inputs.names, counted_inputs.won_value, c.exposure, c.age, c.clicks, c.places, c.sums, c.ages)
      FROM artery.counted_sums(counted_inputs.tenant_id, counted_inputs.as_of, only_ad) c
$$;
COMMENT ON FUNCTION artery.counted_inputs(text, timestamptz, text[], numeric, text) IS
'What funnel_inputs computes from all facts, from the sums that are kept, for the moment they were brought up to.';
