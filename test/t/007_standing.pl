# Under which circumstances the worker works: as a role that is no superuser, with
# the right version of the extension, on a primary; and how it bears a long queue.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use PostgreSQL::Test::Cluster;
use Time::HiRes qw(sleep);
use ArteryTest qw(new_cluster add_tenant poll_until worker_pid queue_budget queue_many state_of);

my $fake = ArteryTest::Fake->start;
my $node = new_cluster('standing', fake => $fake, conf => "max_wal_senders = 4\nwal_level = replica\nhot_standby = on\n");
add_tenant($node, 'acme');

# As a role that may connect and nothing else.
$node->safe_psql('postgres', 'CREATE ROLE artery_worker LOGIN');
my $before = worker_pid($node);
$node->append_conf('postgresql.conf', "artery.worker_role = 'artery_worker'");
$node->reload;
poll_until(sub { $node->safe_psql('postgres', "SELECT usename FROM pg_stat_activity WHERE backend_type = 'artery worker'")
	eq 'artery_worker' }, 'the worker connects as the role it is told to');
$fake->add_adset('r1', 10000);
my $id = queue_budget($node, 'acme', 'r1', 100, 110);
poll_until(sub { state_of($node, $id) eq 'completed' }, 'and sends without being superuser');

# A role that cannot connect: told in the log, not tried too often, cured by the setting.
$node->append_conf('postgresql.conf', "artery.worker_role = 'nobody'");
$node->reload;
poll_until(sub { $node->log_contains('role "nobody" does not exist') }, 'an unknown role is told of');
sleep 5;
cmp_ok(() = PostgreSQL::Test::Utils::slurp_file($node->logfile) =~ /role "nobody" does not exist/g, '<', 6,
	'and not tried every second');
$node->append_conf('postgresql.conf', "artery.worker_role = 'artery_worker'");
$node->reload;
poll_until(sub { worker_pid($node) ne '' }, 'the right role brings it back', 10);

# Library and extension of different versions: accept, but do not send.
$node->safe_psql('postgres', "UPDATE pg_extension SET extversion = '0.9' WHERE extname = 'artery'");
$fake->add_adset('v1', 10000);
$id = queue_budget($node, 'acme', 'v1', 100, 110);
poll_until(sub { $node->log_contains("the extension is not of the library's version") }, 'another version is told of');
sleep 1;
is(scalar($fake->requests('GET', 'v1')), 0, 'nothing is sent meanwhile');
is(state_of($node, $id), 'approved', 'what is queued waits');
$node->safe_psql('postgres', "UPDATE pg_extension SET extversion = '1.0' WHERE extname = 'artery'; SELECT artery.wake_worker()");
poll_until(sub { state_of($node, $id) eq 'completed' }, 'it is sent when the versions agree', 10);

# A long queue, ten thousand requests: memory stays, and so does the number under way at once.
my $pid = worker_pid($node);

sub memory_mb
{
	my ($kb) = PostgreSQL::Test::Utils::slurp_file("/proc/$pid/status") =~ /RssAnon:\s+(\d+)/;
	return $kb / 1024;
}
my $small = memory_mb();
$fake->add_adsets('q', 3400);
$fake->control('DELETE', 'log');
queue_many($node, 'acme', 'q', 3400);
poll_until(sub { $node->safe_psql('postgres', "SELECT count(*) FROM artery.ad_change WHERE state = 'completed' AND target_id ~ '^q'") eq '3400' },
	'a long queue is worked off', 240);
cmp_ok(scalar(@{ $fake->control('GET', 'log')->{requests} }), '>=', 10000, 'by more than ten thousand requests');
cmp_ok(memory_mb() - $small, '<', 50, sprintf('memory grew by %.1f MB', memory_mb() - $small));
cmp_ok($fake->control('GET', 'log')->{max_in_flight}, '<=', 8, 'never more requests at once than allowed');
is(worker_pid($node), $pid, 'by one worker all the time');
poll_until(sub { $node->safe_psql('postgres', "SELECT n_tup_upd > 3400 FROM pg_stat_user_tables
	WHERE relid = 'artery.ad_change'::regclass") eq 't' }, 'what the worker writes reaches the statistics', 5);

# A standby sends nothing; promoted, it does.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'artery%'"), '0',
	'a standby has no launcher');
$node->stop;
$standby->promote;
$fake->add_adset('s1', 10000);
$id = queue_budget($standby, 'acme', 's1', 100, 110);
poll_until(sub { state_of($standby, $id) eq 'completed' }, 'after promotion it sends', 15);

$standby->stop;
$fake->stop;
done_testing();
