# Allocations by the clock, with the real pg_cron.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('schedule');
$node->init;
$node->append_conf('postgresql.conf', slurp_file($ENV{ARTERY_TEST_CONF})) if $ENV{ARTERY_TEST_CONF};
$node->append_conf(
	'postgresql.conf', q{
shared_preload_libraries = 'pg_cron, artery'
cron.database_name = 'postgres'
cron.use_background_workers = on
max_worker_processes = 16
});
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION artery');
$node->safe_psql('postgres', q{
	SELECT artery.add_tenant('acme', settings => '{"daily_budget": 100}'),
	       artery.add_tenant('other', settings => '{"daily_budget": 100}');
	SELECT artery.register_ad('acme', 'ad_1', 'c1', 's1'), artery.register_ad('acme', 'ad_2', 'c1', 's2');
});

# pg_cron in the server, but not in this database: said, with a way out.
my ($status, $out, $err) = $node->psql('postgres', q{SELECT artery.schedule_allocation('acme', '* * * * *')});
like($err, qr/pg_cron is not installed in this database/, 'without pg_cron an error');
like($err, qr/HINT: .*cron\.schedule_in_database\('artery allocation acme', '\* \* \* \* \*', .*'postgres'\)/,
	'that gives the statement for another database');

$node->safe_psql('postgres', 'CREATE EXTENSION pg_cron');
($status, $out, $err) = $node->psql('postgres', q{SELECT artery.schedule_allocation('acme', 'at dawn')});
isnt($status, 0, 'a schedule that is none is refused');
is($node->safe_psql('postgres', 'SELECT count(*) FROM cron.job'), '0', 'and nothing is scheduled');

# Again is a new schedule, not a second job.
$node->safe_psql('postgres', q{SELECT artery.schedule_allocation('acme', '0 5 * * *')});
$node->safe_psql('postgres', q{SELECT artery.schedule_allocation('acme', '* * * * *')});
$node->safe_psql('postgres', q{SELECT artery.schedule_allocation('other', '0 5 * * *')});
is($node->safe_psql('postgres', q{SELECT jobname, schedule, command FROM cron.job WHERE jobname LIKE '% acme'}),
	q{artery allocation acme|* * * * *|SELECT artery.run_scheduled_allocation('acme')}, 'one job per tenant');

# What schedule_sql prints does what it says.
my $statement = $node->safe_psql('postgres', q{SELECT artery.schedule_sql('acme', '0 7 * * *')});
$node->safe_psql('postgres', "BEGIN; $statement ROLLBACK;");
pass('the statement for another database runs');

# An ordinary role with EXECUTE needs no right in pg_cron.
$node->safe_psql('postgres', q{
	CREATE ROLE planner LOGIN;
	GRANT USAGE ON SCHEMA artery TO planner;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA artery TO planner;
});
is($node->safe_psql('postgres', q{SET ROLE planner; SELECT artery.unschedule_allocation('other')}), 't', 'a plain role takes a schedule back');
is($node->safe_psql('postgres', q{SELECT artery.unschedule_allocation('other')}), 'f', 'which was the only one');

# Within a minute and a bit, pg_cron has run it.
local $PostgreSQL::Test::Utils::timeout_default = 100;
ok($node->poll_query_until('postgres', q{SELECT count(*) >= 1 FROM artery.allocation_run WHERE tenant_id = 'acme'}),
	'pg_cron ran the allocation');
is($node->safe_psql('postgres', q{SELECT ads, total_budget FROM artery.allocation_run WHERE tenant_id = 'acme' ORDER BY run_id LIMIT 1}),
	'2|100', 'of both ads');
is($node->safe_psql('postgres', q{SELECT sum(recommended_budget) FROM artery.budget_recommendation WHERE tenant_id = 'acme' AND run_id =
	(SELECT min(run_id) FROM artery.allocation_run WHERE tenant_id = 'acme')}), '100.00', 'to the cent');

is($node->safe_psql('postgres', q{SELECT artery.unschedule_allocation('acme')}), 't', 'unscheduled');
is($node->safe_psql('postgres', 'SELECT count(*) FROM cron.job'), '0', 'no job is left');

# A tenant in shadow mode: the schedule decides, and proposes nothing.
$node->safe_psql('postgres', q{SELECT artery.configure_tenant('acme', '{"shadow": true, "daily_budget": 300}')});
is($node->safe_psql('postgres', q{SELECT artery.run_scheduled_allocation('acme')}), 'allocated 300.00 to 2 ads, in shadow',
	'a scheduled run in shadow mode says so');
is($node->safe_psql('postgres', q{SELECT mode || ' ' || proposed FROM artery.allocation_run WHERE tenant_id = 'acme' ORDER BY run_id DESC LIMIT 1}),
	'shadow 0', 'and proposes nothing');

# With the extension go its schedules, and only those, unless it stays after all.
$node->safe_psql('postgres', q{
	SELECT artery.schedule_allocation('acme', '0 5 * * *'), artery.schedule_allocation('other', '0 5 * * *'),
	       cron.schedule('mine', '0 5 * * *', 'SELECT 1'), cron.schedule('upkeep', '0 4 * * *', 'SELECT artery.purge()');
	BEGIN;
	DROP EXTENSION artery CASCADE;
	ROLLBACK;
});
is($node->safe_psql('postgres', 'SELECT count(*) FROM cron.job'), '4', 'a drop that is rolled back leaves the schedules');
($status, $out, $err) = $node->psql('postgres', 'SET ROLE planner; DROP EXTENSION artery');
like($err, qr/must be owner of extension artery/, 'who may not drop it is refused');
is($node->safe_psql('postgres', 'SELECT count(*) FROM cron.job'), '4', 'and takes nothing');
$node->safe_psql('postgres', 'DROP EXTENSION artery');
is($node->safe_psql('postgres', 'SELECT jobname FROM cron.job'), 'mine', 'DROP EXTENSION takes the schedules of artery along');
$node->safe_psql('postgres', 'DROP EXTENSION IF EXISTS artery');
$node->safe_psql('postgres', 'CREATE EXTENSION artery');
is($node->safe_psql('postgres', 'BEGIN; DROP EXTENSION pg_cron; DROP EXTENSION artery; ROLLBACK; SELECT count(*) FROM cron.job'), '1',
	'without pg_cron there is nothing to take');
$node->stop;
done_testing();
