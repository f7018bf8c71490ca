# Whatever dies whenever: an approved change is sent, and its value is set at
# Meta no more than once.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use ArteryTest qw(new_cluster add_tenant poll_until worker_pid queue_budget state_of);

my $fake = ArteryTest::Fake->start;
my $node = new_cluster('crash', fake => $fake, conf => "restart_after_crash = on\n");
add_tenant($node, 'acme');
my $id;

sub outcomes
{
	my ($change) = @_;
	return $node->safe_psql('postgres', "SELECT string_agg(outcome, ' ' ORDER BY history_id) FROM artery.ad_change_history
		WHERE change_id = '$change'");
}

# The whole server dies right after the commit; its first request, if any, hangs.
$fake->add_adset('a1', 10000);
$fake->fault(match => { path => '/a1$' }, times => 1, kind => 'pass', delay => 60);
$id = queue_budget($node, 'acme', 'a1', 100, 110);
$node->stop('immediate');
$fake->clear_faults;
$node->start;
poll_until(sub { state_of($node, $id) eq 'completed' }, 'sent after a crash of the server', 30);
is_deeply([ $fake->changes('a1') ], [11000], 'once');

# The worker dies while its write is on the way and Meta applies it: unknown, then found applied.
$fake->add_adset('a2', 10000);
$fake->fault(match => { method => 'POST', path => '/a2$' }, times => 1, kind => 'delay_after', seconds => 30);
$id = queue_budget($node, 'acme', 'a2', 100, 110);
poll_until(sub { scalar($fake->requests('POST', 'a2')) == 1 }, 'the write is under way');
is(state_of($node, $id), 'sending', 'the change is being sent');
my $worker = worker_pid($node);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)");
poll_until(sub { outcomes($id) =~ /unknown/ }, 'after the worker is gone its outcome is unknown', 10);
poll_until(sub { state_of($node, $id) eq 'completed' }, 'it is found applied', 30);
is_deeply([ $fake->changes('a2') ], [11000], 'and was not set a second time');
like(outcomes($id), qr/unknown reconciled/, 'the history tells how it was found out');

# The same, but Meta never applied it: sent again.
$fake->add_adset('a3', 10000);
$fake->fault(match => { method => 'POST', path => '/a3$' }, times => 1, kind => 'close_before', delay => 30);
$id = queue_budget($node, 'acme', 'a3', 100, 110);
poll_until(sub { scalar($fake->requests('POST', 'a3')) == 1 }, 'a write hangs before Meta applied it');
kill 'KILL', worker_pid($node);	# takes the whole server down and up again
$node->poll_query_until('postgres', 'SELECT true') or die 'the server did not come back';
poll_until(sub { state_of($node, $id) eq 'completed' }, 'it is sent again', 30);
is_deeply([ $fake->changes('a3') ], [11000], 'and set once');

# The connection breaks: the two halves of doubt, without any crash of ours.
for my $kind (qw(close_after close_before))
{
	my $adset = "b_$kind";

	$fake->add_adset($adset, 10000);
	$fake->fault(match => { method => 'POST', path => "/$adset\$" }, times => 1, kind => $kind);
	$id = queue_budget($node, 'acme', $adset, 100, 110);
	poll_until(sub { state_of($node, $id) eq 'completed' }, "$kind: completed in the end", 30);
	is_deeply([ $fake->changes($adset) ], [11000], "$kind: set once");
	like(outcomes($id), qr/unknown reconciled/, "$kind: after it had been unknown");
	is(scalar($fake->requests('POST', $adset)), $kind eq 'close_after' ? 1 : 2, "$kind: written no more often than needed");
	is(($fake->requests('POST', $adset))[0]{connection}, ($fake->requests('GET', $adset))[0]{connection},
		"$kind: though on a connection used before, where libcurl would repeat it");
}

# Somebody else changes the budget while the outcome is unknown: theirs stands.
$fake->add_adset('a4', 10000);
$fake->fault(match => { method => 'POST', path => '/a4$' }, times => 1, kind => 'close_before');
$id = queue_budget($node, 'acme', 'a4', 100, 110);
poll_until(sub { state_of($node, $id) eq 'unknown' }, 'a write got lost');
$fake->control('PATCH', 'objects/a4', { daily_budget => '20000' });
poll_until(sub { state_of($node, $id) eq 'superseded' }, 'a person changed it meanwhile: superseded', 30);
is($fake->budget('a4'), '20000', 'and left alone');

# Accepted with success and ignored: the read back tells.
$fake->add_adset('a5', 10000);
$fake->fault(match => { method => 'POST', path => '/a5$' }, times => 1, kind => 'ignore');
$id = queue_budget($node, 'acme', 'a5', 100, 110);
poll_until(sub { state_of($node, $id) eq 'completed' }, 'what was accepted and ignored is sent again', 30);
is($fake->budget('a5'), '11000', 'until it is in force');

ok(!$node->log_contains('PANIC|TRAP'), 'nothing broke');
$node->stop;
$fake->stop;
done_testing();
