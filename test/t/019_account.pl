# What Meta says besides budgets: the least a budget may be, who edited one by hand,
# what the token may do, and which ad sets learn under a campaign's budget.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use ArteryTest qw(new_cluster add_tenant poll_until move_clock queue_budget state_of);

my $fake = ArteryTest::Fake->start;
my $node = new_cluster('account', fake => $fake);
my $offset = 0;
my $account = 0;

sub query { return $node->safe_psql('postgres', $_[0]) }
sub later { $offset += $_[0]; return move_clock($node, $offset, $fake) }
sub asked { my ($end) = @_; return scalar(grep { $_->{path} =~ m{\Q$end\E$} } @{ $fake->control('GET', 'log')->{requests} }) }
sub alerts { return query("SELECT coalesce(string_agg(kind, ' ' ORDER BY kind), '') FROM artery.v_alerts WHERE tenant_id = '$_[0]'") }

# A tenant with an account, a campaign and two ad sets, s<n> and t<n>.
sub new_account
{
	my ($tenant, %settings) = @_;
	my $n = ++$account;

	$fake->control('POST', 'objects', [ { type => 'account', id => $n }, { type => 'campaign', id => "c$n", account_id => $n },
		map { { type => 'adset', id => "$_$n", campaign_id => "c$n", account_id => $n, daily_budget => '10000' } } qw(s t) ]);
	add_tenant($node, $tenant, meta_ad_account_id => "$n", %settings);
	return $n;
}

sub change
{
	my ($tenant, $adset, $from, $to) = @_;
	my $type = $to > $from ? 'BUDGET_INCREASE' : 'BUDGET_DECREASE';
	my $campaign = 'c' . substr($adset, 1);

	return query(qq{WITH queued AS MATERIALIZED (SELECT artery.queue_ad_change('$tenant', '$campaign', '$type', '{"budget": $from}',
			'{"budget": $to}', 'test', budget_owner_id => '$adset') AS id)
		SELECT id FROM queued, LATERAL artery.approve_ad_change('$tenant', id, 'boss')});
}

sub sync
{
	my ($tenant, $data) = @_;
	my $job = query("SELECT artery.enqueue_job('$tenant', 'actuals-sync', '" . ($data // '{}') . "')");

	poll_until(sub { query("SELECT count(*) FROM artery.job_execution_history WHERE job_id = $job AND outcome = 'completed'") eq '1' },
		"$tenant is synced");
	return query("SELECT result FROM artery.job_execution_history WHERE job_id = $job AND outcome = 'completed'");
}

# The least a budget may be: of minimum_budgets, the row of the account's currency.
my $n = new_account('least');
$fake->control('POST', 'settings', { minimum => 500 });
sync('least');
is(query("SELECT min_daily_budget FROM artery.ad_account WHERE tenant_id = 'least'"), '5.00', 'the least for the currency is known');
is(query("SELECT requested_value ->> 'budget', new_value ->> 'budget' FROM artery.ad_change WHERE change_id = '"
	. change('least', "s$n", 100, 4) . "'"), '4.00|5.00', 'less is raised to it');
$fake->control('PATCH', "objects/act_$n", { min_daily_budget => '700' });
sync('least');
is(query("SELECT min_daily_budget FROM artery.ad_account WHERE tenant_id = 'least'"), '7.00', 'what the account itself tells may be more');
$fake->control('POST', 'settings', { minimum => 100 });

# Without what only helps, a sync is whole.
$fake->fault(match => { path => '/minimum_budgets$' }, kind => 'error', error => { code => 200, message => 'no right' });
$fake->fault(match => { path => '/activities$' }, kind => 'error', status => 404, body => '<html>not here</html>');
like(sync('least'), qr/"left_out": "minimum edits"/, 'what Meta refuses and nobody needs is left out');

# A person's edit: told with name and moment, in the history and with the owner; ours are no edits.
$n = new_account('edits');
sync('edits');
my $own = change('edits', "t$n", 100, 110);
poll_until(sub { state_of($node, $own) eq 'completed' }, 'a change of ours is sent');
$fake->control('PATCH', "objects/s$n", { daily_budget => '13000', actor => 'Anna Example' });
my $change = change('edits', "s$n", 100, 115);
poll_until(sub { state_of($node, $change) eq 'superseded' }, 'a person was there first');
poll_until(sub { query("SELECT count(*) FROM artery.ad_change_history WHERE change_id = '$change' AND outcome = 'edited'") eq '1' },
	'the activities are read at once');
is(query("SELECT actor, (old_value ->> 'budget')::numeric, artery.read_meta_time(response ->> 'edited_at') IS NULL,
	(response ->> 'edited_at')::timestamptz BETWEEN artery.now() - interval '1 minute' AND artery.now() FROM artery.ad_change_history
	WHERE change_id = '$change' AND outcome = 'edited'"), 'Anna Example|130.00|t|t', 'the history says who and when');
is(query("SELECT string_agg(concat_ws(' ', budget_owner_id, edited_by), ', ' ORDER BY budget_owner_id) FROM artery.v_budget_owners
	WHERE tenant_id = 'edits'"), "s$n Anna Example, t$n", 'and so does the owner; what artery sent is no edit');
sync('edits');
is(query("SELECT count(*) FROM artery.ad_change_history WHERE change_id = '$change' AND outcome = 'edited'"), '1', 'it is told once');
query(q{SELECT artery.configure_tenant('edits', '{"meta_app_id": "4711"}')});
$fake->control('POST', 'settings', { app_id => '4711' });
$fake->control('PATCH', "objects/t$n", { daily_budget => '11500', actor => 'Bert Example' });
$own = change('edits', "t$n", 115, 118);
poll_until(sub { state_of($node, $own) eq 'completed' }, 'an edit and then a change of ours');
sync('edits');
is(query("SELECT edited_by FROM artery.budget_owner WHERE tenant_id = 'edits' AND budget_owner_id = 't$n'"), 'Bert Example',
	'are told apart by the app, however close');

# Ad sets that learn hold the campaign's budget, but only its increase, and only while they run.
$n = ++$account;
$fake->control('POST', 'objects', [ { type => 'account', id => $n }, { type => 'campaign', id => "c$n", account_id => $n, daily_budget => '10000' },
	{ type => 'adset', id => "s$n", campaign_id => "c$n", account_id => $n, learning_stage_info => { status => 'LEARNING' } },
	{ type => 'adset', id => "t$n", campaign_id => "c$n", account_id => $n, learning_stage_info => { status => 'SUCCESS' } } ]);
add_tenant($node, 'learns', meta_ad_account_id => "$n");
sync('learns');
$change = change('learns', "c$n", 100, 110);
poll_until(sub { state_of($node, $change) eq 'blocked' }, 'an ad set that learns holds its campaign');
is(query("SELECT blocked_rule, blocked_detail #>> '{learning,learning_status}' FROM artery.v_pending_changes WHERE change_id = '$change'"),
	'learning|LEARNING', 'and the change says so');
$fake->control('PATCH', "objects/s$n", { effective_status => 'PAUSED', status => 'PAUSED' });
sync('learns');
poll_until(sub { state_of($node, $change) eq 'completed' }, 'one that does not run holds nothing');
is(query("SELECT string_agg(budget_owner_id || ' ' || budget_type, ', ' ORDER BY budget_owner_id) FROM artery.budget_owner WHERE tenant_id = 'learns'"),
	"c$n daily, s$n none, t$n none", 'the campaign keeps the budget');
$fake->control('PATCH', "objects/s$n", { effective_status => 'ACTIVE', status => 'ACTIVE' });
sync('learns');
$change = change('learns', "c$n", 110, 100);
poll_until(sub { state_of($node, $change) eq 'completed' }, 'a decrease passes');

# What the token may do: asked when it is new, and daily; only where the app is known.
$n = new_account('token', meta_app_id => '4711');
sync('token');
is(asked('debug_token'), 0, 'without an app secret nobody is asked');
query("SELECT artery.set_secret('token', 'meta_app_secret', 'appsecret-of-token')");
$fake->control('POST', 'settings', { app_token => '4711|appsecret-of-token', token_facts => { expires_at => 4102444800 } });
sync('token');
is(query("SELECT token_is_valid, token_expires_at AT TIME ZONE 'UTC', token_scopes, token_problem IS NULL FROM artery.v_ad_accounts
	WHERE tenant_id = 'token'"), 't|2100-01-01 00:00:00|{ads_management,ads_read}|t', 'a view tells what the token may do');
sync('token');
is(asked('debug_token'), 1, 'the next sync does not ask again');
later(86400);
$fake->control('POST', 'settings', { token_facts => { expires_at => time + 86400 + 3 * 86400 } });
sync('token');
is(asked('debug_token'), 2, 'one a day later does');
is(alerts('token'), 'token_expires', 'a token that ends soon is told of');
$fake->control('POST', 'settings', { token_facts => {} });

# A lack of permission fails the change, is told once, and has the token looked at; one in order goes on.
sub refused
{
	my ($adset) = @_;

	$fake->fault(match => { method => 'POST', path => "/$adset\$" }, times => 1, kind => 'error', error => { code => 200, message => 'no right' });
	my $id = change('token', $adset, 100, 110);
	poll_until(sub { state_of($node, $id) eq 'failed' }, 'a lack of permission fails the change');
	return;
}
my $before = asked('debug_token');
refused("s$n");
poll_until(sub { asked('debug_token') > $before }, 'and has the token looked at');
is(alerts('token'), 'permission', 'it is told');
refused("t$n");
poll_until(sub { asked('debug_token') > $before + 1 }, 'each time');
is(alerts('token'), 'permission', 'but told once');
$change = change('token', "s$n", 100, 110);
poll_until(sub { state_of($node, $change) eq 'completed' }, 'with a token in order the others go on');

# The scope is really gone: the tenant waits for another token, with one alert.
$fake->control('POST', 'settings', { token_facts => { scopes => ['ads_read'] } });
refused("t$n");
poll_until(sub { alerts('token') eq 'token' }, 'a token without the permission stops the tenant, with one alert');
like(query("SELECT message FROM artery.v_alerts WHERE tenant_id = 'token'"), qr/lacks the permission ads_management/, 'which says why');
$before = asked("/t$n");
$change = change('token', "t$n", 100, 110);
poll_until(sub { state_of($node, $change) eq 'blocked' }, 'nothing more is sent');
is(query("SELECT blocked_rule FROM artery.ad_change WHERE change_id = '$change'"), 'token', 'for want of a token');
is(asked("/t$n"), $before, 'nor asked');
$fake->control('POST', 'settings', { token_facts => { granular_scopes => [ { scope => 'ads_management', target_ids => ['999'] } ] } });
query("SELECT artery.set_secret('token', 'meta_access_token', 'token-of-token-2')");
poll_until(sub { state_of($node, $change) eq 'completed' }, 'another token is tried');
is(alerts('token'), '', 'and ends the alert');
sync('token');
like(query("SELECT message FROM artery.v_alerts WHERE tenant_id = 'token'"), qr/was not given ad account $n/, 'an account that was not ticked is told of');
query("SELECT artery.set_secret('token', 'meta_access_token', 'token-of-token-3')");

# An app secret that is wrong says nothing of the token.
$fake->control('POST', 'settings', { app_token => 'other', token_facts => {} });
like(sync('token', '{"only": "token"}'), qr/stopped/, 'an app that is refused is left out');
is(alerts('token'), '', 'and stops nobody');
$change = change('token', "t$n", 110, 111);
poll_until(sub { state_of($node, $change) eq 'completed' }, 'changes go on');

# A yen has no hundredth: neither written nor read as one.
$n = ++$account;
$fake->control('POST', 'objects', [ { type => 'account', id => $n, currency => 'JPY' }, { type => 'campaign', id => "c$n", account_id => $n },
	{ type => 'adset', id => "s$n", campaign_id => "c$n", account_id => $n, daily_budget => '10000', lifetime_budget => '0' } ]);
add_tenant($node, 'yen', meta_ad_account_id => "act_$n", currency => 'JPY');
sync('yen');
is(query("SELECT budget, minimum FROM artery.budget_owner WHERE tenant_id = 'yen' AND budget_owner_id = 's$n'"), '10000|100', 'yen are read as they are');
$change = change('yen', "s$n", 10000, 11000);
poll_until(sub { state_of($node, $change) eq 'completed' }, 'a change in yen is sent');
is_deeply([ $fake->changes("s$n") ], [11000], 'as they are');

# An object that is not what it was: the account is read anew.
$n = new_account('gone');
sync('gone');
later(1000);
$fake->fault(match => { method => 'GET', path => "/s$n\$" }, times => 1, kind => 'error', error => { code => 100, error_subcode => 33 });
$before = asked("act_$n/adsets");
$change = change('gone', "s$n", 100, 110);
poll_until(sub { state_of($node, $change) eq 'failed' }, 'an object that is gone fails the change');
poll_until(sub { asked("act_$n/adsets") > $before }, 'and has the account read');

ok(!(grep { /token-of-|appsecret-of/ } map { values %{ $_->{params} } } @{ $fake->control('GET', 'log')->{requests} }), 'no secret is kept by the fake');
$node->stop;
$fake->stop;
done_testing();
