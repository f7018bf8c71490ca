-- schedule: allocations by the clock, through pg_cron where it is installed

CREATE OR REPLACE FUNCTION artery.run_scheduled_allocation(tenant_id text)
RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_ads    bigint;
    v_amount numeric;
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    IF NOT (artery.effective_settings(tenant_id) ->> 'enabled')::boolean THEN
        RETURN 'disabled';
    END IF;
    IF NOT artery.lock_allocation(tenant_id) THEN
        RETURN 'already running';
    END IF;
    SELECT count(*), sum(a.recommended_budget) INTO v_ads, v_amount
      FROM artery.allocate_budget(run_scheduled_allocation.tenant_id) a;
    IF v_ads = 0 THEN
        RETURN 'no ads';
    END IF;
    RETURN format('allocated %s to %s ads', v_amount, v_ads)
           || CASE WHEN (artery.effective_settings(tenant_id) ->> 'shadow')::boolean THEN ', in shadow' ELSE '' END;
END
$$;
COMMENT ON FUNCTION artery.run_scheduled_allocation(text) IS
'What the schedule calls: one allocation of the present state, however many were missed; says "already running" instead of waiting for another.';

CREATE OR REPLACE FUNCTION artery.allocation_job_name(tenant_id text)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    -- pg_cron keeps 63 bytes of a name; two tenants must not become one
    SELECT 'artery allocation ' || CASE WHEN octet_length(allocation_job_name.tenant_id) <= 45
                                        THEN allocation_job_name.tenant_id
                                        ELSE md5(allocation_job_name.tenant_id) END
$$;
COMMENT ON FUNCTION artery.allocation_job_name(text) IS 'Name of a tenant''s job in pg_cron.';

CREATE OR REPLACE FUNCTION artery.allocation_command(tenant_id text)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT format('SELECT artery.run_scheduled_allocation(%L)', allocation_command.tenant_id) $$;
COMMENT ON FUNCTION artery.allocation_command(text) IS 'Command of a tenant''s job in pg_cron.';

CREATE OR REPLACE FUNCTION artery.check_schedule(schedule text)
RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF schedule IS NULL THEN
        RAISE EXCEPTION 'schedule must not be null' USING ERRCODE = '22004';
    ELSIF schedule = '' OR octet_length(schedule) > 256 THEN
        RAISE EXCEPTION 'schedule must have 1 to 256 bytes'
            USING ERRCODE = '22023', HINT = 'Give a cron schedule, for example ''0 * * * *'' for every hour or ''0 */6 * * *'' for every six.';
    END IF;
END
$$;
COMMENT ON FUNCTION artery.check_schedule(text) IS 'Error 22004 or 22023 unless it may be a schedule; pg_cron reads it.';

CREATE OR REPLACE FUNCTION artery.schedule_sql(tenant_id text, schedule text)
RETURNS text
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    PERFORM artery.check_schedule(schedule);
    RETURN format('SELECT cron.schedule_in_database(%L, %L, %L, %L);', artery.allocation_job_name(tenant_id), schedule,
                  artery.allocation_command(tenant_id), current_database());
END
$$;
COMMENT ON FUNCTION artery.schedule_sql(text, text) IS
'The statement that schedules a tenant''s allocation from the database where pg_cron lives, for when that is another one.';

CREATE OR REPLACE FUNCTION artery.require_cron(tenant_id text, schedule text)
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE e.extname = 'pg_cron') THEN
        RAISE EXCEPTION 'pg_cron is not installed in this database'
            USING ERRCODE = '55000',
                  DETAIL = 'Schedules are kept by the extension pg_cron; everything else works without it.',
                  HINT = format('Run CREATE EXTENSION pg_cron, or where it is installed (setting cron.database_name): %s',
                                artery.schedule_sql(tenant_id, schedule));
    END IF;
END
$$;
COMMENT ON FUNCTION artery.require_cron(text, text) IS 'Error 55000 with a way out where pg_cron is not in this database.';

CREATE OR REPLACE FUNCTION artery.schedule_allocation(tenant_id text, schedule text)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_job_id bigint;
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    PERFORM artery.check_schedule(schedule), artery.require_cron(tenant_id, schedule);
    -- pg_cron may be missing when this is installed, hence not a plain call
    EXECUTE 'SELECT cron.schedule($1, $2, $3)' INTO v_job_id
      USING artery.allocation_job_name(tenant_id), schedule, artery.allocation_command(tenant_id);
    RETURN v_job_id;
END
$$;
COMMENT ON FUNCTION artery.schedule_allocation(text, text) IS
'Allocate a tenant''s budgets on a cron schedule (for example ''0 * * * *''); again replaces the schedule. Returns pg_cron''s job id.';

CREATE OR REPLACE FUNCTION artery.forget_schedules()
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_jobs bigint := 0;
BEGIN
    IF to_regclass('cron.job') IS NOT NULL THEN
        EXECUTE 'SELECT count(cron.unschedule(j.jobid)) FROM cron.job j '
                'WHERE j.database = current_database() AND j.command LIKE ''SELECT artery.%''' INTO v_jobs;
    END IF;
    RETURN v_jobs;
END
$$;
COMMENT ON FUNCTION artery.forget_schedules() IS
'Take all schedules of artery''s functions out of pg_cron, where it is in this database; returns how many. DROP EXTENSION does so first: they would fail for ever.';

CREATE OR REPLACE FUNCTION artery.unschedule_allocation(tenant_id text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_jobs bigint;
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    PERFORM artery.require_cron(tenant_id, '0 * * * *');
    EXECUTE 'SELECT count(cron.unschedule(j.jobid)) FROM cron.job j WHERE j.jobname = $1' INTO v_jobs
      USING artery.allocation_job_name(tenant_id);
    RETURN v_jobs > 0;
END
$$;
COMMENT ON FUNCTION artery.unschedule_allocation(text) IS 'Take the schedule back; false if there was none.';
