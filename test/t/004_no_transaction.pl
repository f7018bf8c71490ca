# While a request is under way there is no transaction, no snapshot and no lock;
# so DROP EXTENSION does not wait for it either.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use Time::HiRes qw(sleep time);
use ArteryTest qw(new_cluster add_tenant poll_until worker_pid queue_budget state_of);

my $fake = ArteryTest::Fake->start;
my $node = new_cluster('no_transaction', fake => $fake);
add_tenant($node, 'acme');

my $held = q{
	SELECT count(*) FILTER (WHERE a.xact_start IS NOT NULL), count(*) FILTER (WHERE a.backend_xmin IS NOT NULL),
	       (SELECT count(*) FROM pg_locks l JOIN pg_stat_activity w ON w.pid = l.pid
	         WHERE w.backend_type LIKE 'artery%' AND l.locktype <> 'virtualxid')
	  FROM pg_stat_activity a WHERE a.backend_type LIKE 'artery%'};

for my $method (qw(GET POST))
{
	my $adset = "s$method";

	$fake->add_adset($adset, 10000);
	$fake->fault(match => { method => $method, path => "/$adset\$" }, times => 1, kind => 'pass', delay => $method eq 'POST' ? 10 : 3);
	my $id = queue_budget($node, 'acme', $adset, 100, 110);
	poll_until(sub { scalar($fake->requests($method, $adset)) > 0 }, "a $method is under way");
	my $began = time;
	my %seen;
	while (time - $began < ($method eq 'POST' ? 9 : 2))
	{
		$seen{ $node->safe_psql('postgres', $held) }++;
		sleep 0.1;
	}
	is_deeply([ keys %seen ], ['0|0|0'], "$method: however often one looks, no transaction, no snapshot, no lock");
	is($node->safe_psql('postgres', "SELECT state, wait_event_type FROM pg_stat_activity
		WHERE backend_type = 'artery worker'"), 'idle|Extension', 'the worker is idle and waits');
	isnt(state_of($node, $id), 'completed', 'all of this while it was under way');
	poll_until(sub { state_of($node, $id) eq 'completed' }, 'and it is completed');
}

# The extension goes and comes while a request hangs.
$fake->add_adset('hang', 10000);
$fake->fault(match => { path => '/hang$' }, times => -1, kind => 'pass', delay => 60);
queue_budget($node, 'acme', 'hang', 100, 110);
poll_until(sub { scalar($fake->requests('GET', 'hang')) > 0 }, 'a request hangs');
my $began = time;
$node->safe_psql('postgres', 'DROP EXTENSION artery CASCADE');
cmp_ok(time - $began, '<', 5, 'DROP EXTENSION does not wait for it');
$node->safe_psql('postgres', 'CREATE EXTENSION artery');
add_tenant($node, 'acme');
$fake->add_adset('again', 10000);
my $id = queue_budget($node, 'acme', 'again', 100, 110);
poll_until(sub { state_of($node, $id) eq 'completed' }, 'created again, it sends again');

$node->stop;
$fake->stop;
done_testing();
