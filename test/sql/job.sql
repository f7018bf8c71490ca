-- Jobs: queue, claim, settle, backoff, hourly limits, rescue.
-- Job ids depend on what ran before, so they are kept in variables.
SET client_min_messages = warning;
\set VERBOSITY terse
SELECT artery.add_tenant('job_a'), artery.add_tenant('job_b'), artery.add_tenant('job_off', settings => '{"enabled": false}');

-- The types of job, as the specification has them.
SELECT job_name, max_attempts, backoff, rate_limit_per_hour FROM artery.job_config ORDER BY 1;
-- What is shipped is read-only.
UPDATE artery.job_config SET max_attempts = 1;

-- Refusals.
SELECT artery.enqueue_job('job_nobody', 'ad-change');
SELECT artery.enqueue_job(NULL, 'ad-change');
SELECT artery.enqueue_job('job_a', NULL);
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT artery.enqueue_job('job_a', 'no-such-job');
\set VERBOSITY terse
SELECT artery.enqueue_job('job_a', 'ad-change', '[]');
SELECT artery.enqueue_job('job_a', 'ad-change', run_at => 'infinity');
SELECT artery.enqueue_job('job_a', 'ad-change', singleton_key => repeat('x', 257));
SELECT artery.claim_jobs('no-such-job', 'w');
SELECT artery.claim_jobs('ad-change', '');
SELECT artery.claim_jobs('ad-change', 'w', 0);
SELECT artery.claim_jobs('ad-change', 'w', 1, 'job_nobody');
SELECT artery.complete_job('job_a', NULL, 1);
SELECT artery.retry_job('job_a', -1);

-- NULLs where a default exists mean the default; a time that has passed is now.
SELECT artery.enqueue_job('job_a', 'actuals-sync', NULL, NULL, NULL) AS job \gset
SELECT data, priority, run_at = created_at AS runs_now, state, attempt, max_attempts
  FROM artery.job WHERE tenant_id = 'job_a' AND job_id = :job;
SELECT artery.enqueue_job('job_a', 'actuals-sync', run_at => '2020-01-01') AS job \gset
SELECT run_at = created_at AS runs_now FROM artery.job WHERE tenant_id = 'job_a' AND job_id = :job;
SELECT count(*) FROM artery.claim_jobs('actuals-sync', 'w', 10, 'job_a');

-- Higher priority first, then the older; a later run_at waits.
SELECT artery.enqueue_job('job_a', 'attribution-matching', '{"n": 1}') AS job_1 \gset
SELECT artery.enqueue_job('job_a', 'attribution-matching', '{"n": 2}', priority => 5) AS job_2 \gset
SELECT artery.enqueue_job('job_a', 'attribution-matching', '{"n": 3}', run_at => artery.now() + interval '1 hour') AS job_3 \gset
SELECT tenant_id, job_name, data, attempt, worker, state, lease_until = started_at + interval '10 minutes' AS has_lease
  FROM artery.claim_jobs('attribution-matching', 'w', 10, 'job_a');
-- Nothing is claimed twice.
SELECT count(*) FROM artery.claim_jobs('attribution-matching', 'w', 10, 'job_a');

-- Settling: another attempt, another tenant, or a second time changes nothing.
SELECT artery.complete_job('job_a', :job_1, 2), artery.complete_job('job_b', :job_1, 1),
       artery.complete_job('job_a', :job_1, 1, '{"done": true}') AS settled,
       artery.complete_job('job_a', :job_1, 1), artery.fail_job('job_a', :job_1, 1, 'late');
SELECT outcome, attempt, worker, data, result, error, finished_at >= started_at AS in_order
  FROM artery.job_execution_history WHERE tenant_id = 'job_a' AND job_id = :job_1;
SELECT count(*) AS left_in_queue FROM artery.job WHERE tenant_id = 'job_a' AND job_id = :job_1;

-- Failing: tried again after 2 s, 4 s, 8 s ... (attribution-matching begins with 2 s).
SELECT artery.fail_job('job_a', :job_2, 1, 'first');
SELECT state, run_at - failed_at AS backoff, last_error, worker, lease_until FROM artery.job WHERE tenant_id = 'job_a' AND job_id = :job_2;
SELECT count(*) AS too_early FROM artery.claim_jobs('attribution-matching', 'w', 10, 'job_a');
SET artery.clock_offset = 3;
SELECT data, attempt FROM artery.claim_jobs('attribution-matching', 'w', 10, 'job_a');
SELECT artery.fail_job('job_a', :job_2, 1, 'of an older attempt'), artery.fail_job('job_a', :job_2, 2, 'second');
SELECT run_at - failed_at AS backoff FROM artery.job WHERE tenant_id = 'job_a' AND job_id = :job_2;
RESET artery.clock_offset;

-- Dead after the last attempt: creative-dna-extraction has two, 15 s apart.
SELECT artery.enqueue_job('job_a', 'creative-dna-extraction', '{"ad": 1}') AS job \gset
SELECT attempt FROM artery.claim_jobs('creative-dna-extraction', 'py', 1, 'job_a');
SELECT artery.fail_job('job_a', :job, 1, 'no model');
SET artery.clock_offset = 16;
SELECT attempt FROM artery.claim_jobs('creative-dna-extraction', 'py', 1, 'job_a');
SELECT artery.fail_job('job_a', :job, 2, 'no model either');
SELECT job_name, data, attempt, max_attempts, last_error FROM artery.v_failed_jobs WHERE tenant_id = 'job_a';
SELECT outcome, error FROM artery.job_execution_history WHERE tenant_id = 'job_a' AND job_id = :job ORDER BY attempt;
SELECT count(*) AS dead_are_not_claimed FROM artery.claim_jobs('creative-dna-extraction', 'py', 1, 'job_a');
-- Revived with all attempts anew; attempts go on counting.
SELECT artery.retry_job('job_a', :job) = :job AS revived;
SELECT artery.retry_job('job_a', -1);
SELECT attempt, max_attempts FROM artery.claim_jobs('creative-dna-extraction', 'py', 1, 'job_a');
SELECT artery.complete_job('job_a', :job, 3);
SELECT job_name, executions, completed, failed, dead, lost, round(success_rate::numeric, 2) AS success_rate
  FROM artery.v_job_performance_by_tenant WHERE tenant_id = 'job_a' ORDER BY 1;
RESET artery.clock_offset;

-- One queued at a time per singleton_key; not per tenant or name.
SELECT artery.enqueue_job('job_a', 'synthetic-revenue-calculation', singleton_key => 'k') AS job_1 \gset
SELECT artery.enqueue_job('job_a', 'synthetic-revenue-calculation', singleton_key => 'k') = :job_1 AS same,
       artery.enqueue_job('job_b', 'synthetic-revenue-calculation', singleton_key => 'k') = :job_1 AS same_of_other_tenant,
       artery.enqueue_job('job_a', 'synthetic-revenue-calculation', singleton_key => 'l') = :job_1 AS same_of_other_key,
       artery.enqueue_job('job_a', 'synthetic-revenue-calculation') = :job_1 AS same_without_key;
-- While one runs, the next may be queued; a retry then makes room for it.
SELECT singleton_key FROM artery.claim_jobs('synthetic-revenue-calculation', 'w', 1, 'job_a');
SELECT artery.enqueue_job('job_a', 'synthetic-revenue-calculation', singleton_key => 'k') AS job_2 \gset
SELECT :job_2 > :job_1 AS new_one, artery.fail_job('job_a', :job_1, 1, 'busy');
SELECT job_id = :job_2 AS is_new_one, state FROM artery.job WHERE tenant_id = 'job_a' AND singleton_key = 'k';
SELECT outcome FROM artery.job_execution_history WHERE tenant_id = 'job_a' AND job_id = :job_1;

-- The hourly limit: 15 starts of ad-change in any 60 minutes, per tenant.
SELECT count(artery.enqueue_job('job_a', 'ad-change')), count(artery.enqueue_job('job_b', 'ad-change')) FROM generate_series(1, 20);
SELECT tenant_id, count(*) FROM artery.claim_jobs('ad-change', 'w', 100) GROUP BY 1 ORDER BY 1;
SELECT count(*) AS none FROM artery.claim_jobs('ad-change', 'w', 100);
SELECT tenant_id, limit_value, current_count, remaining, allowed, jobs_waiting,
       next_allowed_at BETWEEN artery.now() + interval '59 minutes' AND artery.now() + interval '1 hour' AS in_an_hour
  FROM artery.v_rate_limit_status WHERE tenant_id = ANY (ARRAY['job_a', 'job_b']) AND job_name = 'ad-change' ORDER BY 1;
SELECT tenant_id, queued, due, active, waiting_for_limit FROM artery.v_job_queue_health
 WHERE tenant_id = ANY (ARRAY['job_a', 'job_b']) AND job_name = 'ad-change' ORDER BY 1;
-- An hour later the other five may start.
SET artery.clock_offset = 3601;
UPDATE artery.job SET lease_until = artery.now() + interval '1 minute' WHERE tenant_id LIKE 'job\_%' AND state = 'active';
SELECT tenant_id, count(*) FROM artery.claim_jobs('ad-change', 'w', 100) GROUP BY 1 ORDER BY 1;
RESET artery.clock_offset;

-- Fair between tenants: each in turn, whoever was served longest ago first.
SELECT count(artery.enqueue_job('job_b', 'creative-dna-extraction', '{"x": 1}')) FROM generate_series(1, 3);
SELECT count(artery.enqueue_job('job_a', 'creative-dna-extraction', '{"x": 1}')) FROM generate_series(1, 2);
SELECT row_number() OVER () AS turn, tenant_id FROM artery.claim_jobs('creative-dna-extraction', 'py', 4);
SELECT tenant_id FROM artery.claim_jobs('creative-dna-extraction', 'py', 4);

-- A tenant turned off keeps its jobs waiting.
SELECT count(artery.enqueue_job('job_off', 'actuals-sync')) AS queued;
SELECT count(*) AS claimed FROM artery.claim_jobs('actuals-sync', 'w', 10, 'job_off');
SELECT artery.configure_tenant('job_off', '{"enabled": true}');
SELECT count(*) AS claimed FROM artery.claim_jobs('actuals-sync', 'w', 10, 'job_off');

-- The lease runs out: the next claim takes it back, and the late settle does nothing.
SELECT job_id AS job FROM artery.job WHERE tenant_id = 'job_off' \gset
SET artery.clock_offset = 601;
SELECT expired_leases FROM artery.v_job_queue_health WHERE tenant_id = 'job_off';
SELECT worker, attempt FROM artery.claim_jobs('actuals-sync', 'other', 10, 'job_off');
SELECT artery.complete_job('job_off', :job, 1) AS late, artery.complete_job('job_off', :job, 2) AS in_time;
SELECT attempt, outcome, worker, error FROM artery.job_execution_history WHERE tenant_id = 'job_off' ORDER BY attempt;
RESET artery.clock_offset;
-- A job lost in its last attempt is dead.
SELECT artery.enqueue_job('job_off', 'actuals-sync') AS job \gset
UPDATE artery.job SET attempt = 4 WHERE tenant_id = 'job_off' AND job_id = :job;
SELECT attempt FROM artery.claim_jobs('actuals-sync', 'w', 10, 'job_off');
SET artery.clock_offset = 601;
SELECT count(*) AS claimed FROM artery.claim_jobs('actuals-sync', 'w', 10, 'job_off');
SELECT attempt, last_error FROM artery.v_failed_jobs WHERE tenant_id = 'job_off';
RESET artery.clock_offset;
-- A job of a worker process that is gone is taken back at once.
SELECT artery.enqueue_job('job_off', 'attribution-matching') AS job \gset
SELECT count(*) FROM artery.take_jobs('attribution-matching', 'artery worker', 1, 'job_off', 2147483647);
SELECT artery.rescue_jobs() AS rescued;
SELECT state, last_error FROM artery.job WHERE tenant_id = 'job_off' AND job_id = :job;

-- Limits need to see what others started.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT artery.claim_jobs('ad-change', 'w');
ROLLBACK;

-- With a million rows of history a claim reads the due jobs only, by the partial index.
BEGIN;
SET LOCAL enable_seqscan = on;
EXPLAIN (COSTS OFF) SELECT * FROM artery.job j
 WHERE j.tenant_id = 'job_a' AND j.job_name = 'ad-change' AND j.state = 'queued' AND j.run_at <= artery.now()
 ORDER BY j.priority DESC, j.run_at, j.job_id LIMIT 1 FOR UPDATE SKIP LOCKED;
ROLLBACK;

DELETE FROM artery.job WHERE tenant_id LIKE 'job\_%';
