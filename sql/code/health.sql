-- health: how artery is, in one answer

CREATE OR REPLACE FUNCTION artery.worker_status(
    OUT library_version text, OUT preloaded boolean, OUT listed boolean, OUT launcher_pid integer,
    OUT worker_pid integer, OUT started_at timestamptz, OUT last_round_at timestamptz, OUT rounds bigint,
    OUT requests bigint, OUT in_flight integer, OUT last_error_at timestamptz, OUT last_error text,
    OUT jobs_pid integer, OUT jobs_started_at timestamptz, OUT jobs_last_round_at timestamptz, OUT jobs_rounds bigint,
    OUT jobs_last_error_at timestamptz, OUT jobs_last_error text)
RETURNS SETOF record
LANGUAGE C VOLATILE ROWS 1
AS 'MODULE_PATHNAME', 'artery_worker_status';
COMMENT ON FUNCTION artery.worker_status() IS
'One row of what shared memory knows of the launcher and of this database''s workers, the one that delivers and syncs and the one for jobs and upkeep (jobs_*): whether artery is preloaded and the database listed in artery.databases, pids, rounds and HTTP requests done, the last error.';

CREATE OR REPLACE FUNCTION artery.health_worker()
RETURNS jsonb
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object(
        'state', CASE WHEN NOT w.preloaded THEN 'not preloaded'
                      WHEN w.worker_pid IS NOT NULL THEN 'running'
                      WHEN pg_is_in_recovery() THEN 'standby'
                      WHEN w.listed THEN 'missing'
                      ELSE 'not listed' END,
        'pid', w.worker_pid, 'started_at', w.started_at, 'last_round_at', w.last_round_at, 'rounds', w.rounds,
        'requests', w.requests, 'in_flight', w.in_flight,
        'last_error_at', w.last_error_at,
        -- It may tell of any tenant.
        'last_error', CASE WHEN artery.tenant_visible('') THEN w.last_error END)
      FROM artery.worker_status() w
$$;
COMMENT ON FUNCTION artery.health_worker() IS 'Part of health(): the worker of this database that delivers and syncs.';

CREATE OR REPLACE FUNCTION artery.health_job_worker()
RETURNS jsonb
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object(
        'state', CASE WHEN w.jobs_pid IS NOT NULL THEN 'running'
                      WHEN w.preloaded AND w.listed AND NOT pg_is_in_recovery() THEN 'missing'
                      ELSE 'none' END,
        'pid', w.jobs_pid, 'started_at', w.jobs_started_at, 'last_round_at', w.jobs_last_round_at, 'rounds', w.jobs_rounds,
        'last_error_at', w.jobs_last_error_at,
        'last_error', CASE WHEN artery.tenant_visible('') THEN w.jobs_last_error END)
      FROM artery.worker_status() w
$$;
COMMENT ON FUNCTION artery.health_job_worker() IS 'Part of health(): the worker of this database for jobs and upkeep.';

CREATE OR REPLACE FUNCTION artery.health_changes()
RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH open AS (
        SELECT c.state, c.run_at, c.next_allowed_at, c.blocked_rule
          FROM artery.ad_change c
         WHERE c.state = ANY (ARRAY['proposed', 'approved', 'blocked', 'sending', 'unknown'])
           AND artery.tenant_visible(c.tenant_id)),
    failed AS (
        SELECT count(*) AS n
          FROM artery.tenant t
          JOIN artery.ad_change_history h ON h.tenant_id = t.tenant_id
         WHERE artery.tenant_visible(t.tenant_id) AND h.outcome = 'failed'
           AND h.recorded_at >= artery.now() - interval '26 hours'
           AND h.recorded_at >= artery.day_start(t.tenant_id))
    SELECT jsonb_build_object(
        'awaiting_approval', count(*) FILTER (WHERE o.state = 'proposed'),
        'backlog', count(*) FILTER (WHERE o.state = ANY (ARRAY['approved', 'unknown']) AND o.run_at <= artery.now()),
        'oldest_due_at', min(o.run_at) FILTER (
            WHERE o.state = ANY (ARRAY['approved', 'unknown']) AND o.run_at <= artery.now()),
        'sending', count(*) FILTER (WHERE o.state = 'sending'),
        'unknown', count(*) FILTER (WHERE o.state = 'unknown'),
        'blocked', count(*) FILTER (WHERE o.state = 'blocked'),
        'blocked_by', (SELECT coalesce(jsonb_object_agg(b.rule, b.n), '{}') FROM (
            SELECT coalesce(p.blocked_rule, 'other') AS rule, count(*) AS n FROM open p WHERE p.state = 'blocked'
             GROUP BY 1) b),
        'next_allowed_at', min(o.next_allowed_at) FILTER (WHERE o.state = 'blocked'),
        'failed_today', (SELECT f.n FROM failed f))
      FROM open o
$$;
COMMENT ON FUNCTION artery.health_changes() IS 'Part of health(): changes open, blocked by which rule, and failed today.';

CREATE OR REPLACE FUNCTION artery.health_jobs()
RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object(
        'queued', coalesce(sum(q.queued), 0), 'backlog', coalesce(sum(q.due), 0),
        'active', coalesce(sum(q.active), 0), 'dead', coalesce(sum(q.dead), 0),
        'waiting_for_limit', coalesce(sum(q.waiting_for_limit), 0),
        -- Jobs that may run and do not; a limit or a tenant turned off is no delay.
        'oldest_due_at', min(q.oldest_due_at) FILTER (WHERE q.waiting_for_limit = 0 AND coalesce(
            (SELECT (t.settings ->> 'enabled')::boolean FROM artery.tenant t WHERE t.tenant_id = q.tenant_id), true)))
      FROM artery.v_job_queue_health q
$$;
COMMENT ON FUNCTION artery.health_jobs() IS 'Part of health(): jobs queued, due, active, dead.';

CREATE OR REPLACE FUNCTION artery.day_start(tenant_id text)
RETURNS timestamptz
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT date_trunc('day', artery.now(), coalesce(t.settings ->> 'time_zone', 'UTC'))
      FROM artery.tenant t WHERE t.tenant_id = day_start.tenant_id
$$;
COMMENT ON FUNCTION artery.day_start(text) IS 'When the present day of the tenant''s ad account began.';

CREATE OR REPLACE FUNCTION artery.health_attribution()
RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object(
        'conversions_today', count(*),
        'attributed_today', count(*) FILTER (WHERE c.success),
        'recovery_rate', round(count(*) FILTER (WHERE c.success)::numeric / nullif(count(*), 0), 4))
      FROM (SELECT l.tenant_id, l.conversion_id, bool_or(l.success) AS success
              FROM artery.attribution_performance_log l
             WHERE l.logged_at >= artery.now() - interval '26 hours'
               AND artery.tenant_visible(l.tenant_id)
               AND l.logged_at >= artery.day_start(l.tenant_id)
             GROUP BY l.tenant_id, l.conversion_id) c
$$;
COMMENT ON FUNCTION artery.health_attribution() IS
'Part of health(): conversions looked at today (of each tenant''s time zone), and the share that found its click.';

CREATE OR REPLACE FUNCTION artery.health_accounts()
RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object(
        'tenants', count(*),
        'enabled', count(*) FILTER (WHERE coalesce((t.settings ->> 'enabled')::boolean, true)),
        'dry_run', count(*) FILTER (WHERE coalesce((t.settings ->> 'dry_run')::boolean, true)),
        'with_meta_token', count(*) FILTER (WHERE EXISTS (
            SELECT FROM artery.tenant_secret s WHERE s.tenant_id = t.tenant_id AND s.name = 'meta_access_token')),
        'token_stopped', count(*) FILTER (WHERE b.rules || r.reasons @> ARRAY['token']),
        'stopped', count(*) FILTER (WHERE b.rules || r.reasons && ARRAY['account_stopped', 'configuration']),
        'throttled', count(*) FILTER (WHERE b.throttled))
      FROM artery.tenant t
     CROSS JOIN LATERAL (
           SELECT coalesce(array_agg(c.blocked_rule), '{}') AS rules, bool_or(c.blocked_rule LIKE '%throttle%') AS throttled
             FROM artery.ad_change c
            WHERE c.tenant_id = t.tenant_id AND c.state = ANY (ARRAY['approved', 'blocked', 'unknown'])) b
     CROSS JOIN LATERAL (
           SELECT coalesce(array_agg(x.reason), '{}') AS reasons FROM artery.throttle x
            WHERE x.tenant_id = t.tenant_id AND x.until > artery.now()) r
     WHERE artery.tenant_visible(t.tenant_id)
$$;
COMMENT ON FUNCTION artery.health_accounts() IS
'Part of health(): tenants, and how many of them are enabled, only trying out (dry run), have a token, wait for one, are stopped or throttled by Meta.';

CREATE OR REPLACE FUNCTION artery.health_throttles()
RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object(
        'active', count(*) FILTER (WHERE v.reason <> 'usage'),
        'slowed', count(*) FILTER (WHERE v.reason = 'usage'),
        'by_reason', (SELECT coalesce(jsonb_object_agg(r.reason, r.n), '{}')
                        FROM (SELECT x.reason, count(*) AS n FROM artery.v_throttles x GROUP BY 1) r),
        'next_end', min(v.until) FILTER (WHERE v.reason <> 'usage' AND v.until < 'infinity'),
        'alerts', (SELECT count(*) FROM artery.v_alerts))
      FROM artery.v_throttles v
$$;
COMMENT ON FUNCTION artery.health_throttles() IS
'Part of health(): whom Meta wants left alone, by reason, when the first wait ends, and open alerts.';

CREATE OR REPLACE FUNCTION artery.health_contacts()
RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object(
        'queued', coalesce(sum(h.queued), 0), 'due', coalesce(sum(h.due), 0), 'active', coalesce(sum(h.active), 0),
        'failed', coalesce(sum(h.failed), 0), 'paused_tenants', count(h.paused_reason),
        -- Those who cannot be read now are told by their alert, or by there being no token.
        'oldest_due_at', min(h.oldest_due_at) FILTER (
            WHERE h.paused_reason IS NULL AND coalesce((t.settings ->> 'enabled')::boolean, true)
              AND EXISTS (SELECT FROM artery.tenant_secret s
                           WHERE s.tenant_id = h.tenant_id AND s.name = 'hubspot_access_token')))
      FROM artery.v_contact_fetch_health h
      LEFT JOIN artery.tenant t ON t.tenant_id = h.tenant_id
$$;
COMMENT ON FUNCTION artery.health_contacts() IS
'Part of health(): deals whose contacts are to be read from HubSpot: queued, due, active, failed, and since when the oldest is due.';

CREATE OR REPLACE FUNCTION artery.health()
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    v_old      constant interval := '5 minutes';
    v_now      timestamptz := artery.moment();
    v_library  text := (SELECT library_version FROM artery.worker_status());
    v_extension text := (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'artery');
    v_offset   float8 := current_setting('artery.clock_offset');
    v_worker   jsonb := artery.health_worker();
    v_job_worker jsonb := artery.health_job_worker();
    v_changes  jsonb := artery.health_changes();
    v_jobs     jsonb := artery.health_jobs();
    v_contacts jsonb := artery.health_contacts();
    v_accounts jsonb := artery.health_accounts();
    v_throttles jsonb := artery.health_throttles();
    v_oldest   timestamptz := least((v_changes ->> 'oldest_due_at')::timestamptz, (v_jobs ->> 'oldest_due_at')::timestamptz,
                                 (v_contacts ->> 'oldest_due_at')::timestamptz);
    v_down     text[];
    v_problems text[];
BEGIN
    v_down := array_remove(ARRAY[
        CASE v_worker ->> 'state'
            WHEN 'not preloaded' THEN 'artery is not in shared_preload_libraries'
            WHEN 'missing' THEN 'the worker of this database is not running' END], NULL);
    v_problems := array_remove(ARRAY[
        CASE WHEN v_library <> v_extension THEN format('library %s and extension %s differ: ALTER EXTENSION artery UPDATE, or restart',
                                                       v_library, v_extension) END,
        CASE WHEN v_job_worker ->> 'state' = 'missing' AND v_worker ->> 'state' = 'running'
             THEN 'the worker for jobs of this database is not running: see max_worker_processes' END,
        CASE WHEN NOT current_setting('artery.enabled')::boolean THEN 'artery.enabled is off: nothing is sent' END,
        CASE WHEN v_oldest < v_now - v_old THEN format('work has been due since %s', v_oldest) END,
        CASE WHEN (v_changes ->> 'failed_today')::bigint > 0 THEN format('changes failed today: %s', v_changes ->> 'failed_today') END,
        CASE WHEN (v_accounts ->> 'token_stopped')::bigint > 0 THEN 'a token is missing or refused: set_secret brings a new one' END,
        CASE WHEN (v_accounts ->> 'stopped')::bigint > 0 THEN 'Meta refuses an account or the configuration: see v_pending_changes' END,
        CASE WHEN (v_throttles ->> 'alerts')::bigint > 0 THEN format('open alerts: %s, see v_alerts', v_throttles ->> 'alerts') END,
        CASE WHEN (v_jobs ->> 'dead')::bigint > 0 THEN format('dead jobs: %s', v_jobs ->> 'dead') END,
        CASE WHEN (v_worker ->> 'last_error_at')::timestamptz > v_now - interval '10 minutes'
             THEN 'the worker met an error lately' END,
        CASE WHEN (v_job_worker ->> 'last_error_at')::timestamptz > v_now - interval '10 minutes'
             THEN 'the worker for jobs met an error lately' END], NULL);
    RETURN jsonb_build_object(
        'status', CASE WHEN v_down <> '{}' THEN 'down' WHEN v_problems <> '{}' THEN 'degraded' ELSE 'ok' END,
        'problems', to_jsonb(v_down || v_problems),
        'version', jsonb_build_object('library', v_library, 'extension', v_extension),
        'enabled', current_setting('artery.enabled')::boolean,
        'worker', v_worker,
        'job_worker', v_job_worker,
        'launcher', (SELECT jsonb_build_object('pid', w.launcher_pid) FROM artery.worker_status() w),
        'backlog', jsonb_build_object('changes', v_changes -> 'backlog', 'jobs', v_jobs -> 'backlog',
            'age_seconds', round(greatest(0, extract(epoch FROM v_now - v_oldest)), 1)),
        'last_error', v_worker -> 'last_error',
        'changes', v_changes,
        'blocked_changes', v_changes -> 'blocked',
        'jobs', v_jobs,
        'contacts', v_contacts,
        'accounts', v_accounts,
        'throttles', v_throttles,
        'attribution', artery.health_attribution(),
        'checked_at', v_now)
        || CASE WHEN v_offset <> 0 THEN jsonb_build_object('clock_offset', v_offset) ELSE '{}' END;
END
$$;
COMMENT ON FUNCTION artery.health() IS
'How artery is: status ok, degraded or down with the problems, versions, worker, backlog and its age, blocked changes by rule, dead jobs, tokens and throttling, recovery rate of the day. A role bound to tenants sees only theirs counted.';

CREATE OR REPLACE FUNCTION artery.worker_health(
    OUT state text, OUT last_round_at timestamptz, OUT last_error text, OUT last_error_at timestamptz,
    OUT backlog bigint, OUT backlog_age interval)
RETURNS record
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT w.h -> 'worker' ->> 'state', (w.h -> 'worker' ->> 'last_round_at')::timestamptz,
           w.h -> 'worker' ->> 'last_error', (w.h -> 'worker' ->> 'last_error_at')::timestamptz,
           (w.h -> 'backlog' ->> 'changes')::bigint + (w.h -> 'backlog' ->> 'jobs')::bigint,
           make_interval(secs => (w.h -> 'backlog' ->> 'age_seconds')::float8)
      FROM (SELECT artery.health() AS h) w
$$;
COMMENT ON FUNCTION artery.worker_health() IS
'One row of health(): the worker''s state, last round and last error, and how many changes and jobs are due, the oldest since how long (NULL: none).';
