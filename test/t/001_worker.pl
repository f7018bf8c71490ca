# The launcher and the workers: there when they should be, back when they were
# ended, quiet when idle, awake at a commit.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use Time::HiRes qw(sleep time);
use ArteryTest qw(new_cluster add_tenant poll_until worker_pid queue_budget state_of);

my $fake = ArteryTest::Fake->start;
my $node = new_cluster('worker', fake => $fake, conf => "log_statement = none\nmax_worker_processes = 12\n");

like(worker_pid($node), qr/^\d+$/, 'there is one worker that delivers');
like(worker_pid($node, 'artery jobs'), qr/^\d+$/, 'and one for jobs');
like(worker_pid($node, 'artery launcher'), qr/^\d+$/, 'and one launcher');
is($node->safe_psql('postgres', "SELECT datname, application_name, state FROM pg_stat_activity
	WHERE backend_type IN ('artery worker', 'artery jobs') ORDER BY backend_type"),
	"postgres|artery jobs postgres|idle\npostgres|artery worker postgres|idle", 'they show where they work and that they are idle');
is($node->safe_psql('postgres', "SELECT worker_pid || ' ' || jobs_pid FROM artery.worker_status()"),
	worker_pid($node) . ' ' . worker_pid($node, 'artery jobs'), 'worker_status knows both');

# Ended by the administrator: back within 5 s, the launcher too.
for my $type ('artery worker', 'artery jobs', 'artery launcher')
{
	my $before = worker_pid($node, $type);

	$node->safe_psql('postgres', "SELECT pg_terminate_backend($before)");
	poll_until(sub { my $now = worker_pid($node, $type); $now ne '' && $now ne $before }, "$type is back in time", 5);
}
my $worker = worker_pid($node);
my $launcher = worker_pid($node, 'artery launcher');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($launcher)");
poll_until(sub { my $now = worker_pid($node, 'artery launcher'); $now ne '' && $now ne $launcher }, 'once more');
is(worker_pid($node), $worker, 'a new launcher adopts the worker that runs');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)");
poll_until(sub { my $now = worker_pid($node); $now ne '' && $now ne $worker }, 'and notices the end of an adopted one', 5);
is($node->safe_psql('postgres', "SELECT string_agg(backend_type, ', ' ORDER BY backend_type) FROM pg_stat_activity WHERE backend_type LIKE 'artery%'"),
	'artery jobs, artery launcher, artery worker', 'there is still one of each only');

# Awake at a commit: the change is with Meta at once, not at the next look.
add_tenant($node, 'acme');
my $fastest = 60;
for my $round (1 .. 3)
{
	my $adset = "w$round";

	$fake->add_adset($adset, 10000);
	$node->safe_psql('postgres', "SELECT artery.register_ad('acme', 'ad-$adset', 'c$adset', '$adset')");
	sleep 0.3;
	queue_budget($node, 'acme', $adset, 100, 110);
	poll_until(sub { scalar($fake->requests('GET', $adset)) > 0 }, "change $round reaches Meta") or next;
	my $asked = ($fake->requests('GET', $adset))[0]{at};
	my $approved = $node->safe_psql('postgres', "SELECT extract(epoch FROM recorded_at) FROM artery.ad_change_history
		WHERE target_id = '$adset' AND outcome = 'approved'");
	cmp_ok($asked - $approved, '<', 0.5, sprintf('within %.0f ms', 1000 * ($asked - $approved)));
	$fastest = $asked - $approved if $asked - $approved < $fastest;
}
cmp_ok($fastest, '<', 0.2, 'a machine that is not busy needs less than 200 ms');

# Not at a rollback.
poll_until(sub { $node->safe_psql('postgres', "SELECT count(*) FROM artery.ad_change WHERE state <> 'completed'") eq '0' },
	'all is done');
sleep 0.5;
my $rounds = 'SELECT rounds FROM artery.worker_status()';
my $jobs_rounds = 'SELECT jobs_rounds FROM artery.worker_status()';
my $jobs_before = $node->safe_psql('postgres', $jobs_rounds);
my $before = $node->safe_psql('postgres', $rounds);
$node->safe_psql('postgres', q{BEGIN; SELECT artery.queue_ad_change('acme', 'cw1', 'BUDGET_INCREASE', '{"budget": 110}',
	'{"budget": 115}', 'test', adset_id => 'w1'); SELECT artery.wake_worker(); ROLLBACK});
sleep 0.5;
is($node->safe_psql('postgres', $rounds), $before, 'a rollback wakes nobody');
$node->safe_psql('postgres', 'SELECT artery.wake_worker()');
poll_until(sub { $node->safe_psql('postgres', $rounds) > $before }, 'a commit does', 1);
is($node->safe_psql('postgres', $jobs_rounds), $jobs_before, 'the one for jobs sleeps on');
$before = $node->safe_psql('postgres', $rounds);
$node->safe_psql('postgres', "SELECT artery.enqueue_job('acme', 'attribution-matching')");
poll_until(sub { $node->safe_psql('postgres', $jobs_rounds) > $jobs_before }, 'a job wakes that', 1);
is($node->safe_psql('postgres', $rounds), $before, 'and not the other');

# However often one transaction wakes it, that is one wake-up, at its commit.
$before = $node->safe_psql('postgres', $rounds);
is($node->safe_psql('postgres', "BEGIN; SELECT count(artery.wake_worker()) FROM generate_series(1, 10000); $rounds; COMMIT"), "10000\n$before",
	'nobody is woken before the commit');
poll_until(sub { $node->safe_psql('postgres', $rounds) > $before }, 'then the worker is', 1);
sleep 0.5;
cmp_ok($node->safe_psql('postgres', $rounds) - $before, '<', 4, 'once, not ten thousand times');

# Quiet when idle: their transactions of 30 seconds, seen from another database.
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
sleep 1.5;	# statistics of our own sessions
my $commits = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = 'postgres'";
$before = $node->safe_psql('elsewhere', $commits);
sleep 30;
my $after = $node->safe_psql('elsewhere', $commits);
cmp_ok($after - $before, '<', 3, 'idle workers make less than 3 transactions in 30 seconds, fewer than 6 a minute');

# Other databases: listed later, without the extension, not there at all.
$node->append_conf('postgresql.conf', "artery.databases = 'postgres, elsewhere, missing'");
$node->reload;
poll_until(sub { $node->safe_psql('postgres', "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_stat_activity
	WHERE backend_type IN ('artery worker', 'artery jobs')") eq 'elsewhere elsewhere postgres postgres' }, 'a database that is listed gets its workers');
poll_until(sub { $node->log_contains('database "missing" does not exist') }, 'a missing one is tried');
$node->safe_psql('elsewhere', 'CREATE EXTENSION artery');
$node->safe_psql('elsewhere', 'DROP EXTENSION artery');
$node->append_conf('postgresql.conf', "artery.databases = 'postgres'");
$node->reload;
poll_until(sub { $node->safe_psql('postgres', "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_stat_activity
	WHERE backend_type IN ('artery worker', 'artery jobs')") eq 'postgres postgres' }, 'one that is listed no more loses them', 5);

# Ends within 2 s with a request of a minute under way.
$fake->add_adset('hang', 10000);
$fake->fault(match => { path => '/hang$' }, times => -1, kind => 'pass', delay => 60);
queue_budget($node, 'acme', 'hang', 100, 110);
poll_until(sub { scalar($fake->requests('GET', 'hang')) > 0 }, 'a request hangs');
$worker = worker_pid($node);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)");
poll_until(sub { kill(0, $worker) == 0 }, 'the worker ends in time', 2);
poll_until(sub { scalar($fake->requests('GET', 'hang')) > 1 }, 'its successor takes the change over', 10);
my $began = time;
$node->stop('fast');
cmp_ok(time - $began, '<', 5, 'a fast shutdown does not wait for the request');

# Where there is room for one worker only, beside the launchers of artery and of logical replication, that is the one that delivers.
$fake->clear_faults;
$node->append_conf('postgresql.conf', 'max_worker_processes = 3');
$node->start;
poll_until(sub { $node->safe_psql('postgres', "SELECT state FROM artery.ad_change WHERE target_id = 'hang'") eq 'completed' },
	'with room for one worker, changes are delivered');
like($node->safe_psql('postgres', q{SELECT artery.health() ->> 'problems'}), qr/the worker for jobs of this database is not running: see max_worker_processes/,
	'and health tells what is missing');
$node->stop;

$fake->stop;
done_testing();
