-- job: work queued for artery's worker and for workers outside
--
-- A claim raises the attempt and takes a lease; whoever completes or fails the
-- job presents that attempt, so a claim that was taken back settles nothing.
-- Statements that lock or change rows name one tenant.

CREATE OR REPLACE FUNCTION artery.wake_worker()
RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'artery_wake_worker';
COMMENT ON FUNCTION artery.wake_worker() IS
'Wake this database''s worker, which delivers, syncs and reads contacts, when the transaction commits; nothing happens if it rolls back.';

CREATE OR REPLACE FUNCTION artery.wake_jobs()
RETURNS void
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'artery_wake_jobs';
COMMENT ON FUNCTION artery.wake_jobs() IS
'Wake this database''s other worker, for jobs and upkeep, when the transaction commits; nothing happens if it rolls back.';

CREATE OR REPLACE FUNCTION artery.wake_for_job(job_name text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF job_name = 'actuals-sync' THEN
        PERFORM artery.wake_worker();
    ELSE
        PERFORM artery.wake_jobs();
    END IF;
END
$$;
COMMENT ON FUNCTION artery.wake_for_job(text) IS 'Wake the worker that does jobs of that name when the transaction commits.';

CREATE OR REPLACE FUNCTION artery.require_job_name(job_name text)
RETURNS artery.job_config
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_config artery.job_config;
    v_known  text;
BEGIN
    IF job_name IS NULL THEN
        RAISE EXCEPTION 'job_name must not be null' USING ERRCODE = '22004';
    END IF;
    SELECT c.* INTO v_config FROM artery.job_config c WHERE c.job_name = require_job_name.job_name;
    IF NOT FOUND THEN
        SELECT string_agg(c.job_name, ', ' ORDER BY c.job_name) INTO v_known FROM artery.job_config c;
        RAISE EXCEPTION 'unknown job_name "%"', left(job_name, 100)
            USING ERRCODE = '22023', HINT = format('Known jobs: %s.', v_known);
    END IF;
    RETURN v_config;
END
$$;
COMMENT ON FUNCTION artery.require_job_name(text) IS 'The type of job; error 22023 that names the known ones.';

CREATE OR REPLACE FUNCTION artery.enqueue_job(
    tenant_id text, job_name text, data jsonb DEFAULT '{}', run_at timestamptz DEFAULT artery.now(),
    priority integer DEFAULT NULL, singleton_key text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_config artery.job_config;
    v_job_id bigint;
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    v_config := artery.require_job_name(job_name);
    IF jsonb_typeof(coalesce(data, '{}')) <> 'object' THEN
        RAISE EXCEPTION 'data of a job must be a JSON object' USING ERRCODE = '22023',
            DETAIL = format('It is of type %s.', jsonb_typeof(data));
    END IF;
    IF NOT isfinite(coalesce(run_at, artery.now())) THEN
        RAISE EXCEPTION 'run_at must be a finite time' USING ERRCODE = '22008';
    END IF;
    IF singleton_key = '' OR octet_length(singleton_key) > 256 THEN
        RAISE EXCEPTION 'a singleton_key has 1 to 256 bytes' USING ERRCODE = '22001',
            HINT = 'NULL queues the job whatever else is queued.';
    END IF;

    LOOP
        INSERT INTO artery.job AS j (tenant_id, job_name, data, run_at, priority, singleton_key, max_attempts, created_at)
        VALUES (enqueue_job.tenant_id, enqueue_job.job_name, coalesce(enqueue_job.data, '{}'),
                greatest(enqueue_job.run_at, artery.now()), coalesce(enqueue_job.priority, 0),
                enqueue_job.singleton_key, v_config.max_attempts, artery.now())
        ON CONFLICT DO NOTHING  -- job_singleton
        RETURNING j.job_id INTO v_job_id;
        EXIT WHEN FOUND;
        SELECT j.job_id INTO v_job_id FROM artery.job j
         WHERE j.tenant_id = enqueue_job.tenant_id AND j.job_name = enqueue_job.job_name
           AND j.singleton_key = enqueue_job.singleton_key AND j.state = 'queued';
        -- Claimed between the two statements: queue a new one.
        EXIT WHEN FOUND;
    END LOOP;
    IF v_config.runs_in = 'worker' THEN
        PERFORM artery.wake_for_job(job_name);
    END IF;
    RETURN v_job_id;
END
$$;
COMMENT ON FUNCTION artery.enqueue_job(text, text, jsonb, timestamptz, integer, text) IS
'Queue a job and return its id; with a singleton_key the id of the one that is queued already, if any. A run_at that has passed is now; higher priority goes first.';

CREATE OR REPLACE FUNCTION artery.record_execution(
    tenant_id text, job_id bigint, outcome text, result jsonb, error text, finished_at timestamptz)
RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO artery.job_execution_history (tenant_id, job_id, job_name, attempt, outcome, worker, data, result,
                                              error, queued_at, started_at, finished_at, duration_ms)
    SELECT j.tenant_id, j.job_id, j.job_name, j.attempt, record_execution.outcome, j.worker, j.data,
           record_execution.result, record_execution.error, j.created_at, j.started_at, record_execution.finished_at,
           greatest(0, extract(epoch FROM record_execution.finished_at - j.started_at) * 1000)::float8
      FROM artery.job j
     WHERE j.tenant_id = record_execution.tenant_id AND j.job_id = record_execution.job_id
$$;
COMMENT ON FUNCTION artery.record_execution(text, bigint, text, jsonb, text, timestamptz) IS
'Write the execution that just ended into job_execution_history; the caller holds the row''s lock.';

CREATE OR REPLACE FUNCTION artery.requeue_job(tenant_id text, job_id bigint, run_at timestamptz)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE artery.job j
       SET state = 'queued', run_at = requeue_job.run_at, worker = NULL, worker_pid = NULL, lease_until = NULL
     WHERE j.tenant_id = requeue_job.tenant_id AND j.job_id = requeue_job.job_id;
EXCEPTION WHEN unique_violation THEN
    -- Its like was queued while it ran; that one takes its place.
    DELETE FROM artery.job j WHERE j.tenant_id = requeue_job.tenant_id AND j.job_id = requeue_job.job_id;
END
$$;
COMMENT ON FUNCTION artery.requeue_job(text, bigint, timestamptz) IS
'Back into the queue for another attempt; a job whose singleton_key is queued again already makes room for that one.';

CREATE OR REPLACE FUNCTION artery.rescue_jobs()
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_lost    record;
    v_now     timestamptz := artery.moment();
    v_rescued integer := 0;
BEGIN
    FOR v_lost IN
        SELECT j.tenant_id, j.job_id, j.job_name, j.attempt, j.max_attempts,
               CASE WHEN j.lease_until < v_now THEN 'the lease ran out' ELSE 'the worker went away' END AS reason
          FROM artery.job j
         WHERE j.state = 'active'
           AND (j.lease_until < v_now
                OR j.worker_pid IS NOT NULL AND NOT EXISTS (SELECT FROM pg_stat_get_activity(j.worker_pid)))
    LOOP
        PERFORM FROM artery.job j
          WHERE j.tenant_id = v_lost.tenant_id AND j.job_id = v_lost.job_id
            AND j.attempt = v_lost.attempt AND j.state = 'active'
            FOR UPDATE SKIP LOCKED;  -- artery's own worker holds it while it works on it
        CONTINUE WHEN NOT FOUND;
        PERFORM artery.record_execution(v_lost.tenant_id, v_lost.job_id, 'lost', NULL, v_lost.reason, v_now);
        UPDATE artery.job j SET last_error = v_lost.reason, failed_at = v_now,
               state = CASE WHEN j.attempt >= j.max_attempts THEN 'dead' ELSE j.state END
         WHERE j.tenant_id = v_lost.tenant_id AND j.job_id = v_lost.job_id;
        IF v_lost.attempt < v_lost.max_attempts THEN
            PERFORM artery.requeue_job(v_lost.tenant_id, v_lost.job_id, v_now);
            PERFORM artery.wake_for_job(v_lost.job_name);
        END IF;
        v_rescued := v_rescued + 1;
    END LOOP;
    RETURN v_rescued;
END
$$;
COMMENT ON FUNCTION artery.rescue_jobs() IS
'Take back jobs whose lease ran out or whose worker process is gone: queued again, or dead if that was the last attempt. Returns how many.';

CREATE OR REPLACE FUNCTION artery.job_starts_left(tenant_id text, job_name text, rate_limit integer, as_of timestamptz)
RETURNS integer
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN rate_limit IS NULL THEN 2147483647
                ELSE greatest(0, rate_limit - (
                    SELECT count(*)::integer FROM artery.job_rate_limit_tracker r
                     WHERE r.tenant_id = job_starts_left.tenant_id AND r.job_name = job_starts_left.job_name
                       AND r.started_at > job_starts_left.as_of - interval '1 hour')) END
$$;
COMMENT ON FUNCTION artery.job_starts_left(text, text, integer, timestamptz) IS
'How many jobs the tenant may still start within the 60 minutes that end at the moment.';

CREATE OR REPLACE FUNCTION artery.tenants_with_due_jobs(job_name text, tenant_id text, as_of timestamptz)
RETURNS SETOF text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_tenants text[] := '{}';
    v_tenant  text := tenant_id;
BEGIN
    LOOP
        IF tenant_id IS NULL THEN
            -- From tenant to tenant along the index, however many jobs each has.
            SELECT j.tenant_id INTO v_tenant FROM artery.job j
             WHERE j.state = 'queued' AND j.tenant_id > coalesce(v_tenant, '')
             ORDER BY j.tenant_id LIMIT 1;
            EXIT WHEN NOT FOUND;
        END IF;
        IF EXISTS (SELECT FROM artery.job j
                    WHERE j.tenant_id = v_tenant AND j.job_name = tenants_with_due_jobs.job_name
                      AND j.state = 'queued' AND j.run_at <= as_of)
           AND EXISTS (SELECT FROM artery.tenant t
                        WHERE t.tenant_id = v_tenant AND coalesce((t.settings ->> 'enabled')::boolean, true))
           AND artery.tenant_visible(v_tenant) THEN
            v_tenants := v_tenants || v_tenant;
        END IF;
        EXIT WHEN tenant_id IS NOT NULL;
    END LOOP;
    -- Whoever was served longest ago comes first.
    RETURN QUERY
    SELECT t FROM unnest(v_tenants) t
     ORDER BY (SELECT max(r.started_at) FROM artery.job_rate_limit_tracker r
                WHERE r.tenant_id = t AND r.job_name = tenants_with_due_jobs.job_name) NULLS FIRST, t;
END
$$;
COMMENT ON FUNCTION artery.tenants_with_due_jobs(text, text, timestamptz) IS
'Enabled tenants of the caller''s with due jobs of that name (all, or the one given), longest unserved first.';

CREATE OR REPLACE FUNCTION artery.take_job(config artery.job_config, tenant_id text, worker text, worker_pid integer)
RETURNS SETOF artery.job
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_now timestamptz := artery.moment();
    v_job artery.job;
BEGIN
    IF artery.job_starts_left(tenant_id, config.job_name, config.rate_limit_per_hour, v_now) = 0 THEN
        RETURN;
    END IF;
    SELECT j.* INTO v_job FROM artery.job j
     WHERE j.tenant_id = take_job.tenant_id AND j.job_name = config.job_name
       AND j.state = 'queued' AND j.run_at <= v_now
     ORDER BY j.priority DESC, j.run_at, j.job_id
     LIMIT 1
       FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO artery.job_rate_limit_tracker (tenant_id, job_name, started_at, job_id)
    VALUES (take_job.tenant_id, config.job_name, v_now, v_job.job_id);
    RETURN QUERY
    UPDATE artery.job j
       SET state = 'active', attempt = j.attempt + 1, worker = take_job.worker, worker_pid = take_job.worker_pid,
           lease_until = v_now + config.lease, started_at = v_now
     WHERE j.tenant_id = take_job.tenant_id AND j.job_id = v_job.job_id
    RETURNING j.*;
END
$$;
COMMENT ON FUNCTION artery.take_job(artery.job_config, text, text, integer) IS
'Claim the next due job of a tenant within its hourly limit; the caller holds the lock of tenant and job name where there is a limit.';

CREATE OR REPLACE FUNCTION artery.take_jobs(job_name text, worker text, batch integer, tenant_id text, worker_pid integer)
RETURNS SETOF artery.job
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_config  artery.job_config := artery.require_job_name(job_name);
    v_tenants text[];
    v_tenant  text;
    v_again   text[];
    v_locked  boolean := false;
    v_taken   integer := 0;
    v_job     artery.job;
    v_lock    integer;
BEGIN
    IF v_config.rate_limit_per_hour IS NOT NULL AND current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'jobs with an hourly limit are claimed at isolation level read committed'
            USING ERRCODE = '25001', DETAIL = 'An older snapshot does not show what other sessions started.';
    END IF;
    PERFORM artery.rescue_jobs();
    SELECT array_agg(t.tenant_id ORDER BY t.place) INTO v_tenants
      FROM artery.tenants_with_due_jobs(take_jobs.job_name, take_jobs.tenant_id, artery.moment())
           WITH ORDINALITY t (tenant_id, place)
     WHERE artery.job_starts_left(t.tenant_id, take_jobs.job_name, v_config.rate_limit_per_hour, artery.moment()) > 0;

    -- One job of each tenant in turn, until the batch is full or all are through.
    WHILE v_tenants <> '{}' AND v_taken < batch LOOP
        v_again := '{}';
        FOREACH v_tenant IN ARRAY v_tenants LOOP
            EXIT WHEN v_taken >= batch;
            IF v_config.rate_limit_per_hour IS NOT NULL THEN
                -- Whoever holds a lock never waits for another: no deadlock.
                v_lock := hashtext(format('%s %s', v_config.job_name, v_tenant));
                IF NOT v_locked THEN
                    PERFORM pg_advisory_xact_lock(hashtext('artery jobs'), v_lock);
                    v_locked := true;
                ELSIF NOT pg_try_advisory_xact_lock(hashtext('artery jobs'), v_lock) THEN
                    CONTINUE;
                END IF;
            END IF;
            SELECT t.* INTO v_job FROM artery.take_job(v_config, v_tenant, worker, worker_pid) t;
            IF FOUND THEN
                v_taken := v_taken + 1;
                v_again := v_again || v_tenant;
                RETURN NEXT v_job;
            END IF;
        END LOOP;
        v_tenants := v_again;
    END LOOP;
END
$$;
COMMENT ON FUNCTION artery.take_jobs(text, text, integer, text, integer) IS
'What claim_jobs does, after its checks; worker_pid is given by artery''s own worker only.';

CREATE OR REPLACE FUNCTION artery.claim_jobs(
    job_name text, worker text, batch integer DEFAULT 1, tenant_id text DEFAULT NULL)
RETURNS SETOF artery.job
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF tenant_id IS NOT NULL THEN
        PERFORM artery.require_tenant(tenant_id);
    END IF;
    PERFORM artery.require_job_name(job_name);
    IF coalesce(worker, '') = '' OR octet_length(worker) > 256 THEN
        RAISE EXCEPTION 'a worker''s name has 1 to 256 bytes' USING ERRCODE = '22023';
    END IF;
    IF coalesce(batch, 0) NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'batch must be between 1 and 1000' USING ERRCODE = '22023';
    END IF;
    RETURN QUERY SELECT t.* FROM artery.take_jobs(job_name, worker, batch, tenant_id, NULL) t;
END
$$;
COMMENT ON FUNCTION artery.claim_jobs(text, text, integer, text) IS
'Claim due jobs of a name for a worker: fair between tenants, within the hourly limits, each with a lease. Settle them with complete_job or fail_job and the attempt of the row; a job not settled before lease_until is given to others.';

CREATE OR REPLACE FUNCTION artery.lock_claim(tenant_id text, job_id bigint, attempt integer)
RETURNS artery.job
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_job artery.job;
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    IF job_id IS NULL OR attempt IS NULL THEN
        RAISE EXCEPTION 'job_id and attempt must not be null' USING ERRCODE = '22004';
    END IF;
    SELECT j.* INTO v_job FROM artery.job j
     WHERE j.tenant_id = lock_claim.tenant_id AND j.job_id = lock_claim.job_id
       AND j.attempt = lock_claim.attempt AND j.state = 'active'
       FOR UPDATE;
    RETURN v_job;
END
$$;
COMMENT ON FUNCTION artery.lock_claim(text, bigint, integer) IS 'The job, locked, if the claim of that attempt still holds; else NULL.';

CREATE OR REPLACE FUNCTION artery.complete_job(
    tenant_id text, job_id bigint, attempt integer, result jsonb DEFAULT NULL)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_job artery.job := artery.lock_claim(tenant_id, job_id, attempt);
BEGIN
    IF v_job.job_id IS NULL THEN
        RETURN false;
    END IF;
    IF v_job.job_name = 'creative-dna-extraction' THEN
        PERFORM artery.take_dna_result(v_job, result);
    END IF;
    PERFORM artery.record_execution(tenant_id, job_id, 'completed', result, NULL, artery.moment());
    DELETE FROM artery.job j WHERE j.tenant_id = complete_job.tenant_id AND j.job_id = complete_job.job_id;
    RETURN true;
END
$$;
COMMENT ON FUNCTION artery.complete_job(text, bigint, integer, jsonb) IS
'Settle a claimed job as done; it moves to job_execution_history. The result of a creative-dna-extraction, {"score": 0.8} for the ad_id in the job''s data or {"scores": {"ad_1": 0.8}}, is recorded as record_dna would. False, and nothing changes, if the claim of that attempt no longer holds.';

CREATE OR REPLACE FUNCTION artery.fail_job(tenant_id text, job_id bigint, attempt integer, error text)
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_job  artery.job := artery.lock_claim(tenant_id, job_id, attempt);
    v_dead boolean := v_job.attempt >= v_job.max_attempts;
    v_now  timestamptz := artery.moment();
    v_text text := left(coalesce(error, 'no reason given'), 8192);
BEGIN
    IF v_job.job_id IS NULL THEN
        RETURN false;
    END IF;
    PERFORM artery.record_execution(tenant_id, job_id, CASE WHEN v_dead THEN 'dead' ELSE 'failed' END, NULL, v_text, v_now);
    UPDATE artery.job j SET last_error = v_text, failed_at = v_now,
           state = CASE WHEN v_dead THEN 'dead' ELSE j.state END, lease_until = NULL
     WHERE j.tenant_id = fail_job.tenant_id AND j.job_id = fail_job.job_id;
    IF NOT v_dead THEN
        PERFORM artery.requeue_job(tenant_id, job_id, v_now + (
            SELECT c.backoff * power(2, v_job.attempt - 1) FROM artery.job_config c WHERE c.job_name = v_job.job_name));
        PERFORM artery.wake_for_job(v_job.job_name);
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION artery.fail_job(text, bigint, integer, text) IS
'Settle a claimed job as failed: tried again after the backoff of its type, doubled with every attempt, or dead after the last one. False, and nothing changes, if the claim of that attempt no longer holds.';

CREATE OR REPLACE FUNCTION artery.retry_job(tenant_id text, job_id bigint)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_job artery.job;
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    SELECT j.* INTO v_job FROM artery.job j
     WHERE j.tenant_id = retry_job.tenant_id AND j.job_id = retry_job.job_id FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'unknown job %', job_id USING ERRCODE = '22023', HINT = 'artery.v_failed_jobs lists the dead jobs.';
    END IF;
    IF v_job.state <> 'dead' THEN
        RAISE EXCEPTION 'job % is %, not dead', job_id, v_job.state USING ERRCODE = '55000';
    END IF;
    IF EXISTS (SELECT FROM artery.job j
                WHERE j.tenant_id = retry_job.tenant_id AND j.job_name = v_job.job_name
                  AND j.singleton_key = v_job.singleton_key AND j.state = 'queued') THEN
        RAISE EXCEPTION 'a job with the singleton_key of job % is queued already', job_id USING ERRCODE = '55000';
    END IF;
    -- Attempts go on counting, so that no late settle of an old one fits.
    UPDATE artery.job j
       SET state = 'queued', run_at = artery.now(), worker = NULL, worker_pid = NULL,
           max_attempts = j.attempt + (SELECT c.max_attempts FROM artery.job_config c WHERE c.job_name = j.job_name)
     WHERE j.tenant_id = retry_job.tenant_id AND j.job_id = retry_job.job_id;
    PERFORM artery.wake_for_job(v_job.job_name);
    RETURN job_id;
END
$$;
COMMENT ON FUNCTION artery.retry_job(text, bigint) IS 'Revive a dead job with all its attempts anew; returns its id.';

CREATE OR REPLACE FUNCTION artery.perform_job(tenant_id text, job_name text, data jsonb)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_total  numeric := (data ->> 'total_budget')::numeric;
    v_result jsonb;
BEGIN
    CASE job_name
        WHEN 'budget-optimization' THEN
            IF coalesce(v_total, (artery.effective_settings(tenant_id) ->> 'daily_budget')::numeric) IS NULL THEN
                RETURN '{"skipped": "daily_budget is not set"}';
            END IF;
            SELECT jsonb_build_object('ads', count(*), 'total', sum(a.recommended_budget)) INTO v_result
              FROM artery.allocate_budget(tenant_id, v_total, (data ->> 'seed')::bigint) a;
        WHEN 'attribution-matching' THEN
            v_result := jsonb_build_object('attributed', artery.reattribute(tenant_id,
                coalesce((data ->> 'since')::timestamptz, artery.now() - interval '7 days'),
                coalesce((data ->> 'until')::timestamptz, artery.now())));
        WHEN 'synthetic-revenue-calculation' THEN
            SELECT to_jsonb(c) INTO v_result FROM artery.correct_increments(tenant_id, data ->> 'deal_id') c;
        ELSE
            RAISE EXCEPTION 'artery''s worker does not do jobs of name "%"', job_name USING ERRCODE = '0A000';
    END CASE;
    RETURN v_result;
END
$$;
COMMENT ON FUNCTION artery.perform_job(text, text, jsonb) IS
'The work itself of a job that artery''s own worker does; returns its result. data: total_budget and seed of budget-optimization, since and until of attribution-matching, deal_id of synthetic-revenue-calculation, all optional.';

CREATE OR REPLACE FUNCTION artery.take_worker_job(after text)
RETURNS SETOF artery.job
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_name text;
BEGIN
    FOR v_name IN
        SELECT c.job_name FROM artery.job_config c
         WHERE c.runs_in = 'worker' AND c.job_name <> 'actuals-sync'
         ORDER BY c.job_name <= after, c.job_name
    LOOP
        RETURN QUERY SELECT t.* FROM artery.take_jobs(v_name, 'artery jobs', 1, NULL, pg_backend_pid()) t;
        EXIT WHEN FOUND;
    END LOOP;
END
$$;
COMMENT ON FUNCTION artery.take_worker_job(text) IS
'Claim the next due job for artery''s own worker for jobs, of the names in turn: those after the given one first. None, or one row.';

CREATE OR REPLACE FUNCTION artery.next_job_at()
RETURNS timestamptz
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT least(
        (SELECT min(greatest(j.run_at, coalesce(l.passes_at, j.run_at)))
           FROM artery.job_config c
           JOIN artery.job j ON j.job_name = c.job_name AND j.state = 'queued'
           JOIN artery.tenant t ON t.tenant_id = j.tenant_id AND coalesce((t.settings ->> 'enabled')::boolean, true)
           LEFT JOIN LATERAL (
                SELECT r.started_at + interval '1 hour' AS passes_at
                  FROM artery.job_rate_limit_tracker r
                 WHERE r.tenant_id = j.tenant_id AND r.job_name = c.job_name
                 ORDER BY r.started_at DESC
                OFFSET c.rate_limit_per_hour - 1 LIMIT 1) l ON c.rate_limit_per_hour IS NOT NULL
          WHERE c.runs_in = 'worker' AND c.job_name <> 'actuals-sync'),
        (SELECT min(j.lease_until) FROM artery.job j WHERE j.state = 'active'))
$$;
COMMENT ON FUNCTION artery.next_job_at() IS
'When artery''s own worker for jobs has something to do next: a job falls due, a limit passes, a lease runs out; NULL if nothing is queued.';

CREATE OR REPLACE VIEW artery.v_rate_limit_status WITH (security_barrier) AS
SELECT t.tenant_id, c.job_name, c.rate_limit_per_hour AS limit_value, s.current_count,
       greatest(0, c.rate_limit_per_hour - s.current_count) AS remaining,
       s.current_count < c.rate_limit_per_hour AS allowed,
       CASE WHEN s.current_count >= c.rate_limit_per_hour THEN s.passes_at END AS next_allowed_at,
       CASE WHEN s.current_count >= c.rate_limit_per_hour THEN w.due ELSE 0 END AS jobs_waiting
  FROM artery.tenant t
 CROSS JOIN artery.job_config c
 CROSS JOIN LATERAL (
       -- As many as the limit started after this one: when it is an hour old, another may start.
       SELECT count(*)::integer AS current_count,
              (array_agg(r.started_at ORDER BY r.started_at DESC))[c.rate_limit_per_hour] + interval '1 hour' AS passes_at
         FROM artery.job_rate_limit_tracker r
        WHERE r.tenant_id = t.tenant_id AND r.job_name = c.job_name
          AND r.started_at > artery.now() - interval '1 hour') s
 CROSS JOIN LATERAL (
       SELECT count(*)::integer AS due FROM artery.job j
        WHERE j.tenant_id = t.tenant_id AND j.job_name = c.job_name AND j.state = 'queued'
          AND j.run_at <= artery.now()) w
 WHERE c.rate_limit_per_hour IS NOT NULL AND artery.tenant_visible(t.tenant_id);
COMMENT ON VIEW artery.v_rate_limit_status IS
'Jobs with an hourly limit, per tenant: starts in the last 60 minutes, how many are left, and when jobs that wait for the limit pass.';

CREATE OR REPLACE VIEW artery.v_job_queue_health WITH (security_barrier) AS
SELECT q.tenant_id, q.job_name, q.queued, q.due, q.active, q.dead,
       coalesce(l.jobs_waiting, 0) AS waiting_for_limit, l.next_allowed_at,
       q.oldest_due_at, artery.now() - q.oldest_due_at AS oldest_due_age,
       q.expired_leases, c.runs_in
  FROM (SELECT j.tenant_id, j.job_name,
               count(*) FILTER (WHERE j.state = 'queued') AS queued,
               count(*) FILTER (WHERE j.state = 'queued' AND j.run_at <= artery.now()) AS due,
               count(*) FILTER (WHERE j.state = 'active') AS active,
               count(*) FILTER (WHERE j.state = 'dead') AS dead,
               min(j.run_at) FILTER (WHERE j.state = 'queued' AND j.run_at <= artery.now()) AS oldest_due_at,
               count(*) FILTER (WHERE j.state = 'active' AND j.lease_until < artery.now()) AS expired_leases
          FROM artery.job j
         GROUP BY j.tenant_id, j.job_name) q
  JOIN artery.job_config c ON c.job_name = q.job_name
  LEFT JOIN artery.v_rate_limit_status l ON l.tenant_id = q.tenant_id AND l.job_name = q.job_name
 WHERE artery.tenant_visible(q.tenant_id);
COMMENT ON VIEW artery.v_job_queue_health IS 'Jobs not finished, per tenant and name: how many are queued, due, waiting for the hourly limit, active and dead, and since when the oldest is due.';

CREATE OR REPLACE VIEW artery.v_failed_jobs WITH (security_barrier) AS
SELECT j.tenant_id, j.job_id, j.job_name, j.data, j.attempt, j.max_attempts, j.last_error, j.failed_at, j.created_at,
       j.priority, j.singleton_key
  FROM artery.job j
 WHERE j.state = 'dead' AND artery.tenant_visible(j.tenant_id);
COMMENT ON VIEW artery.v_failed_jobs IS 'Dead jobs: their last attempt failed. artery.retry_job(tenant_id, job_id) revives one.';

CREATE OR REPLACE VIEW artery.v_job_performance_by_tenant WITH (security_barrier) AS
SELECT h.tenant_id, h.job_name, count(*) AS executions,
       count(*) FILTER (WHERE h.outcome = 'completed') AS completed,
       count(*) FILTER (WHERE h.outcome = 'failed') AS failed,
       count(*) FILTER (WHERE h.outcome = 'dead') AS dead,
       count(*) FILTER (WHERE h.outcome = 'lost') AS lost,
       count(*) FILTER (WHERE h.outcome = 'completed')::float8 / count(*) AS success_rate,
       avg(h.duration_ms) AS avg_duration_ms,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY h.duration_ms) AS p95_duration_ms,
       max(h.finished_at) AS last_finished_at
  FROM artery.job_execution_history h
 WHERE artery.tenant_visible(h.tenant_id)
 GROUP BY h.tenant_id, h.job_name;
COMMENT ON VIEW artery.v_job_performance_by_tenant IS 'Executions in job_execution_history per tenant and job name: outcomes, share completed, durations.';
