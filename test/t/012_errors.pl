# Every answer of test/fixtures/graph_answers.json, to a real worker: what becomes
# of the change, who else has to wait, and what happens when the wait is over.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;
use ArteryTest qw(new_cluster add_tenant poll_until queue_budget state_of move_clock);

my $fake = ArteryTest::Fake->start;
my $node = new_cluster('errors', fake => $fake);
my @cases = @{ decode_json(slurp_file("$FindBin::RealBin/../fixtures/graph_answers.json")) };
my $count = 0;
my %expected = (
	permanent => [ 'failed', '' ], retry_later => [ 'retry', '' ], shrink_and_retry => [ 'retry', '' ],
	ambiguous => [ 'unknown', '' ], throttle => [ 'blocked', '' ], throttle_object => [ 'blocked', 'object_throttle' ],
	token_stop_tenant => [ 'blocked', 'token' ], stop_account_human => [ 'blocked', 'account_stopped' ],
	config_stop_all => [ 'blocked', 'configuration' ]);

sub sql { return $node->safe_psql('postgres', $_[0]) }

# A tenant, an account and an app for each; only the settings are everybody's, so they come last.
sub begin
{
	my ($case) = @_;
	my $n = ++$count;
	my $account = ($case->{headers} // {})->{'X-Business-Use-Case-Usage'} // ($case->{headers} // {})->{'x-business-use-case-usage'};

	($account) = $account ? $account =~ /"(\d+)"/ : 5000 + $n;
	$case->{tenant} = "tenant$n";
	$case->{adset} = 70000 + $n;
	$case->{account} = $account;
	add_tenant($node, $case->{tenant}, meta_ad_account_id => "$account", meta_app_id => '9' . (1000 + $n));
	$fake->control('POST', 'objects', [
		{ type => 'campaign', id => "c$case->{adset}", account_id => "$account" },
		{ type => 'adset', id => "$case->{adset}", campaign_id => "c$case->{adset}", account_id => "$account", daily_budget => '10000' } ]);
	$fake->fault(match => { method => $case->{operation} eq 'read' ? 'GET' : 'POST', path => "/$case->{adset}\$" }, times => 1,
		kind => 'error', status => $case->{status}, body => $case->{body}, headers => $case->{headers} // {});
	$case->{id} = queue_budget($node, $case->{tenant}, $case->{adset}, 100, 110);
	return;
}

sub judge
{
	my ($case) = @_;
	my ($outcome, $rule) = @{ $expected{ $case->{class} } };

	poll_until(sub { sql("SELECT count(*) FROM artery.ad_change_history
		WHERE change_id = '$case->{id}' AND outcome = '$outcome'") eq '1' }, "$case->{name}: $outcome") or return;
	like(sql("SELECT coalesce(blocked_rule, '') FROM artery.ad_change WHERE change_id = '$case->{id}'"),
		$case->{class} eq 'throttle' ? qr/throttle/ : qr/^\Q$rule\E$/, "$case->{name}: says why");
	is(sql("SELECT coalesce(run_at, 'infinity') >= recorded_at + interval '1 second' * $case->{wait} - interval '1 second'
		FROM artery.ad_change c JOIN artery.ad_change_history h USING (tenant_id, change_id)
		WHERE change_id = '$case->{id}' AND outcome = '$outcome'"), 't', "$case->{name}: waits long enough")
		if $case->{class} ne 'permanent';
	is(scalar($fake->changes($case->{adset})), 0, "$case->{name}: nothing was set")
		if $case->{class} ne 'ambiguous';	# which may have been read back and sent again by now
	return;
}

my @own = grep { $_->{class} ne 'config_stop_all' } @cases;
begin($_) for @own;
judge($_) for @own;

my %scope = (account => 'account', app => 'app', object => 'object', tenant => 'token');
for my $case (grep { $_->{class} =~ /throttle|token|human/ } @own)
{
	is(sql("SELECT count(*) FROM artery.v_throttles WHERE scope = '$scope{$case->{scope}}' AND until > artery.now()
		AND (tenant_id = '$case->{tenant}' OR tenant_id = '' AND scope_id = (
			SELECT settings ->> 'meta_app_id' FROM artery.tenant WHERE tenant_id = '$case->{tenant}'))"), '1',
		"$case->{name}: the $case->{scope} is to be left alone");
	next unless $case->{class} =~ /token|human/;
	is(sql("SELECT count(*) FROM artery.v_alerts WHERE tenant_id = '$case->{tenant}'"), '1', "$case->{name}: one alert");
}
cmp_ok(sql("SELECT artery.health() #>> '{throttles,active}'"), '>', 15, 'health counts the waits');

# The settings' fault: one alert for all; a restart changes nothing; other settings release it.
for my $case (grep { $_->{class} eq 'config_stop_all' } @cases)
{
	begin($case);
	judge($case);
	is(sql("SELECT string_agg(kind, ' ') FROM artery.v_alerts WHERE tenant_id = ''"), 'configuration', 'an alert for all');
	$node->restart;
	my $posts = scalar($fake->requests('POST', $case->{adset}));
	$fake->add_adset('other', 10000);
	add_tenant($node, 'other');
	my $other = queue_budget($node, 'other', 'other', 100, 110);
	poll_until(sub { state_of($node, $other) eq 'blocked' }, 'after a restart others are held back, too');
	is(scalar($fake->requests('GET', 'other')), 0, 'without asking Meta');
	$node->append_conf('postgresql.conf', "artery.meta_api_version = 'v26.0'");
	$node->reload;
	poll_until(sub { state_of($node, $_) eq 'completed' }, 'another version releases it') for $case->{id}, $other;
	is(sql("SELECT count(*) FROM artery.v_alerts WHERE tenant_id = ''"), '0', 'and closes the alert');
}

# Two days later all waits are over; what only a person can cure still waits.
move_clock($node, 2 * 86400, $fake);
sql("UPDATE artery.ad_change SET run_at = artery.now() WHERE state = 'unknown'; SELECT artery.wake_worker()");
for my $case (@own)
{
	my $final = $case->{class} eq 'permanent' ? 'failed' : $case->{class} =~ /token|human/ ? 'blocked' : 'completed';

	poll_until(sub { state_of($node, $case->{id}) eq $final }, "$case->{name}: $final in the end", 60);
	is(scalar($fake->changes($case->{adset})), $final eq 'completed' ? 1 : 0, "$case->{name}: set as often as it should");
}
is(sql("SELECT count(*) FROM artery.throttle WHERE until < artery.now() AND scope NOT IN ('object')
	AND reason <> 'insights_throttle'"), '0', 'an answer after a wait ends it for good');

# A person acts: a new token, or word that the account is clear.
for my $case (grep { $_->{class} =~ /token|human/ } @own)
{
	sql($case->{class} =~ /token/ ? "SELECT artery.set_secret('$case->{tenant}', 'meta_access_token', 'another')"
		: "SELECT artery.resume_delivery('$case->{tenant}')");
	poll_until(sub { state_of($node, $case->{id}) eq 'completed' }, "$case->{name}: resumed");
	is(sql("SELECT count(*) FROM artery.v_alerts WHERE tenant_id = '$case->{tenant}'"), '0', "$case->{name}: its alert is closed");
}
is(sql("SELECT max(n) FROM (SELECT count(*) AS n FROM artery.ad_change_history WHERE outcome = 'completed' GROUP BY change_id) x"),
	'1', 'no change was completed twice');

$node->stop;
$fake->stop;
done_testing();
