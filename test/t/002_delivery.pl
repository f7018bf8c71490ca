# An approved change is sent, read back and recorded; a large one ramps; what is
# blocked says when it can pass; a dry run sends nothing.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use ArteryTest qw(new_cluster add_tenant poll_until move_clock queue_budget state_of);

my $fake = ArteryTest::Fake->start;
my $node = new_cluster('delivery', fake => $fake);
add_tenant($node, 'acme');

# Sent, verified, recorded: 100 to 115 is within 20 %.
$fake->add_adset('s1', 10000);
my $id = queue_budget($node, 'acme', 's1', 100, 115);
poll_until(sub { state_of($node, $id) eq 'completed' }, 'an approved change is completed');
is($fake->budget('s1'), '11500', 'Meta has the new budget, in minor units');
is_deeply([ map { $_->{method} } @{ $fake->control('GET', 'log')->{requests} } ], [qw(GET POST GET)],
	'it was read, written once and read back');
is($node->safe_psql('postgres', "SELECT string_agg(outcome, ' ' ORDER BY history_id) FROM artery.ad_change_history
	WHERE change_id = '$id'"), 'proposed approved completed', 'the history tells it');
is($node->safe_psql('postgres', "SELECT (old_value ->> 'budget')::numeric, (new_value ->> 'budget')::numeric, dry_run,
	response ->> 'daily_budget', duration_ms > 0 FROM artery.ad_change_history
	WHERE change_id = '$id' AND outcome = 'completed'"), '100.00|115.00|f|11500|t', 'with values, answer and duration');
ok(!(grep { $_->{token_in_url} } @{ $fake->control('GET', 'log')->{requests} }), 'the token was in no address');

# What Meta says is in force counts, not what the caller thought: no change to what is so already.
$fake->add_adset('s2', 11000);
$id = queue_budget($node, 'acme', 's2', 100, 110);
poll_until(sub { state_of($node, $id) eq 'completed' }, 'a budget that is in force already completes the change');
is(scalar($fake->requests('POST', 's2')), 0, 'without being sent');

# A status.
$id = $node->safe_psql('postgres', q{
	WITH queued AS MATERIALIZED (
		SELECT artery.queue_ad_change('acme', 'cs1', 'STATUS_CHANGE', '{"status": "ACTIVE"}', '{"status": "PAUSED"}', 'test',
			adset_id => 's1') AS id)
	SELECT id FROM queued, LATERAL artery.approve_ad_change('acme', id, 'boss')});
poll_until(sub { state_of($node, $id) eq 'completed' }, 'a status change is completed');
is($fake->control('GET', 'objects/s1')->{status}, 'PAUSED', 'Meta has the new status');

# A dry run goes through all of it and sends nothing, nor asks.
add_tenant($node, 'dry', dry_run => JSON::PP::true);
$fake->add_adset('d1', 10000);
$node->safe_psql('postgres', q{SELECT artery.register_ad('dry', 'ad-d1', 'cd1', 'd1'); SELECT artery.observe_budget('dry', 'd1', 100)});
$id = queue_budget($node, 'dry', 'd1', 100, 110);
poll_until(sub { state_of($node, $id) eq 'completed' }, 'a dry run is completed');
is(scalar($fake->requests('POST', 'd1')) + scalar($fake->requests('GET', 'd1')), 0, 'nothing was sent');
is($node->safe_psql('postgres', "SELECT dry_run FROM artery.ad_change_history
	WHERE change_id = '$id' AND outcome = 'completed'"), 't', 'the history says so');

# No token: held, not failed; sent as soon as there is one.
$node->safe_psql('postgres', q{SELECT artery.add_tenant('bare', settings => '{"dry_run": false, "jitter_ms_min": 0, "jitter_ms_max": 0, "fuzz_percent": 0}')});
$fake->add_adset('b1', 10000);
$id = queue_budget($node, 'bare', 'b1', 100, 110);
poll_until(sub { state_of($node, $id) eq 'blocked' }, 'without a token a change is blocked');
is($node->safe_psql('postgres', "SELECT blocked_rule, failures FROM artery.ad_change WHERE change_id = '$id'"), 'token|0',
	'by the rule token, and no attempt is spent');
$node->safe_psql('postgres', q{SELECT artery.set_secret('bare', 'meta_access_token', 'token-of-bare')});
poll_until(sub { state_of($node, $id) eq 'completed' }, 'it is sent when the token is set');

# A ramp: each step the largest that 20 % of every budget of the last 6 hours allow.
#   100 * 1.2 = 120, * 1.2 = 144, * 1.2 = 172.80, * 1.2 = 207.36, * 1.2 = 248.832 -> 248.83, then the rest: 250
$fake->add_adset('r1', 10000);
$id = queue_budget($node, 'acme', 'r1', 100, 250);
my @expected = (12000, 14400, 17280, 20736, 24883, 25000);
for my $step (1 .. 6)
{
	poll_until(sub { scalar($fake->changes('r1')) >= $step }, "step $step is sent");
	last if $step == 6;
	poll_until(sub { state_of($node, $id) eq 'blocked' }, 'then it waits');
	is($node->safe_psql('postgres', "SELECT blocked_rule, next_allowed_at > artery.now() + interval '5 hours 50 minutes',
		next_allowed_at <= artery.now() + interval '6 hours' FROM artery.ad_change WHERE change_id = '$id'"), 'velocity|t|t',
		'for the velocity rule, and says when it can pass');
	move_clock($node, $step * (6 * 3600 + 60), $fake);
}
poll_until(sub { state_of($node, $id) eq 'completed' }, 'the ramp is completed');
is_deeply([ $fake->changes('r1') ], \@expected, 'by the steps it should have');
is($node->safe_psql('postgres', "SELECT count(*) FROM artery.ad_change_history WHERE change_id = '$id'
	AND outcome IN ('step', 'completed')"), '6', 'each with its own history row');

# Nobody approved: never sent.
$fake->add_adset('n1', 10000);
$node->safe_psql('postgres', q{SELECT artery.register_ad('acme', 'ad-n1', 'cn1', 'n1');
	SELECT artery.queue_ad_change('acme', 'cn1', 'BUDGET_INCREASE', '{"budget": 100}', '{"budget": 110}', 'test', adset_id => 'n1')});
$id = queue_budget($node, 'acme', 's2', 110, 120);
poll_until(sub { state_of($node, $id) eq 'completed' }, 'a later change of somebody else is sent');
is(scalar($fake->requests('GET', 'n1')) + scalar($fake->requests('POST', 'n1')), 0, 'what nobody approved is not');

$node->stop;
$fake->stop;
done_testing();
