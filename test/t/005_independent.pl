# A slow answer holds up nobody else, and no more requests are under way than
# allowed.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use Time::HiRes qw(time);
use ArteryTest qw(new_cluster add_tenant poll_until queue_budget state_of);

my $fake = ArteryTest::Fake->start;
my $node = new_cluster('independent', fake => $fake, conf => "artery.http_max_in_flight = 3\n");
add_tenant($node, 'acme');
add_tenant($node, 'other', meta_ad_account_id => '1');

# One hangs, the others are done within a second.
$fake->add_adset('slow', 10000);
$fake->fault(match => { path => '/slow$' }, times => 1, kind => 'pass', delay => 30);
my $slow = queue_budget($node, 'acme', 'slow', 100, 110);
poll_until(sub { scalar($fake->requests('GET', 'slow')) > 0 }, 'one request hangs');
for my $tenant (qw(acme other))
{
	$fake->add_adset("quick-$tenant", 10000);
	my $id = queue_budget($node, $tenant, "quick-$tenant", 100, 110);
	my $began = time;

	poll_until(sub { state_of($node, $id) eq 'completed' }, "a change of $tenant is completed", 5);
	cmp_ok(time - $began, '<', 1, 'within a second');
}
is(state_of($node, $slow), 'sending', 'while the first still hangs');

# Twenty at once: never more than three under way.
$fake->control('DELETE', 'log');
$fake->fault(match => { path => '/m\d+$' }, times => -1, kind => 'pass', delay => 0.05);
my @ids;
for my $n (1 .. 20)
{
	$fake->add_adset("m$n", 10000);
	push @ids, queue_budget($node, $n % 2 ? 'acme' : 'other', "m$n", 100, 110);
}
my $list = join ',', map { "'$_'" } @ids;
poll_until(sub { $node->safe_psql('postgres', "SELECT count(*) FROM artery.ad_change
	WHERE change_id IN ($list) AND state = 'completed'") eq '20' }, 'twenty changes are completed', 60);
my $log = $fake->control('GET', 'log');
cmp_ok($log->{max_in_flight}, '<=', 3, "at most three requests at once ($log->{max_in_flight})");
is(scalar(grep { $_->{method} eq 'POST' } @{ $log->{requests} }), 20, 'each was written once');

# Answers that make no sense fail their own change only.
my %nonsense = (
	junk => { kind => 'bytes', hex => '00fffe7b22' },
	deep => { kind => 'error', status => 200, body => '[' x 20000 },
	long => { kind => 'error', status => 200, body => '{"a":"' . 'x' x 1_200_000 . '"}' },
	empty => { kind => 'error', status => 200, body => '' },
	html => { kind => 'error', status => 502, body => '<html>502 Bad Gateway</html>' },
	half => { kind => 'truncated' },
	minus => { kind => 'error', status => 200, body => '{"daily_budget":"-5","id":"x"}' },
	words => { kind => 'error', status => 200, body => '{"daily_budget":"a lot","id":"x"}' });
my %change;
for my $name (sort keys %nonsense)
{
	$fake->add_adset($name, 10000);
	$fake->fault(match => { method => 'GET', path => "/$name\$" }, times => 1, %{ $nonsense{$name} });
	$change{$name} = queue_budget($node, 'acme', $name, 100, 110);
}
for my $name (sort keys %nonsense)
{
	poll_until(sub { $node->safe_psql('postgres', "SELECT count(*) FROM artery.ad_change_history
		WHERE change_id = '$change{$name}' AND outcome = 'retry' AND error <> ''") eq '1' }, "$name: noted, to be tried again");
	is(scalar($fake->requests('POST', $name)), 0, "$name: nothing was sent");
}
my $id = queue_budget($node, 'acme', 'm1', 110, 115);
poll_until(sub { state_of($node, $id) =~ /completed|blocked/ }, 'and the worker lives');
is($node->safe_psql('postgres', "SELECT count(*) FROM artery.ad_change WHERE state = 'failed'"), '0', 'none of them failed for good');

# Somebody holds a lock on a change: that change waits, no attempt is spent, the others go on.
$fake->add_adset($_, 10000) for qw(locked unlocked);
my $locker = $node->background_psql('postgres');
$node->append_conf('postgresql.conf', 'artery.enabled = off');
$node->reload;
my $locked = queue_budget($node, 'acme', 'locked', 100, 110);
$locker->query_safe("BEGIN; SELECT FROM artery.ad_change WHERE change_id = '$locked' FOR UPDATE");
$node->append_conf('postgresql.conf', 'artery.enabled = on');
$node->reload;
my $unlocked = queue_budget($node, 'acme', 'unlocked', 100, 110);
poll_until(sub { state_of($node, $unlocked) eq 'completed' }, 'a lock on one change holds up no other', 10);
$locker->query_safe('COMMIT');
poll_until(sub { state_of($node, $locked) eq 'completed' }, 'the locked one follows', 20);
is($node->safe_psql('postgres', "SELECT failures FROM artery.ad_change WHERE change_id = '$locked'"), '0', 'no attempt was spent');
$locker->quit;

# Meta serves an outdated version by a newer one: told once.
$node->append_conf('postgresql.conf', "artery.meta_api_version = 'v24.0'");
$node->reload;
$fake->add_adset('v24', 10000);
my $old = queue_budget($node, 'acme', 'v24', 100, 110);
poll_until(sub { state_of($node, $old) eq 'completed' }, 'a version about to end still works');
ok($node->log_contains('Meta does not serve version v24.0'), 'and is told of');

# The global stop.
$node->append_conf('postgresql.conf', 'artery.enabled = off');
$node->reload;
$fake->add_adset('stop', 10000);
$id = queue_budget($node, 'acme', 'stop', 100, 110);
sleep 2;
is(scalar($fake->requests('GET', 'stop')), 0, 'artery.enabled = off stops all sending');
$node->append_conf('postgresql.conf', 'artery.enabled = on');
$node->reload;
poll_until(sub { state_of($node, $id) eq 'completed' }, 'on goes on');

$node->stop;
$fake->stop;
done_testing();
