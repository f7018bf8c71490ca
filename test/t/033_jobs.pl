# Jobs with the real worker and with many claimers at once: woken by a commit,
# work undone by an error, a worker that is killed, a role that is no superuser,
# eight sessions at a thousand jobs, a long history.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('jobs');
$node->init;
$node->append_conf('postgresql.conf', slurp_file($ENV{ARTERY_TEST_CONF})) if $ENV{ARTERY_TEST_CONF};
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'artery'
artery.databases = 'postgres'
log_statement = none
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION artery;
	SELECT artery.add_tenant('acme', 'service_business', settings => '{"daily_budget": 100, "high_value": 100000}');
	SELECT artery.register_ad('acme', 'ad_1', 'campaign_1', 'adset_1'), artery.observe_budget('acme', 'adset_1', 50);
});
sub ask { return $node->safe_psql('postgres', shift); }
sub wait_for { my ($query, $what) = @_; ok($node->poll_query_until('postgres', $query), $what); return; }
sub jobs_pid { return ask('SELECT jobs_pid FROM artery.worker_status()'); }

wait_for('SELECT jobs_pid IS NOT NULL FROM artery.worker_status()', 'the worker for jobs is there');

# A commit wakes the worker at once.
my $began = time;
ask(q{SELECT artery.enqueue_job('acme', 'budget-optimization')});
wait_for(q{SELECT count(*) = 1 FROM artery.job_execution_history WHERE job_name = 'budget-optimization' AND outcome = 'completed'},
	'a budget decision is made');
cmp_ok(time - $began, '<', 2, 'within moments of the commit');
is(ask(q{SELECT result ->> 'ads' FROM artery.job_execution_history WHERE job_name = 'budget-optimization'}), '1', 'for the ad there is');
is(ask('SELECT count(*) FROM artery.allocation_run'), '1', 'and is stored');

# An error undoes the work and becomes the job's failure; the worker goes on.
ask(q{SELECT artery.enqueue_job('acme', 'attribution-matching', '{"since": "no time"}')});
wait_for(q{SELECT count(*) > 0 FROM artery.job_execution_history WHERE outcome = 'failed'}, 'a poisoned job fails');
like(ask(q{SELECT last_error FROM artery.job WHERE job_name = 'attribution-matching'}), qr/invalid input syntax/, 'with its reason');
is(ask(q{SELECT state FROM artery.job WHERE job_name = 'attribution-matching'}), 'queued', 'and will be tried again');
ask(q{DELETE FROM artery.job});
is(ask(q{SELECT coalesce(last_error, jobs_last_error) IS NULL FROM artery.worker_status()}), 't', 'it is no error of the worker');

# The pass over increments repairs what somebody broke.
ask(q{SELECT artery.record_stage('acme', 'deal', 'lead'), artery.record_stage('acme', 'deal', 'show_up');
      UPDATE artery.deal_stage_event SET increment = 1 WHERE stage_to = 'show_up';
      SELECT artery.enqueue_job('acme', 'synthetic-revenue-calculation')});
wait_for(q{SELECT sum(increment) = 9000 FROM artery.deal_stage_event}, 'increments add up to the value of the stage');

# A killed worker: what it had claimed is done by the next one, long before the lease ends.
my $pid = jobs_pid();
$node->safe_psql('postgres', qq{
	BEGIN;
	SELECT artery.enqueue_job('acme', 'attribution-matching');
	UPDATE artery.job SET state = 'active', attempt = 1, worker = 'artery jobs', worker_pid = $pid,
	       started_at = now(), lease_until = now() + interval '10 minutes';
	COMMIT;
});
ask("SELECT pg_terminate_backend($pid)");
wait_for(q{SELECT count(*) = 1 FROM artery.job_execution_history WHERE outcome = 'lost' AND error = 'the worker went away'},
	'the loss is recorded');
wait_for(q{SELECT count(*) = 0 FROM artery.job}, 'and the job is done');
is(ask(q{SELECT attempt FROM artery.job_execution_history WHERE job_name = 'attribution-matching' AND outcome = 'completed'}), '2',
	'in its second attempt');

# A worker that is no superuser does the same.
ask(q{CREATE ROLE artery_worker LOGIN});
$node->append_conf('postgresql.conf', "artery.worker_role = 'artery_worker'\n");
$node->reload;
wait_for(q{SELECT count(*) = 1 FROM pg_stat_activity a, artery.worker_status() w WHERE a.pid = w.jobs_pid AND a.usename = 'artery_worker'},
	'the worker connects as another role');
ask(q{SELECT artery.enqueue_job('acme', 'budget-optimization')});
wait_for(q{SELECT count(*) = 2 FROM artery.job_execution_history WHERE job_name = 'budget-optimization' AND outcome = 'completed'},
	'and does jobs without a right on any table');

# The eleventh budget decision of an hour waits; health knows that it is no delay.
ask(q{SELECT artery.enqueue_job('acme', 'budget-optimization') FROM generate_series(1, 9)});
wait_for(q{SELECT count(*) = 10 FROM artery.job_execution_history WHERE job_name = 'budget-optimization' AND outcome = 'completed'},
	'ten an hour');
is(ask(q{SELECT jobs_waiting || ' ' || allowed FROM artery.v_rate_limit_status WHERE job_name = 'budget-optimization'}), '1 false',
	'the eleventh waits');
is(ask(q{SELECT artery.health() ->> 'status'}), 'ok', 'which is healthy');
my $rounds = ask('SELECT rounds + jobs_rounds FROM artery.worker_status()');
sleep 2;
cmp_ok(ask('SELECT rounds + jobs_rounds FROM artery.worker_status()') - $rounds, '<=', 2, 'and the workers do not spin');

# Eight sessions at a thousand jobs: each is claimed once, each completed once.
ask(q{SELECT artery.add_tenant('tenant_' || n) FROM generate_series(1, 5) n;
      SELECT artery.enqueue_job('tenant_' || 1 + n % 5, 'actuals-sync') FROM generate_series(1, 1000) n});
my $script = PostgreSQL::Test::Utils::tempdir . '/claim.sql';
append_to_file($script, q{
SELECT artery.complete_job(tenant_id, job_id, attempt) FROM artery.claim_jobs('actuals-sync', 'w:client_id', 5);
});
command_ok([ 'pgbench', '-n', '-c', '8', '-j', '2', '-t', '40', '-f', $script, $node->connstr('postgres') ], 'eight claimers');
is(ask(q{SELECT count(*) || ' ' || count(DISTINCT job_id) FROM artery.job_execution_history WHERE job_name = 'actuals-sync'}),
	'1000 1000', 'each job was done once');

# ... and at a limited name: fifteen starts an hour and tenant, however many ask.
ask(q{SELECT artery.enqueue_job('tenant_' || 1 + n % 2, 'ad-change') FROM generate_series(1, 100) n});
append_to_file("$script.limited", q{SELECT count(*) FROM artery.claim_jobs('ad-change', 'w:client_id', 2);});
command_ok([ 'pgbench', '-n', '-c', '8', '-j', '2', '-t', '20', '-f', "$script.limited", $node->connstr('postgres') ],
	'eight claimers of limited jobs');
is(ask(q{SELECT string_agg(tenant_id || ' ' || n, ', ' ORDER BY tenant_id) FROM (SELECT tenant_id, count(*) AS n FROM artery.job
          WHERE job_name = 'ad-change' AND state = 'active' GROUP BY 1) s}), 'tenant_1 15, tenant_2 15', 'the limit holds');

# A long history slows no claim, and goes in batches.
ask(q{INSERT INTO artery.job_execution_history (tenant_id, job_id, job_name, attempt, outcome, queued_at, finished_at)
      SELECT 'tenant_1', n, 'actuals-sync', 1, 'completed', now(), now() - interval '31 days' FROM generate_series(1, 200000) n;
      ANALYZE artery.job_execution_history});
is(ask(q{SELECT deleted FROM artery.purge(5000) WHERE table_name = 'job_execution_history'}), '5000', 'a batch at a time');
$node->restart;
wait_for(q{SELECT count(*) = 0 FROM artery.job_execution_history WHERE finished_at < now() - interval '30 days'},
	'the worker purges the rest');
is(ask(q{SELECT coalesce(last_error, jobs_last_error) IS NULL FROM artery.worker_status()}), 't', 'without an error');

$node->stop;
done_testing();
