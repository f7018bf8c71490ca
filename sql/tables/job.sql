-- job: work queued for artery's worker and for workers outside

-- One row: a type of job; shipped, read-only.
CREATE TABLE artery.job_config (
    job_name            text PRIMARY KEY,
    description         text NOT NULL,
    max_attempts        integer NOT NULL,
    backoff             interval NOT NULL,
    rate_limit_per_hour integer,
    lease               interval NOT NULL,
    runs_in             text NOT NULL,
    CHECK (runs_in = ANY (ARRAY['worker', 'outside']))
);
COMMENT ON TABLE artery.job_config IS
'Types of job: attempts, first backoff (doubling), limit per tenant in any 60 minutes (NULL: none), lease, and who does it: artery''s worker or one outside.';

INSERT INTO artery.job_config (job_name, description, max_attempts, backoff, rate_limit_per_hour, lease, runs_in) VALUES
    ('ad-change', 'Change an ad by a worker outside; artery''s own changes are in ad_change', 5, '5 seconds', 15, '5 minutes', 'outside'),
    ('budget-optimization', 'Decide budgets: allocate_budget', 3, '10 seconds', 10, '10 minutes', 'worker'),
    ('creative-dna-extraction', 'Score creatives, by a worker outside', 2, '15 seconds', 5, '15 minutes', 'outside'),
    ('actuals-sync', 'Read spend, clicks and budgets from Meta', 5, '5 seconds', NULL, '10 minutes', 'worker'),
    ('attribution-matching', 'Try unattributed conversions again: reattribute', 10, '2 seconds', NULL, '10 minutes', 'worker'),
    ('synthetic-revenue-calculation', 'Check and correct the increments of deals', 3, '5 seconds', NULL, '10 minutes', 'worker');

-- One row: a job that is not finished.
CREATE TABLE artery.job (
    tenant_id     text NOT NULL,
    job_id        bigint GENERATED ALWAYS AS IDENTITY,
    job_name      text NOT NULL,
    data          jsonb NOT NULL DEFAULT '{}',
    state         text NOT NULL DEFAULT 'queued',
    priority      integer NOT NULL DEFAULT 0,
    run_at        timestamptz NOT NULL,
    singleton_key text,
    attempt       integer NOT NULL DEFAULT 0,
    max_attempts  integer NOT NULL,
    worker        text,
    worker_pid    integer,
    lease_until   timestamptz,
    last_error    text,
    failed_at     timestamptz,
    created_at    timestamptz NOT NULL,
    started_at    timestamptz,
    PRIMARY KEY (tenant_id, job_id),
    CHECK (state = ANY (ARRAY['queued', 'active', 'dead']))
);
CREATE INDEX job_due ON artery.job (tenant_id, job_name, priority DESC, run_at, job_id) WHERE state = 'queued';
CREATE INDEX job_active ON artery.job (tenant_id, lease_until) WHERE state = 'active';
CREATE UNIQUE INDEX job_singleton ON artery.job (tenant_id, job_name, singleton_key)
    WHERE singleton_key IS NOT NULL AND state = 'queued';
COMMENT ON TABLE artery.job IS 'Jobs queued, active, or dead after their last attempt; finished ones move to job_execution_history.';
COMMENT ON COLUMN artery.job.attempt IS 'Raised with every claim; whoever settles must present it.';
COMMENT ON COLUMN artery.job.max_attempts IS 'Attempt whose failure makes the job dead; retry_job raises it.';
COMMENT ON COLUMN artery.job.worker_pid IS 'Process of artery''s own worker, so that its jobs are taken back as soon as it is gone; NULL for workers outside, which have the lease.';
COMMENT ON COLUMN artery.job.singleton_key IS 'At most one queued job of this name and key per tenant.';

-- One row: one execution of a job and its outcome.
CREATE TABLE artery.job_execution_history (
    tenant_id   text NOT NULL,
    history_id  bigint GENERATED ALWAYS AS IDENTITY,
    job_id      bigint NOT NULL,
    job_name    text NOT NULL,
    attempt     integer NOT NULL,
    outcome     text NOT NULL,
    worker      text,
    data        jsonb,
    result      jsonb,
    error       text,
    queued_at   timestamptz NOT NULL,
    started_at  timestamptz,
    finished_at timestamptz NOT NULL,
    duration_ms double precision,
    PRIMARY KEY (tenant_id, history_id),
    CHECK (outcome = ANY (ARRAY['completed', 'failed', 'dead', 'lost']))
);
CREATE INDEX job_execution_history_by_name ON artery.job_execution_history (tenant_id, job_name, finished_at);
CREATE INDEX job_execution_history_by_time ON artery.job_execution_history USING brin (finished_at);
COMMENT ON TABLE artery.job_execution_history IS 'Executions of jobs: completed, failed (will be tried again), dead (was the last attempt), lost (the worker went away).';

-- One row: a start of a job, counted against the hourly limit.
CREATE TABLE artery.job_rate_limit_tracker (
    tenant_id  text NOT NULL,
    job_name   text NOT NULL,
    started_at timestamptz NOT NULL,
    start_seq  bigint GENERATED ALWAYS AS IDENTITY,
    job_id     bigint NOT NULL,
    PRIMARY KEY (tenant_id, job_name, started_at, start_seq)
);
COMMENT ON TABLE artery.job_rate_limit_tracker IS 'Starts of jobs within the last hour, for the limit in any 60 minutes.';
