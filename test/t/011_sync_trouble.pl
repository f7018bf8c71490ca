# What can go wrong while Meta is read: long lists, too much at once, quotas, other
# currencies, tokens, crashes, our own changes meanwhile; and when it is read by itself.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use Time::HiRes qw(time);
use ArteryTest qw(new_cluster add_tenant poll_until move_clock start_at_noon queue_budget state_of worker_pid);

my $fake = ArteryTest::Fake->start;
my $node = new_cluster('sync_trouble', fake => $fake);
my $offset = start_at_noon($node, $fake);
my $account = 0;

sub query { return $node->safe_psql('postgres', $_[0]) }

sub outcome
{
	my ($job) = @_;
	return query("SELECT coalesce((SELECT outcome FROM artery.job_execution_history WHERE job_id = $job
		ORDER BY history_id DESC LIMIT 1), (SELECT state FROM artery.job WHERE job_id = $job), 'gone')");
}

sub sync
{
	my ($tenant, $data) = @_;
	$data //= '{}';
	return query("SELECT artery.enqueue_job('$tenant', 'actuals-sync', '$data')");
}

sub completes { my ($job, $what) = @_; return poll_until(sub { outcome($job) eq 'completed' }, $what) }
sub result { my ($job, $key) = @_; return query("SELECT result ->> '$key' FROM artery.job_execution_history WHERE job_id = $job AND outcome = 'completed'") }
sub job_field { my ($job, $field) = @_; return query("SELECT $field FROM artery.job WHERE job_id = $job") }
sub later { $offset += $_[0]; return move_clock($node, $offset, $fake) }

# Requests to what ends so, since the log was cleared.
sub asked
{
	my ($end) = @_;
	return grep { $_->{path} =~ m{\Q$end\E$} } @{ $fake->control('GET', 'log')->{requests} };
}

my $today = query('SELECT artery.now()::date');
my $day_before = query("SELECT '$today'::date - 1");

# A tenant with an account of its own: a campaign, an ad set, ads, and a row of Insights each.
sub new_account
{
	my ($tenant, $ads, %account) = @_;
	my $number = ++$account;
	my @days = map { { account_id => $number, account_currency => 'USD', campaign_id => "cs$number", adset_id => "s$number",
		ad_id => "$tenant$_", date_start => $today, date_stop => $today, impressions => 100 * $_, inline_link_clicks => $_,
		spend => "$_.50" } } 1 .. $ads;

	$fake->control('POST', 'objects', [ { type => 'account', id => $number, %account },
		{ type => 'campaign', id => "cs$number", account_id => $number },
		{ type => 'adset', id => "s$number", campaign_id => "cs$number", account_id => $number, daily_budget => '10000' },
		map { { type => 'ad', id => "$tenant$_", adset_id => "s$number", campaign_id => "cs$number", account_id => $number } } 1 .. $ads ]);
	$fake->control('POST', 'insights', \@days);
	add_tenant($node, $tenant, meta_ad_account_id => "$number");
	return $number;
}

sub spend_of { my ($tenant) = @_; return query("SELECT coalesce(sum(spend), 0) FROM artery.ad_day WHERE tenant_id = '$tenant'") }

# Pages, and empty ones between: 7 ads of 2 a page are 4 pages, each behind an empty one.
new_account('pages', 7);
$fake->control('POST', 'settings', { most_rows => 2, empty_pages => JSON::PP::true });
my $job = sync('pages');
completes($job, 'pages are read to the end');
is(result($job, 'ads'), '7', 'all ads came');
is(result($job, 'ad_days'), '7', 'and all days');
# 1 account + 2 minimum_budgets + 2 campaigns + 2 adsets + 8 ads + 2 activities + 8 insights; an empty list has an empty page before it
is(result($job, 'requests'), '25', 'empty pages do not end the list');
is(spend_of('pages'), '31.50', 'what was spent is the sum');	# 1 + ... + 7 = 28, and 7 times 0.50
ok(!(grep { $_->{token_in_url} } @{ $fake->control('GET', 'log')->{requests} }), 'the token is in no address');
$fake->control('POST', 'settings', { most_rows => 500, empty_pages => JSON::PP::false });

# Pages that never end.
$fake->fault(match => { path => '/campaigns$' }, times => -1, kind => 'error', status => 200,
	body => '{"data":[],"paging":{"cursors":{"after":"x"},"next":"https://graph.invalid/"}}');
$job = sync('pages');
poll_until(sub { outcome($job) eq 'failed' }, 'a list that turns in a circle is left');
like(job_field($job, 'last_error'), qr/do not come to an end/, 'and told');
$fake->clear_faults;
later(60);
completes($job, 'the next attempt is like new');

# The same by a longer way round: a, b, c, b, c ...
my %circle = (c => 'b', b => 'c', a => 'b', '' => 'a');
$fake->fault(match => { path => '/campaigns$', $_ ? (params => { after => $_ }) : () }, times => -1, kind => 'error', status => 200,
	body => qq({"data":[],"paging":{"cursors":{"after":"$circle{$_}"},"next":"https://graph.invalid/"}})) for reverse sort keys %circle;
$fake->control('DELETE', 'log');
$job = sync('pages');
poll_until(sub { outcome($job) eq 'failed' }, 'a longer circle is left, too');
cmp_ok(scalar(asked('act_1/campaigns')), '<', 10, 'soon');
$fake->clear_faults;
later(60);
completes($job, 'and done with');

# Too much at once: a report is made; too many days for one: of 28 days no, of 14 no, of 7 yes: 4 of them.
new_account('large', 3);
$fake->control('DELETE', 'log');
$fake->control('POST', 'settings', { most_days => 1, most_report_days => 10, polls => 0 });
$job = sync('large');
poll_until(sub { later(30) if asked('act_2/insights') > 0; outcome($job) eq 'completed' }, 'what is too much is read by reports', 60);
is(scalar(grep { $_->{method} eq 'POST' } asked('act_2/insights')), 6, 'of fewer days, until they are few enough');
is(spend_of('large'), '7.50', 'all is there');
$fake->control('DELETE', 'log');
$job = sync('large');
poll_until(sub { later(30) if asked('act_2/insights') > 0; outcome($job) eq 'completed' }, 'the next sync', 60);
is(join(' ', map { $_->{method} } asked('act_2/insights')), 'POST POST POST POST', 'remembers how little is not too much');
$fake->control('POST', 'settings', { most_days => undef, most_report_days => undef, polls => 2 });
completes(sync('large', '{"async": false}'), 'reports can be ended');
is(query("SELECT count(*) FROM artery.ad_account WHERE tenant_id = 'large' AND report_days IS NULL"), '1', 'and are, from then on');
$job = sync('large', '{"async": true, "days": 3}');
poll_until(sub { later(30); outcome($job) eq 'completed' }, 'a report can be asked for from the start', 60);
is(result($job, 'since'), query("SELECT artery.now()::date - 2"), 'of other days than 28');

# An account in another currency: nothing of it is stored, somebody is told, once.
new_account('foreign', 2, currency => 'JPY');
for (1 .. 2)
{
	$job = sync('foreign');
	completes($job, 'a sync of an account in another currency ends');
}
is(result($job, 'stopped'), 'ad account 3 is in JPY, but the tenant is set up in USD', 'saying why');
is(query("SELECT (SELECT count(*) FROM artery.ad_state WHERE tenant_id = 'foreign') + (SELECT count(*) FROM artery.budget_owner
	WHERE tenant_id = 'foreign') + (SELECT count(*) FROM artery.ad_day WHERE tenant_id = 'foreign')"), '0', 'nothing was stored');
is(query("SELECT kind, key, message FROM artery.v_alerts WHERE tenant_id = 'foreign'"),
	'currency|3|ad account 3 is in JPY, but the tenant is set up in USD', 'one alert is open');
query(q{SELECT artery.configure_tenant('foreign', '{"currency": "JPY"}')});
$job = sync('foreign');
completes($job, 'with the right currency');
like(result($job, 'stopped'), qr/Insights are in USD/, 'Insights in another one still stop it');
is(query("SELECT budget FROM artery.budget_owner WHERE tenant_id = 'foreign'"), '10000', 'a yen has no hundredth');
is(spend_of('foreign'), '0', 'no day was stored');

# Account not active, days of another zone: told, and taken back when it is over.
new_account('odd', 1, account_status => 2, timezone_name => 'Asia/Tokyo');
completes(sync('odd'), 'an account that is not active is read');
is(query("SELECT string_agg(kind, ' ' ORDER BY kind) FROM artery.v_alerts WHERE tenant_id = 'odd'"), 'account_status time_zone', 'and told');
$fake->control('PATCH', 'objects/act_4', { account_status => '1', timezone_name => 'UTC' });
completes(sync('odd'), 'when it is well again');
is(query("SELECT count(*) FROM artery.v_alerts WHERE tenant_id = 'odd'"), '0', 'nothing is to be told');

# Rows that make no sense are left out.
$fake->fault(match => { path => '/act_4/insights$' }, kind => 'error', status => 200, body => JSON::PP::encode_json({ data => [
	{ ad_id => 'odd9', date_start => $today, date_stop => $today, impressions => '-5', spend => '1' },
	{ ad_id => 'odd9', date_start => '2026-02-31', date_stop => '2026-02-31', spend => '1' },
	{ ad_id => 'odd9', date_start => $day_before, date_stop => $today, spend => '1' },
	{ date_start => $today, date_stop => $today, spend => '1' }, 'words', undef,
	{ ad_id => 'odd9', date_start => $today, date_stop => $today, spend => 'NaN' },
	{ ad_id => 'odd8', date_start => $today, date_stop => $today, impressions => 7, spend => '2.5' } ] }));
$job = sync('odd');
completes($job, 'rows without sense stop nothing');
is(result($job, 'ad_days') . ' ' . result($job, 'skipped'), '1 5', 'they are skipped and counted');
is(query("SELECT impressions, clicks, spend FROM artery.ad_day WHERE tenant_id = 'odd' AND ad_id = 'odd8'"), '7|0|2.5',
	'what is left out is zero');
is(query("SELECT spend FROM artery.ad_day WHERE tenant_id = 'odd' AND ad_id = 'odd1'"), '1.50', 'a day that is not listed stays');
for my $hex ('', '7b22', 'ff00fe', '5b5d', '7b7d')
{
	$fake->fault(match => { path => '/act_4/ads$' }, kind => 'bytes', hex => $hex);
	$job = sync('odd');
	poll_until(sub { later(6) if asked('act_4/ads') > 0; outcome($job) eq 'completed' }, "an answer of bytes '$hex' is asked for again");
}

# The quota of Insights does not hold up changes; the sync waits and goes on where it was.
new_account('quota', 2);
$fake->control('DELETE', 'log');
$fake->fault(match => { path => '/act_5/insights$' }, kind => 'error', error => { code => 80000, message => 'too many calls' });
$job = sync('quota');
poll_until(sub { asked('act_5/insights') == 1 }, 'Insights are refused');
my $change = queue_budget($node, 'quota', 's5', 100, 110);
poll_until(sub { state_of($node, $change) eq 'completed' }, 'a change is sent meanwhile');
is(outcome($job), 'active', 'the sync waits');
later(960);
completes($job, 'and goes on');
is(scalar(asked('act_5/ads')), 1, 'where it was');

# Any other quota holds up both.
$fake->fault(match => { path => '/act_5/ads$' }, kind => 'error', error => { code => 17, error_subcode => 2446079 });
$job = sync('quota');
poll_until(sub { asked('act_5/ads') == 2 }, 'the account is refused');
$change = queue_budget($node, 'quota', 's5', 110, 115);
poll_until(sub { state_of($node, $change) eq 'blocked' }, 'a change waits, too');
later(360);
completes($job, 'the sync goes on after the pause');

# A quota that fills slows down, a full one stops.
$fake->control('POST', 'settings', { usage_headers => { 'X-Business-Use-Case-Usage' =>
	'{"5":[{"type":"ads_insights","call_count":90,"total_cputime":1,"total_time":1,"estimated_time_to_regain_access":0}]}' } });
$fake->control('DELETE', 'log');
$job = sync('quota');
poll_until(sub { asked('act_5') == 1 && query("SELECT lease_until > artery.now() FROM artery.job WHERE job_id = $job") eq 't' }, 'at 90 % the first page is read');
later(20);
is(scalar(asked('act_5/campaigns')), 0, 'and the next is not asked for within 20 seconds');
poll_until(sub { later(15); outcome($job) eq 'completed' }, 'but half a minute later', 60);
$fake->control('POST', 'settings', { usage_headers => undef });

# Errors: Meta's own are tried again, at the page where it was; what can never be is not.
new_account('error', 2);
$fake->control('DELETE', 'log');
$fake->fault(match => { path => '/act_6/ads$' }, times => 2, kind => 'error', status => 500, error => { code => 2 });
$job = sync('error');
poll_until(sub { later(6) if asked('act_6/ads') > 0; outcome($job) eq 'completed' }, 'an error on the way is got over');
is(scalar(asked('act_6/adsets')), 1, 'without beginning again');
$fake->fault(match => { path => '/act_6$' }, kind => 'error', status => 500, error => { code => 1 });
$job = sync('error');
poll_until(sub { outcome($job) eq 'failed' }, 'an error at the beginning is the job\'s failure');
later(6);
completes($job, 'which is tried again after 5 seconds');
$fake->fault(match => { path => '/act_6$' }, kind => 'error', error => { code => 200, message => 'no right EAAsecretsecretsecretsecret token-of-error' });
$job = sync('error');
poll_until(sub { outcome($job) eq 'dead' }, 'a right that lacks is not asked for again');
like(query("SELECT last_error FROM artery.v_failed_jobs WHERE job_id = $job"), qr{reading act_6: Meta's error 200/0: no right \[redacted\] \[redacted\]},
	'the failure is told, without the token');

# A token that is refused: no attempt is spent; another one is tried at once.
$fake->control('POST', 'settings', { tokens => ['new-token'] });
$fake->control('DELETE', 'log');
$job = sync('quota');
poll_until(sub { job_field($job, 'state') eq 'queued' && job_field($job, 'attempt') eq '1' }, 'with a bad token a sync is put off');
query("SELECT artery.wake_worker()");
is(job_field($job, 'max_attempts - attempt'), '5', 'without spending an attempt');
unlike(job_field($job, 'last_error'), qr/token-of/, 'the token is not told');
later(960);
poll_until(sub { job_field($job, 'attempt') eq '2' && job_field($job, 'state') eq 'queued' }, 'it looks again');
is(scalar(asked('act_5')), 1, 'without asking Meta the same');
query("SELECT artery.set_secret('quota', 'meta_access_token', 'new-token')");
completes($job, 'a new token is tried at once');
$fake->control('POST', 'settings', { tokens => undef });

# Our own change while the answer is on its way: what was sent later stays.
new_account('race', 1);
completes(sync('race'), 'a budget is known');
$fake->fault(match => { path => '/act_7/adsets$' }, kind => 'delay_after', seconds => 2);
$job = sync('race');
poll_until(sub { asked('act_7/adsets') == 2 }, 'ad sets are read');
$change = queue_budget($node, 'race', 's7', 100, 115);
poll_until(sub { state_of($node, $change) eq 'completed' }, 'a change is sent meanwhile');
completes($job, 'then the old answer comes');
is(query("SELECT budget FROM artery.budget_owner WHERE tenant_id = 'race' AND budget_owner_id = 's7'"), '115.00', 'what was sent later is in force');
is(query("SELECT string_agg(budget || ' ' || source, ', ' ORDER BY observed_at, observation_seq) FROM artery.budget_observation
	WHERE tenant_id = 'race'"), '100.00 observed, 115.00 sent', 'the history tells no detour');

# The budget moves from the ad set to the campaign.
$fake->control('PATCH', 'objects/s7', { daily_budget => '0' });
$fake->control('PATCH', 'objects/cs7', { daily_budget => '20000' });
completes(sync('race'), 'the campaign took the budget');
is(query("SELECT string_agg(concat_ws(' ', budget_owner_id, budget_type, coalesce(budget::text, '-')), ', ' ORDER BY budget_owner_id)
	FROM artery.budget_owner WHERE tenant_id = 'race'"), 'cs7 daily 200.00, s7 none -', 'the ad set carries none any more');
is(query("SELECT budget_owner_id FROM artery.ad_state WHERE tenant_id = 'race' AND ad_id = 'race1'"), 'cs7', 'its ad is paid by the campaign');

# Many at once: half of the requests are left to changes, and none waits for a slow one.
$node->append_conf('postgresql.conf', "artery.http_max_in_flight = 4");
$node->reload;
my @many = map { new_account("many$_", 1) } 1 .. 6;
$fake->fault(match => { path => "/act_$many[0]/ads\$" }, kind => 'pass', delay => 3);
$fake->fault(match => { path => '/act_\d+/(campaigns|adsets|insights)$' }, times => 100, kind => 'pass', delay => 0.05);
$fake->control('DELETE', 'log');
my @jobs = map { sync("many$_") } 1 .. 6;
poll_until(sub { !grep { outcome($_) ne 'completed' } @jobs[1 .. 5] }, 'many are read at once');
isnt(outcome($jobs[0]), 'completed', 'while a slow one waits');
cmp_ok($fake->control('GET', 'log')->{max_in_flight}, '<=', 2, 'by half of the requests that may be under way');
completes($jobs[0], 'the slow one, too');
$fake->clear_faults;

# The worker dies, the tenant is disabled, artery is: nothing is lost, nothing goes on.
my $crash = new_account('crash', 2);
$fake->fault(match => { path => "/act_$crash/ads\$" }, kind => 'pass', delay => 60);
$job = sync('crash');
poll_until(sub { asked("act_$crash/ads") == 1 }, 'a request hangs');
is(query("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'artery worker' AND xact_start IS NOT NULL"), '0',
	'without a transaction');
my $pid = worker_pid($node);
query("SELECT pg_terminate_backend($pid)");
completes($job, 'the next worker does the job');
is(query("SELECT string_agg(outcome, ' ' ORDER BY history_id) FROM artery.job_execution_history WHERE job_id = $job"), 'lost completed',
	'which was lost once');
is(spend_of('crash'), '4.00', 'and nothing is counted twice');
$fake->fault(match => { path => "/act_$crash/ads\$" }, kind => 'pass', delay => 1);
$job = sync('crash');
poll_until(sub { asked("act_$crash/ads") == 3 }, 'a request is under way');
query(q{SELECT artery.configure_tenant('crash', '{"enabled": false}')});
poll_until(sub { job_field($job, 'state') eq 'queued' }, 'a tenant that is disabled is left alone');
is(scalar(asked("act_$crash/insights")), 1, 'nothing more is asked');
query(q{SELECT artery.configure_tenant('crash', '{"enabled": true}')});
completes($job, 'it goes on when enabled');
$node->append_conf('postgresql.conf', 'artery.enabled = off');
$node->reload;
poll_until(sub { query('SHOW artery.enabled') eq 'off' }, 'nothing is to be sent');
my $before = scalar(asked("act_$crash"));
my $rounds = query('SELECT rounds FROM artery.worker_status()');
$job = sync('crash');
query('SELECT artery.wake_worker()');
poll_until(sub { query('SELECT rounds FROM artery.worker_status()') > $rounds }, 'the worker looks');
is(scalar(asked("act_$crash")) - $before, 0, 'nor is anything asked');
is(query("SELECT sync_state, has_token FROM artery.v_ad_accounts WHERE tenant_id = 'crash'"), 'queued|t', 'the sync waits to be seen');
$node->append_conf('postgresql.conf', 'artery.enabled = on');
$node->reload;
completes($job, 'until artery is enabled');

# By itself: an interval after the token was set, then an interval after the last.
new_account('hourly', 1);
my $jobs = "SELECT count(*) FROM artery.job_execution_history WHERE tenant_id = 'hourly' AND outcome = 'completed'";
$node->append_conf('postgresql.conf', "artery.sync_interval = '1h'");
later(1800);
poll_until(sub { query("SELECT rounds > 0 FROM artery.worker_status()") eq 't' }, 'after half an hour');
is(query($jobs), '0', 'nothing');
later(1900);
poll_until(sub { query($jobs) eq '1' }, 'after an hour it is read');
later(3700);
poll_until(sub { query($jobs) eq '2' }, 'and an hour later');
$fake->fault(match => { path => "/act_$account\$" }, times => 2, kind => 'error', error => { code => 200 });
my $dead = "SELECT count(*), max(attempt) FROM artery.job WHERE tenant_id = 'hourly' AND state = 'dead'";
later(3700);
poll_until(sub { query($dead) eq '1|1' }, 'a failure stays to be seen');
later(3700);
poll_until(sub { query($dead) eq '1|2' }, 'is tried again in an hour, and is one failure still');
later(3700);
poll_until(sub { query($dead) eq '0|' && query($jobs) eq '3' }, 'and gone when it is over');

# Due by time alone, with nobody to wake the worker: claimed, and begun as well.
query("SELECT artery.enqueue_job('pages', 'actuals-sync', run_at => artery.now() + interval '1 second')");
poll_until(sub { query("SELECT count(*) FROM artery.job WHERE tenant_id = 'pages'") eq '0' }, 'a sync that falls due while the worker sleeps is done');

# An account that becomes known is read after a minute, however long the interval: by its token, or by its id.
new_account('first', 1);
my $waits = "SELECT run_at - artery.now() BETWEEN '0' AND '1 min' FROM artery.job WHERE tenant_id = 'first' AND job_name = 'actuals-sync'";
is(query($waits), 't', 'the first reading is queued with the token');
later(61);
poll_until(sub { query("SELECT count(*) FROM artery.job_execution_history WHERE tenant_id = 'first' AND outcome = 'completed'") eq '1' },
	'and done a minute later');
new_account('second', 1);
query("DELETE FROM artery.job WHERE tenant_id = 'second'");
query(qq{SELECT artery.configure_tenant('second', '{"fuzz_percent": 0}')});
is(query("SELECT count(*) FROM artery.job WHERE tenant_id = 'second'"), '0', 'another setting queues none');
query(qq{SELECT artery.configure_tenant('second', '{"meta_ad_account_id": "12345"}')});
is(query("SELECT count(*) FROM artery.job WHERE tenant_id = 'second' AND job_name = 'actuals-sync'"), '1', 'another account one');

$node->stop;
$fake->stop;
done_testing();
