# What Meta knows comes in: the account, who carries which budget, ads, and the
# days of the last four weeks; pages, reports, quotas, and what must not be stored.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use ArteryTest qw(new_cluster add_tenant poll_until start_at_noon queue_budget state_of);

my $fake = ArteryTest::Fake->start;
my $node = new_cluster('sync', fake => $fake);
start_at_noon($node, $fake);

sub query { return $node->safe_psql('postgres', $_[0]) }

# What a job became: completed, failed, dead, queued, active ...
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

sub result
{
	my ($job, $key) = @_;
	return query("SELECT result ->> '$key' FROM artery.job_execution_history WHERE job_id = $job AND outcome = 'completed'");
}

# Paths below the version of the requests since the log was cleared.
sub paths { return join ' ', map { "$_->{method} " . ($_->{path} =~ s{^/v[\d.]+/}{}r) } @{ $fake->control('GET', 'log')->{requests} } }

sub row
{
	my ($ad, $day, $impressions, $clicks, $spend, %more) = @_;
	my %row = (account_id => '1', account_currency => 'USD', campaign_id => 'c1', adset_id => 's1', ad_id => $ad,
		date_start => $day, date_stop => $day, impressions => $impressions, clicks => $clicks + 5, spend => $spend, %more);

	# Meta leaves out what is zero.
	$row{inline_link_clicks} = $clicks if $clicks > 0;
	return \%row;
}

# An account of ad set budgets (c1), a campaign budget (c2), a lifetime budget (c3).
my $today = query("SELECT (artery.now() AT TIME ZONE 'America/New_York')::date");
my $first = query("SELECT '$today'::date - 27");
my $before = query("SELECT '$today'::date - 28");
$fake->control('POST', 'objects', [
	{ type => 'account', id => '1', currency => 'USD', timezone_name => 'America/New_York', min_daily_budget => '105',
		amount_spent => '123456' },
	{ type => 'campaign', id => 'c1', account_id => '1' },
	{ type => 'adset', id => 's1', campaign_id => 'c1', account_id => '1', daily_budget => '10050', lifetime_budget => '0',
		learning_stage_info => { status => 'LEARNING' } },
	{ type => 'adset', id => 's2', campaign_id => 'c1', account_id => '1', daily_budget => '2000', status => 'PAUSED',
		effective_status => 'PAUSED' },
	{ type => 'campaign', id => 'c2', account_id => '1', daily_budget => '50000' },
	{ type => 'adset', id => 's3', campaign_id => 'c2', account_id => '1', daily_budget => '0' },
	{ type => 'campaign', id => 'c3', account_id => '1' },
	{ type => 'adset', id => 's4', campaign_id => 'c3', account_id => '1', lifetime_budget => '90000' },
	{ type => 'ad', id => 'a1', adset_id => 's1', campaign_id => 'c1', account_id => '1', created_time => '2026-01-02T03:04:05+0000' },
	{ type => 'ad', id => 'a2', adset_id => 's2', campaign_id => 'c1', account_id => '1', effective_status => 'ADSET_PAUSED' },
	{ type => 'ad', id => 'a3', adset_id => 's3', campaign_id => 'c2', account_id => '1' },
	{ type => 'ad', id => 'a4', adset_id => 's4', campaign_id => 'c3', account_id => '1' },
	{ type => 'campaign', id => 'x1', account_id => '2', daily_budget => '777' } ]);
$fake->control('POST', 'insights', [
	row('a1', $today, 1000, 20, '12.34'), row('a1', $first, 500, 0, '7.5'), row('a1', $before, 9999, 99, '99.99'),
	row('a3', $today, 300, 3, '0.005', adset_id => 's3', campaign_id => 'c2'),
	row('old', $first, 10, 1, '1', adset_id => 's9', campaign_id => 'c9') ]);
add_tenant($node, 'acme', time_zone => 'America/New_York');
# What was guessed before: Meta knows better.
query(q{SELECT artery.register_ad('acme', 'a3', 'c2', 's3', 's3', first_seen => '2026-05-01')});

my $job = sync('acme');
poll_until(sub { outcome($job) eq 'completed' }, 'a sync is done by the worker');
is(paths(), join(' ', map { "GET act_1$_" } '', qw(/minimum_budgets /campaigns /adsets /ads /activities /insights)), 'it asks one thing after the other');
is(query("SELECT account_id, currency, time_zone, account_status, min_daily_budget, amount_spent FROM artery.ad_account
	WHERE tenant_id = 'acme'"), '1|USD|America/New_York|1|1.05|1234.56', 'the account is known, minor units are amounts');
is(query("SELECT string_agg(concat_ws(' ', budget_owner_id, owner_type, campaign_id, budget_type, coalesce(budget::text, '-'), minimum,
	currency, status, effective_status, learning_status), E'\\n' ORDER BY budget_owner_id) FROM artery.budget_owner
	WHERE tenant_id = 'acme' AND budget_type <> 'none'"), join("\n",
	'c2 campaign c2 daily 500.00 1.05 USD ACTIVE ACTIVE', 's1 adset c1 daily 100.50 1.05 USD ACTIVE ACTIVE LEARNING',
	's2 adset c1 daily 20.00 1.05 USD PAUSED PAUSED', 's4 adset c3 lifetime - 1.05 USD ACTIVE ACTIVE'),
	'budgets are with the ad sets or the campaign that carry them');
is(query("SELECT string_agg(concat_ws(' ', ad_id, campaign_id, adset_id, budget_owner_id), E'\\n' ORDER BY ad_id)
	FROM artery.ad_state WHERE tenant_id = 'acme'"), "a1 c1 s1 s1\na2 c1 s2 s2\na3 c2 s3 c2\na4 c3 s4 s4\nold c9 s9",
	'each ad has the owner of its budget');
is(query(q{SELECT string_agg(ad_id, ' ' ORDER BY ad_id) FROM artery.allocation_inputs('acme', artery.now()) WHERE campaign_id = 'c1'}), 'a1',
	'an ad that does not run takes no part in decisions');
is(query("SELECT first_seen AT TIME ZONE 'UTC' FROM artery.ad_state WHERE tenant_id = 'acme' AND ad_id = 'a1'"),
	'2026-01-02 03:04:05', 'an ad is as old as Meta says');
is(query("SELECT string_agg(concat_ws(' ', ad_id, day, impressions, clicks, spend, source), E'\\n' ORDER BY ad_id, day)
	FROM artery.ad_day WHERE tenant_id = 'acme'"), join("\n", "a1 $first 500 0 7.5 insights", "a1 $today 1000 20 12.34 insights",
	"a3 $today 300 3 0.005 insights", "old $first 10 1 1 insights"), '28 days of link clicks and spend, in the days of the account');
is(query("SELECT impressions, clicks, spend FROM artery.ad_state WHERE tenant_id = 'acme' AND ad_id = 'a1'"), '1500|20|19.84',
	'ads have their totals');
is(query("SELECT string_agg(concat_ws(' ', budget_owner_id, spend_today), ',' ORDER BY budget_owner_id) FROM artery.budget_owner
	WHERE tenant_id = 'acme' AND budget_type <> 'none' AND spend_day = '$today'"), 'c2 0.005,s1 12.34,s2 0,s4 0',
	'what each owner has spent today is known');
is(query("SELECT count(*), min(budget), max(budget) FROM artery.budget_observation WHERE tenant_id = 'acme'"), '3|20.00|500.00',
	'daily budgets are observed');
is(query("SELECT count(*) FROM artery.v_alerts WHERE tenant_id = 'acme'"), '0', 'there is nothing to tell anybody');
is(join(' ', map { result($job, $_) } qw(campaigns adsets ads ad_days skipped requests)), '3 4 4 4 0 7', 'the job tells what it read');

# Again: what did not change is not written again; what changed by hand is observed.
$fake->control('PATCH', 'objects/s1', { daily_budget => '15000' });
$fake->control('POST', 'insights', [ row('a2', $today, 40, 2, '3.00', adset_id => 's2') ]);
my $updated = query("SELECT max(updated_at) FROM artery.ad_day WHERE tenant_id = 'acme'");
$job = sync('acme');
poll_until(sub { outcome($job) eq 'completed' }, 'a second sync is done');
is(query("SELECT string_agg(budget::text, ' ' ORDER BY observed_at) FROM artery.budget_observation
	WHERE tenant_id = 'acme' AND budget_owner_id = 's1'"), '100.50 150.00', 'an edit by hand is observed');
is(query("SELECT count(*) FROM artery.budget_observation WHERE tenant_id = 'acme'"), '4', 'a budget that stays is not observed anew');
is(query("SELECT count(*) FROM artery.ad_day WHERE tenant_id = 'acme' AND updated_at > '$updated'"), '1',
	'a day that stays is not written anew');

# A status we set ourselves is known at once.
my $change = query(q{WITH queued AS MATERIALIZED (
	SELECT artery.queue_ad_change('acme', 'c1', 'STATUS_CHANGE', '{"status": "PAUSED"}', '{"status": "ACTIVE"}', 'test',
		adset_id => 's2') AS id)
	SELECT id FROM queued, LATERAL artery.approve_ad_change('acme', id, 'boss')});
poll_until(sub { state_of($node, $change) eq 'completed' }, 'an ad set is resumed');
is(query("SELECT string_agg(ad_id || ' ' || effective_status, ', ' ORDER BY ad_id) FROM artery.ad_state WHERE tenant_id = 'acme' AND campaign_id = 'c1'"),
	'a1 ACTIVE, a2 ACTIVE', 'and its ad with it');

# What is archived or deleted is no longer listed, and decided on no more; a moment later it may be back.
$fake->control('PATCH', 'objects/s1', { account_id => '99' });
$fake->control('PATCH', 'objects/a1', { account_id => '99' });
$job = sync('acme');
poll_until(sub { outcome($job) eq 'completed' }, 'a sync without some');
is(query("SELECT (SELECT effective_status FROM artery.ad_state WHERE tenant_id = 'acme' AND ad_id = 'a1'),
	(SELECT effective_status FROM artery.budget_owner WHERE tenant_id = 'acme' AND budget_owner_id = 's1')"), 'ARCHIVED|ARCHIVED',
	'what is not listed counts as archived');
is(query(q{SELECT count(*) FROM artery.allocation_inputs('acme', artery.now()) WHERE ad_id = 'a1'}), '0', 'and takes no part');
is(query("SELECT string_agg(ad_id, ' ' ORDER BY ad_id) FROM artery.ad_state WHERE tenant_id = 'acme' AND effective_status = 'ARCHIVED'"), 'a1',
	'the others stay');
$fake->control('PATCH', 'objects/a1', { account_id => '1' });
$job = sync('acme');
poll_until(sub { outcome($job) eq 'completed' }, 'another sync');
is(query("SELECT effective_status FROM artery.ad_state WHERE tenant_id = 'acme' AND ad_id = 'a1'"), 'ACTIVE', 'what is listed again is back');

is(query("SELECT account_id, currency, has_token, synced_at > artery.now() - interval '1 minute', sync_state FROM artery.v_ad_accounts
	WHERE tenant_id = 'acme'"), '1|USD|t|t|', 'a view tells when it was read');
ok(!$node->log_contains('token-of-acme'), 'the log knows no token, whatever its level');

$node->stop;
$fake->stop;
done_testing();
