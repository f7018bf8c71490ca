-- retention: removing what is older than the settings artery.retention_*

CREATE OR REPLACE FUNCTION artery.retention_rules(
    OUT table_name text, OUT setting text, OUT time_column text, OUT condition text)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    VALUES
    ('alert', 'artery.retention_change_history', 'cleared_at', NULL),
    ('allocation_run', 'artery.retention_allocation', 'as_of', NULL),
    ('attribution_performance_log', 'artery.retention_attribution_log', 'logged_at', NULL),
    ('ad_change', 'artery.retention_change_history', 'settled_at',
     'x.state = ANY (ARRAY[''completed'', ''failed'', ''rejected'', ''cancelled'', ''superseded''])'),
    ('ad_change_history', 'artery.retention_change_history', 'recorded_at', NULL),
    ('campaign_action', 'artery.retention_change_history', 'acted_at', NULL),
    -- A budget is in force until the next one of its owner.
    ('budget_observation', 'artery.retention_change_history', 'observed_at',
     'EXISTS (SELECT FROM artery.budget_observation n WHERE n.tenant_id = x.tenant_id '
     'AND n.budget_owner_id = x.budget_owner_id AND n.observed_at > x.observed_at AND n.observed_at < $1)'),
    -- Later than the clicks, so that none that is still there can come in again.
    ('click_key', 'artery.retention_clicks', 'click_timestamp', 'x.click_timestamp < $1 - interval ''14 days'''),
    ('contact_evidence', 'artery.retention_evidence', 'seen_at', NULL),
    ('contact_fetch', 'artery.retention_job_history', 'settled_at', 'x.state = ''done'''),
    ('job_execution_history', 'artery.retention_job_history', 'finished_at', NULL),
    ('late_click', 'artery.retention_clicks', 'tracked_since', NULL),
    ('webhook_event', 'artery.retention_webhook_events', 'received_at',
     'x.status = ANY (ARRAY[''processed'', ''ignored''])')
$$;
COMMENT ON FUNCTION artery.retention_rules() IS
'Which rows of which table a retention setting removes: by the age of a time column, under a further condition where there is one.';

CREATE OR REPLACE FUNCTION artery.purge_before(
    table_name text, time_column text, condition text, before timestamptz, batch integer)
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_deleted bigint;
BEGIN
    EXECUTE format(
        'DELETE FROM artery.%I d WHERE d.ctid = ANY (ARRAY('
        'SELECT x.ctid FROM artery.%I x WHERE x.%I < $1 AND (%s) LIMIT $2 FOR UPDATE SKIP LOCKED))',
        table_name, table_name, time_column, coalesce(condition, 'true'))
        USING before, batch;
    GET DIAGNOSTICS v_deleted = ROW_COUNT;
    RETURN v_deleted;
END
$$;
COMMENT ON FUNCTION artery.purge_before(text, text, text, timestamptz, integer) IS
'Delete at most a batch of the rows of a table that are older; returns how many.';

CREATE OR REPLACE FUNCTION artery.purge_cron_log(before timestamptz, batch integer)
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_deleted bigint := 0;
BEGIN
    IF to_regclass('cron.job_run_details') IS NOT NULL THEN
        EXECUTE 'DELETE FROM cron.job_run_details d WHERE d.runid = ANY (ARRAY('
                'SELECT x.runid FROM cron.job_run_details x '
                'WHERE x.end_time < $1 AND x.command LIKE ''SELECT artery.%'' LIMIT $2))'
            USING before, batch;
        GET DIAGNOSTICS v_deleted = ROW_COUNT;
    END IF;
    RETURN v_deleted;
END
$$;
COMMENT ON FUNCTION artery.purge_cron_log(timestamptz, integer) IS
'Delete at most a batch of what pg_cron, where it is in this database, logged of artery''s own schedules; returns how many rows.';

CREATE OR REPLACE FUNCTION artery.purge(batch integer DEFAULT 5000)
RETURNS TABLE (table_name text, deleted bigint)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_rule record;
    v_days integer;
BEGIN
    PERFORM artery.require_unbound_role();
    IF coalesce(batch, 0) NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'batch must be between 1 and 100000'
            USING ERRCODE = '22023', DETAIL = format('It is %s.', batch), HINT = 'It bounds the rows of a table in one transaction.';
    END IF;
    FOR v_rule IN SELECT * FROM artery.retention_rules() LOOP
        v_days := current_setting(v_rule.setting)::integer;
        CONTINUE WHEN v_days = 0;
        table_name := v_rule.table_name;
        deleted := artery.purge_before(v_rule.table_name, v_rule.time_column, v_rule.condition,
                                       artery.now() - v_days * interval '1 day', batch);
        RETURN NEXT;
    END LOOP;
    v_days := current_setting('artery.retention_cron_log')::integer;
    IF v_days > 0 THEN
        table_name := 'cron.job_run_details';
        deleted := artery.purge_cron_log(artery.now() - v_days * interval '1 day', batch);
        RETURN NEXT;
    END IF;
    table_name := 'device data';
    deleted := artery.clear_device_data(batch);
    RETURN NEXT;
    -- Starts count for an hour; the limit looks back no further.
    table_name := 'job_rate_limit_tracker';
    deleted := artery.purge_before('job_rate_limit_tracker', 'started_at', NULL, artery.now() - interval '2 hours', batch);
    RETURN NEXT;
    table_name := 'allocation_delta';
    SELECT coalesce(sum(artery.purge_progress(d.tenant_id)), 0) INTO deleted
      FROM (SELECT DISTINCT x.tenant_id FROM artery.allocation_delta x) d;
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION artery.purge(integer) IS
'Delete what is older than the settings artery.retention_*, at most a batch per table; returns how many rows went from each. The worker does it every hour, a batch per transaction; clicks go by artery.keep_click_partitions.';
