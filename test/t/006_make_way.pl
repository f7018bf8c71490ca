# Dropping, copying and renaming a database do not wait for artery's worker, even
# with a request under way; nobody else can disturb it.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use Time::HiRes qw(time);
use ArteryTest qw(new_cluster add_tenant poll_until worker_pid queue_budget state_of);

my $fake = ArteryTest::Fake->start;
my $node = new_cluster('make_way', fake => $fake);

sub workers
{
	return $node->safe_psql('template1', "SELECT coalesce(string_agg(datname, ' ' ORDER BY datname), '')
		FROM pg_stat_activity WHERE backend_type IN ('artery worker', 'artery jobs')");
}

# A second database, in which a request hangs.
sub busy_database
{
	my ($name) = @_;

	$node->safe_psql('template1', "CREATE DATABASE $name");
	$node->append_conf('postgresql.conf', "artery.databases = 'postgres, $name'");
	$node->reload;
	poll_until(sub { workers() =~ /\b$name $name\b/ }, "workers for $name");
	$node->safe_psql($name, q{
		CREATE EXTENSION artery;
		SELECT artery.add_tenant('acme', settings => '{"dry_run": false, "jitter_ms_min": 0, "jitter_ms_max": 0, "fuzz_percent": 0}');
		SELECT artery.set_secret('acme', 'meta_access_token', 'token');
		SELECT artery.register_ad('acme', 'ad', 'chang', 'hang')});
	my $before = scalar($fake->requests('GET', 'hang'));
	$node->safe_psql($name, q{
		WITH queued AS MATERIALIZED (SELECT artery.queue_ad_change('acme', 'chang', 'BUDGET_INCREASE', '{"budget": 100}',
			'{"budget": 110}', 'test', adset_id => 'hang') AS id)
		SELECT id FROM queued, LATERAL artery.approve_ad_change('acme', id, 'boss')});
	poll_until(sub { scalar($fake->requests('GET', 'hang')) > $before }, 'a request hangs');
	return;
}

sub in_time
{
	my ($sql, $what) = @_;
	my $began = time;

	my ($status, $out, $err) = $node->psql('template1', $sql);
	is($status, 0, $what) or diag $err;
	cmp_ok(time - $began, '<', 5, 'in time');
	return;
}

$fake->add_adset('hang', 10000);
$fake->fault(match => { path => '/hang$' }, times => -1, kind => 'pass', delay => 60);

busy_database('busy');
in_time('CREATE DATABASE copy TEMPLATE busy', 'a database is copied');
poll_until(sub { workers() =~ /busy busy/ }, 'its workers come back', 5);
in_time('ALTER DATABASE busy RENAME TO named', 'it is renamed');
in_time('ALTER DATABASE named RENAME TO busy', 'and back');
poll_until(sub { workers() =~ /busy busy/ }, 'its workers come back', 10);

# Those who may not do the command do not reach the worker.
$node->safe_psql('template1', 'CREATE ROLE visitor LOGIN CREATEDB');
my $worker = $node->safe_psql('template1', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'artery worker' AND datname = 'busy'");
my ($status) = $node->psql('template1', 'DROP DATABASE busy', extra_params => [ '-U', 'visitor' ]);
isnt($status, 0, 'a stranger may not drop it');
is($node->safe_psql('template1', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'artery worker' AND datname = 'busy'"),
	$worker, 'and does not disturb the worker');

# A command that fails lets the worker return.
($status) = $node->psql('template1', 'CREATE DATABASE copy TEMPLATE busy');
isnt($status, 0, 'a copy under a name that is taken fails');
poll_until(sub { workers() =~ /busy busy/ }, 'the workers come back', 5);

in_time('DROP DATABASE busy', 'it is dropped');
is(workers(), 'postgres postgres', 'the other database has its workers still');
poll_until(sub { $node->log_contains('database "busy" does not exist') }, 'the launcher tries the dropped one');

# The copy has a change that was being sent, by a worker it never had.
$fake->clear_faults;
$node->append_conf('postgresql.conf', "artery.databases = 'postgres, copy'");
$node->reload;
poll_until(sub { $node->safe_psql('copy', 'SELECT state FROM artery.ad_change') eq 'completed' },
	'in the copy the change is taken over and completed', 30);

# The extension goes without a deadlock with the worker, which holds some of the locks that this needs.
add_tenant($node, 'acme');
for my $round (1 .. 10)
{
	$node->safe_psql('postgres', "SELECT artery.enqueue_job('acme', 'attribution-matching'); SELECT artery.wake_worker()");
	my ($code, $out, $err) = $node->psql('postgres', 'DROP EXTENSION artery');
	is($code, 0, "dropped, round $round") or diag $err;
	$node->safe_psql('postgres', 'CREATE EXTENSION artery');
	add_tenant($node, 'acme');
}
my $present = worker_pid($node);
my $during = $node->safe_psql('postgres', q{BEGIN; LOCK TABLE artery.ad_change; DROP EXTENSION artery; ROLLBACK; SELECT count(*) FROM artery.tenant});
is($during, '1', 'nor does it wait for a worker that waits for it');
poll_until(sub { my $pid = worker_pid($node); $pid ne '' && $pid ne $present }, 'the worker stepped aside and came back');
poll_until(sub { worker_pid($node, 'artery jobs') ne '' }, 'so did the one for jobs');

# Created and updated extensions are noticed at once.
$node->safe_psql('postgres', 'DROP EXTENSION artery CASCADE');
poll_until(sub { worker_pid($node) ne '' }, 'the worker is there without the extension');
$node->safe_psql('postgres', 'CREATE EXTENSION artery');
add_tenant($node, 'acme');
$fake->add_adset('fresh', 10000);
my $id = queue_budget($node, 'acme', 'fresh', 100, 110);
poll_until(sub { state_of($node, $id) eq 'completed' }, 'the extension is found when it is created', 5);

$node->stop;
$fake->stop;
done_testing();
