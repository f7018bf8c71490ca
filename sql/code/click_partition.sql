-- click_partition: clicks lie in partitions by their time, made ahead and dropped whole
--
-- A partition is four weeks from a Monday (UTC), as attribution looks at a week and every partition it touches costs;
-- a day where so many clicks come in that what is too old should go soon and without a DELETE. Bounds are midnights, so
-- the lengths mix. Times without a partition (history, clicks while no worker ran) go to click_tracking_other, which has the same
-- indexes; the worker moves them out where they are many.

CREATE OR REPLACE VIEW artery.v_click_partitions WITH (security_barrier) AS
SELECT c.oid::regclass AS partition, substring(b.bound FROM 'FROM \(''([^'']+)''\)')::timestamptz AS since,
       substring(b.bound FROM 'TO \(''([^'']+)''\)')::timestamptz AS until,
       greatest(c.reltuples::bigint, pg_stat_get_live_tuples(c.oid), 0) AS about_clicks,
       pg_total_relation_size(c.oid) AS bytes, b.bound = 'DEFAULT' AS is_other
  FROM pg_inherits i
  JOIN pg_class c ON c.oid = i.inhrelid
 CROSS JOIN LATERAL pg_get_expr(c.relpartbound, c.oid) b (bound)
 WHERE i.inhparent = 'artery.click_tracking'::regclass
 ORDER BY 2;
COMMENT ON VIEW artery.v_click_partitions IS
'The partitions of click_tracking with their range of time and size. is_other: the one for clicks of times that have none; the worker moves them out where they are 10,000 or more of a week.';

CREATE OR REPLACE FUNCTION artery.click_partitions(
    OUT partition regclass, OUT since timestamptz, OUT until timestamptz, OUT about_clicks bigint)
RETURNS SETOF record
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO'
AS $$
    SELECT v.partition, v.since, v.until, v.about_clicks FROM artery.v_click_partitions v WHERE NOT v.is_other ORDER BY v.since
$$;
COMMENT ON FUNCTION artery.click_partitions() IS 'The partitions of click_tracking that have a range of time, in its order.';

CREATE OR REPLACE FUNCTION artery.create_click_table(name text, description text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('CREATE TABLE artery.%I (LIKE artery.click_tracking INCLUDING DEFAULTS)', name);
    EXECUTE format('COMMENT ON TABLE artery.%I IS %L', name, description);
    EXECUTE format('REVOKE ALL ON artery.%I FROM PUBLIC', name);
    EXECUTE format('ALTER TABLE artery.%I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY tenant_isolation ON artery.%I USING (artery.tenant_visible(tenant_id)) '
                   'WITH CHECK (artery.tenant_visible(tenant_id))', name);
END
$$;
COMMENT ON FUNCTION artery.create_click_table(text, text) IS 'Make a table like click_tracking, to become a partition of it.';

CREATE OR REPLACE FUNCTION artery.index_click_table(name text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_index record;
BEGIN
    EXECUTE format('ALTER TABLE artery.%I ADD PRIMARY KEY (tenant_id, click_id)', name);
    FOR v_index IN VALUES
        ('fbclid', '(tenant_id, fbclid, click_timestamp DESC) WHERE fbclid IS NOT NULL'),
        ('fingerprint', '(tenant_id, fingerprint_key, click_timestamp DESC) WHERE fingerprint_key IS NOT NULL'),
        ('ip', '(tenant_id, ip_address, click_timestamp DESC) WHERE ip_address IS NOT NULL'),
        -- With fingerprint and address, candidates enough for the calibrated model: measured, more ranges or longer ones
        -- find no more right answers.
        ('hardware', '(tenant_id, hardware_key, click_timestamp DESC) WHERE hardware_key IS NOT NULL'),
        -- New clicks are counted in the order of their arrival. The condition, always true, keeps statements that do not
        -- name it from taking this index for a tenant's: a plan made while the table is empty would read the whole
        -- tenant by it.
        ('arrival', '(tenant_id, tracked_at) WHERE tracked_at > ''-infinity'''),
        -- For ranges of time (retention, active clicks); costs next to nothing.
        ('time', 'USING brin (click_timestamp)')
    LOOP
        EXECUTE format('CREATE INDEX %I ON artery.%I %s', name || '_by_' || v_index.column1, name,
                       CASE WHEN v_index.column2 LIKE 'USING%' THEN v_index.column2 ELSE 'USING btree ' || v_index.column2 END);
    END LOOP;
END
$$;
COMMENT ON FUNCTION artery.index_click_table(text) IS 'Give a partition of click_tracking its key and its indexes.';

CREATE OR REPLACE FUNCTION artery.lock_click_table(relation regclass, attempts integer, mode text DEFAULT 'ACCESS EXCLUSIVE')
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
-- Whoever comes after a lock that is waited for waits too: so never for long.
SET lock_timeout = '100ms'
AS $$
DECLARE
    v_left integer := attempts;
BEGIN
    LOOP
        BEGIN
            EXECUTE format('LOCK TABLE ONLY %s IN %s MODE', relation, mode);
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            v_left := v_left - 1;
            IF v_left <= 0 THEN
                RAISE EXCEPTION 'could not lock %', relation USING ERRCODE = '55P03',
                    DETAIL = 'Transactions that read or write clicks are open for long.', HINT = 'Try again later.';
            END IF;
            PERFORM pg_sleep(0.1);
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION artery.lock_click_table(regclass, integer, text) IS
'Lock click_tracking alone, or a partition of it, for an instant''s work; waits a tenth of a second at a time, so that nobody waits behind it for longer.';

CREATE OR REPLACE FUNCTION artery.move_other_clicks(name text, since timestamptz, until timestamptz)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO'
AS $$
BEGIN
    EXECUTE format('WITH moved AS (DELETE FROM artery.click_tracking_other o WHERE o.click_timestamp >= %L '
                   'AND o.click_timestamp < %L RETURNING o.*) INSERT INTO artery.%I SELECT m.* FROM moved m',
                   since, until, name);
END
$$;
COMMENT ON FUNCTION artery.move_other_clicks(text, timestamptz, timestamptz) IS
'Move the clicks of a range of time from click_tracking_other to the table that will be its partition.';

CREATE OR REPLACE FUNCTION artery.prepare_click_partition(since timestamptz, until timestamptz)
RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
    v_name text := 'click_tracking_' || to_char(since, 'YYYYMMDD');
BEGIN
    PERFORM artery.create_click_table(v_name, format('Clicks from %s to before %s (UTC).', since::timestamp, until::timestamp));
    PERFORM artery.move_other_clicks(v_name, since, until);
    PERFORM artery.index_click_table(v_name);
    RETURN v_name;
END
$$;
COMMENT ON FUNCTION artery.prepare_click_partition(timestamptz, timestamptz) IS
'Make the table for a range of time that has no partition, with the clicks that are in click_tracking_other; what takes long is done here, without a lock. Returns its name.';

CREATE OR REPLACE FUNCTION artery.attach_click_partitions(
    names text[], since timestamptz[], until timestamptz[], attempts integer, hold boolean)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET datestyle = 'ISO'
AS $$
BEGIN
    -- Whoever has looked up click_tracking already, and waits to write to click_tracking_other, would be refused there
    -- (23514) once the partition is attached. So let nobody look it up: who comes now waits here, and finds it. Not
    -- where to look through the other clicks, as attaching does, takes so long that clicks of now should not wait.
    IF hold AND pg_relation_size('artery.click_tracking_other') <= 256 * 1024 * 1024 THEN
        PERFORM artery.lock_click_table('artery.click_tracking', attempts, 'SHARE ROW EXCLUSIVE');
    END IF;
    PERFORM artery.lock_click_table('artery.click_tracking_other', attempts);
    FOR i IN 1 .. cardinality(names) LOOP
        -- What came in meanwhile.
        PERFORM artery.move_other_clicks(names[i], since[i], until[i]);
        EXECUTE format('ALTER TABLE artery.click_tracking ATTACH PARTITION artery.%I FOR VALUES FROM (%L) TO (%L)',
                       names[i], since[i], until[i]);
    END LOOP;
END
$$;
COMMENT ON FUNCTION artery.attach_click_partitions(text[], timestamptz[], timestamptz[], integer, boolean) IS
'Make prepared tables partitions of click_tracking. With hold, clicks wait until the end of the transaction, so that none is refused: for transactions that end at once.';

CREATE OR REPLACE FUNCTION artery.click_partition_days(clicks_per_day bigint)
RETURNS integer
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(nullif(current_setting('artery.click_partition_days')::integer, 0),
                    CASE WHEN clicks_per_day > 500000 THEN 1 ELSE 28 END)
$$;
COMMENT ON FUNCTION artery.click_partition_days(bigint) IS
'Days in a new partition of click_tracking: artery.click_partition_days, else a day where more than 500,000 clicks a day come in and four weeks where not.';

CREATE OR REPLACE FUNCTION artery.fill_click_partitions(
    since timestamptz, until timestamptz, days integer, attempts integer, hold boolean DEFAULT false)
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
    -- a Monday, so that four weeks begin on one
    v_origin CONSTANT timestamptz := '2001-01-01 00:00+00';
    v_at     timestamptz := v_origin + floor(extract(epoch FROM since - v_origin) / 86400 / days)::integer * days * interval '1 day';
    v_end    timestamptz;
    v_taken  record;
    v_names  text[] := '{}';
    v_since  timestamptz[] := '{}';
    v_until  timestamptz[] := '{}';
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('artery click partitions'), 0);
    WHILE v_at <= until LOOP
        v_end := v_at + days * interval '1 day';
        SELECT p.since, p.until INTO v_taken FROM artery.click_partitions() p WHERE p.until > v_at ORDER BY p.since LIMIT 1;
        IF v_taken.since <= v_at THEN
            v_at := v_taken.until;
            CONTINUE;
        END IF;
        v_end := least(v_end, v_taken.since);
        IF v_end > since THEN
            v_names := v_names || artery.prepare_click_partition(v_at, v_end);
            v_since := v_since || v_at;
            v_until := v_until || v_end;
        END IF;
        v_at := v_end;
    END LOOP;
    IF v_names <> '{}' THEN
        PERFORM artery.attach_click_partitions(v_names, v_since, v_until, attempts, hold);
    END IF;
    RETURN cardinality(v_names);
END
$$;
COMMENT ON FUNCTION artery.fill_click_partitions(timestamptz, timestamptz, integer, integer, boolean) IS
'Make the partitions that a range of time lacks, of so many days each where nothing is in their way; returns how many. hold: see attach_click_partitions.';

CREATE OR REPLACE FUNCTION artery.begin_click_partitions()
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF to_regclass('artery.click_tracking_other') IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('artery click partitions'), 0);
    IF to_regclass('artery.click_tracking_other') IS NULL THEN
        PERFORM artery.create_click_table('click_tracking_other', 'Clicks of times that have no partition of their own.');
        PERFORM artery.index_click_table('click_tracking_other');
        ALTER TABLE artery.click_tracking ATTACH PARTITION artery.click_tracking_other DEFAULT;
        PERFORM artery.fill_click_partitions(artery.now() - interval '7 days', artery.now() + interval '14 days',
                                             artery.click_partition_days(NULL), 50);
    END IF;
END
$$;
COMMENT ON FUNCTION artery.begin_click_partitions() IS
'Make the first partitions of click_tracking, with the first tenant: were they in the installation''s script, they could be neither dumped nor distributed.';

CREATE OR REPLACE FUNCTION artery.make_click_partitions(since timestamptz, until timestamptz, days integer DEFAULT NULL)
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.require_unbound_role();
    IF since IS NULL OR until IS NULL OR since < '2010-01-01 00:00+00' OR until > artery.now() + interval '366 days' OR since > until THEN
        RAISE EXCEPTION 'no range of clicks: % to %', since, until USING ERRCODE = '22008',
            DETAIL = 'Partitions are made from 2010-01-01 to a year ahead.',
            HINT = 'since comes first, and neither is null.';
    END IF;
    IF days NOT BETWEEN 1 AND 31 THEN
        RAISE EXCEPTION 'days must be between 1 and 31'
            USING ERRCODE = '22023', DETAIL = format('It is %s.', days),
            HINT = 'Leave it out to have each as artery.click_partition_days says.';
    END IF;
    -- Each holds some ten locks until the end of the transaction, of some eight thousand that all sessions share.
    IF extract(epoch FROM until - since) / 86400 > 500 * coalesce(days, artery.click_partition_days(NULL)) THEN
        RAISE EXCEPTION 'too many partitions at once' USING ERRCODE = '54000',
            DETAIL = 'Up to 500 are made in one transaction.',
            HINT = 'Make them in several calls, or with more days in each.';
    END IF;
    PERFORM artery.begin_click_partitions();
    RETURN artery.fill_click_partitions(since, until, coalesce(days, artery.click_partition_days(NULL)), 50);
END
$$;
COMMENT ON FUNCTION artery.make_click_partitions(timestamptz, timestamptz, integer) IS
'Make the partitions of click_tracking that a range of time lacks; returns how many. The worker does it two weeks ahead; call it before history is loaded. Without days, each is four weeks or what artery.click_partition_days says.';

CREATE OR REPLACE FUNCTION artery.expire_clicks(before timestamptz)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_partition record;
    v_clicks    bigint;
    v_total     bigint := 0;
    v_whole     regclass[] := '{}';
    v_old       regclass;
BEGIN
    PERFORM artery.require_unbound_role();
    IF before IS NULL THEN
        RAISE EXCEPTION 'before must not be null'
            USING ERRCODE = '22004', HINT = 'Clicks before this moment are removed, of all tenants.';
    END IF;
    FOR v_partition IN
        SELECT p.partition, p.until <= before AS is_old, p.about_clicks FROM artery.click_partitions() p WHERE p.since < before
        UNION ALL
        SELECT to_regclass('artery.click_tracking_other'), false, 0 WHERE to_regclass('artery.click_tracking_other') IS NOT NULL
    LOOP
        IF v_partition.is_old THEN
            -- To count many takes longer than to drop them.
            v_clicks := v_partition.about_clicks;
            IF v_clicks < 100000 THEN
                EXECUTE format('SELECT count(*) FROM %s', v_partition.partition) INTO v_clicks;
            END IF;
            v_whole := v_whole || v_partition.partition;
        ELSE
            EXECUTE format('DELETE FROM %s c WHERE c.click_timestamp < $1', v_partition.partition) USING before;
            GET DIAGNOSTICS v_clicks = ROW_COUNT;
        END IF;
        v_total := v_total + v_clicks;
    END LOOP;
    IF cardinality(v_whole) > 500 THEN
        RAISE EXCEPTION 'too many partitions at once' USING ERRCODE = '54000',
            DETAIL = format('%s partitions are older; up to 500 are dropped in one transaction.', cardinality(v_whole)),
            HINT = format('Expire the clicks before %s first.',
                          (SELECT x.until FROM (SELECT p.until FROM artery.click_partitions() p ORDER BY p.until LIMIT 500) x
                            ORDER BY x.until DESC LIMIT 1));
    END IF;
    -- Last, as nobody gets at clicks between this and the end of the transaction.
    IF v_whole <> '{}' THEN
        PERFORM artery.lock_click_table('artery.click_tracking', 50);
    END IF;
    FOREACH v_old IN ARRAY v_whole LOOP
        EXECUTE format('DROP TABLE %s', v_old);
    END LOOP;
    RETURN v_total;
END
$$;
COMMENT ON FUNCTION artery.expire_clicks(timestamptz) IS
'Remove the clicks of all tenants older than the given moment; returns how many, by the statistics for a partition of 100,000 or more. Partitions that are older as a whole are dropped, in an instant; the rest is deleted. Conversions keep the ad they were attributed to.';

CREATE OR REPLACE FUNCTION artery.keep_click_partitions(batch integer)
RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '100ms'
AS $$
DECLARE
    v_days   integer := current_setting('artery.retention_clicks')::integer;
    v_before timestamptz := artery.now() - v_days * interval '1 day';
    v_busiest bigint;
    v_deleted bigint;
    v_part   record;
BEGIN
    IF to_regclass('artery.click_tracking_other') IS NULL THEN
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('artery click partitions'), 0);

    SELECT max(p.about_clicks / greatest(extract(epoch FROM least(p.until, artery.now()) - p.since) / 86400, 0.5)) INTO v_busiest
      FROM artery.click_partitions() p WHERE p.until > artery.now() - interval '7 days' AND p.since < artery.now();
    IF artery.fill_click_partitions(artery.now() - interval '1 day', artery.now() + interval '14 days',
                                    artery.click_partition_days(v_busiest), 1, hold => true) > 0 THEN
        RETURN 'made';
    END IF;

    IF v_days > 0 THEN
        SELECT p.partition INTO v_part FROM artery.click_partitions() p WHERE p.until <= v_before LIMIT 1;
        IF FOUND THEN
            PERFORM artery.lock_click_table('artery.click_tracking', 1);
            EXECUTE format('DROP TABLE %s', v_part.partition);
            RETURN 'dropped';
        END IF;
        -- Where they are many they wait until all of their partition can go.
        FOR v_part IN
            SELECT p.partition FROM artery.click_partitions() p WHERE p.since < v_before AND p.about_clicks BETWEEN 1 AND 100000
            UNION ALL SELECT 'artery.click_tracking_other'::regclass
        LOOP
            EXECUTE format('DELETE FROM %s d WHERE d.ctid = ANY (ARRAY(SELECT x.ctid FROM %s x WHERE x.click_timestamp < $1 '
                           'LIMIT $2 FOR UPDATE SKIP LOCKED))', v_part.partition, v_part.partition) USING v_before, batch;
            GET DIAGNOSTICS v_deleted = ROW_COUNT;
            IF v_deleted > 0 THEN
                RETURN 'deleted';
            END IF;
        END LOOP;
    END IF;

    -- A few clicks of long ago are no reason for a partition that every statement has to open.
    SELECT date_trunc('week', o.click_timestamp) AS week, count(*) AS clicks INTO v_part
      FROM artery.click_tracking_other o
     WHERE o.click_timestamp >= '2010-01-01 00:00+00' AND o.click_timestamp < artery.now() + interval '14 days'
     GROUP BY 1 HAVING count(*) >= 10000 ORDER BY 1 DESC LIMIT 1;
    IF FOUND AND artery.fill_click_partitions(v_part.week, v_part.week + interval '6 days 23 hours',
                                              artery.click_partition_days(v_part.clicks / 7), 1, hold => true) > 0 THEN
        RETURN 'moved';
    END IF;
    RETURN NULL;
EXCEPTION WHEN lock_not_available THEN
    RETURN 'busy';
END
$$;
COMMENT ON FUNCTION artery.keep_click_partitions(integer) IS
'One step of the worker''s care for the partitions of click_tracking, a transaction each: made two weeks ahead, dropped by age (artery.retention_clicks), what is too old in a partition of up to 100,000 deleted in batches, clicks moved out of click_tracking_other. Returns what was done: made, dropped, deleted, moved; busy where a lock was not to be had; NULL where nothing is left.';
