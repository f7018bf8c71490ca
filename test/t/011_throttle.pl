# Waits that Meta imposes: kept over restarts and crashes, told by the usage headers
# before they are refused, ended by whoever may end them.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);
use ArteryTest qw(new_cluster add_tenant poll_until worker_pid queue_budget state_of);

my $fake = ArteryTest::Fake->start;
my $node = new_cluster('throttle', fake => $fake, conf => "restart_after_crash = on\n");
my %usage = (account => sub { my ($account, $percent, $minutes) = @_;
	return { 'X-Business-Use-Case-Usage' => encode_json({ $account => [ { type => 'ads_management', call_count => $percent,
		total_cputime => 1, total_time => 1, estimated_time_to_regain_access => $minutes // 0 } ] }) } });

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub throttles { return sql("SELECT string_agg(reason, ' ' ORDER BY reason) FROM artery.v_throttles WHERE tenant_id = '$_[0]'") }

# An account is throttled; the worker is restarted, the server killed: no request comes for it, others go on.
add_tenant($node, 'held', meta_ad_account_id => '11');
add_tenant($node, 'free', meta_ad_account_id => '22');
$fake->control('POST', 'objects', [ { type => 'campaign', id => 'cone', account_id => '11' },
	{ type => 'adset', id => 'one', campaign_id => 'cone', account_id => '11', daily_budget => '10000' },
	{ type => 'campaign', id => 'ctwo', account_id => '11' },
	{ type => 'adset', id => 'two', campaign_id => 'ctwo', account_id => '11', daily_budget => '10000' } ]);
$fake->fault(match => { method => 'POST', path => '/one$' }, times => 1, kind => 'error', error => { code => 80004 });
my $one = queue_budget($node, 'held', 'one', 100, 110);
poll_until(sub { state_of($node, $one) eq 'blocked' }, 'an account is throttled');
is(throttles('held'), 'account_throttle', 'the view says so');
is(throttles('free') // '', '', 'of this one only');
my $worker = worker_pid($node);
sql("SELECT pg_terminate_backend($worker)");
poll_until(sub { my $now = worker_pid($node); $now ne '' && $now ne $worker }, 'the worker is another one', 10);
my $two = queue_budget($node, 'held', 'two', 100, 110);
poll_until(sub { state_of($node, $two) eq 'blocked' }, 'after a restart the account is still left alone');
$node->stop('immediate');
$node->start;
sql("UPDATE artery.ad_change SET run_at = artery.now() WHERE change_id = '$two'; SELECT artery.wake_worker()");
sub reaches_meta
{
	my ($tenant, $adset) = @_;
	$fake->control('POST', 'objects', [ { type => 'campaign', id => "c$adset", account_id => '22' },
		{ type => 'adset', id => $adset, campaign_id => "c$adset", account_id => '22', daily_budget => '10000' } ]);
	my $id = queue_budget($node, $tenant, $adset, 100, 110);
	return poll_until(sub { state_of($node, $id) eq 'completed' }, "$adset: others go on");
}
reaches_meta('free', 'f1');
is(scalar($fake->requests('GET', 'two')), 0, 'nor does Meta hear of it after a crash');
is(sql("SELECT artery.resume_delivery('held')"), '1', 'whoever knows better lifts the wait');
poll_until(sub { state_of($node, $_) eq 'completed' }, 'and what waited is sent at once') for $one, $two;
is(sql("SELECT count(*) FROM artery.throttle WHERE tenant_id = 'held'"), '0', 'nothing is left of it');
my ($status, undef, $error) = $node->psql('postgres', "SELECT artery.resume_delivery('held', 'weather')");
like($error, qr/unknown reason "weather"/, 'an unknown reason is refused');

# A budget that may not be changed for an hour: neither may a newer wish for it, but others of the account.
$fake->add_adset($_, 10000) for qw(busy calm);
add_tenant($node, 'objects');
$fake->fault(match => { method => 'POST', path => '/busy$' }, times => 1, kind => 'error', error => { code => 613, error_subcode => 1487632 });
my $busy = queue_budget($node, 'objects', 'busy', 100, 110);
poll_until(sub { state_of($node, $busy) eq 'blocked' }, 'a budget was changed too often');
my $posts = scalar($fake->requests('POST', 'busy'));
my $newer = queue_budget($node, 'objects', 'busy', 100, 115);
my $calm = queue_budget($node, 'objects', 'calm', 100, 110);
poll_until(sub { state_of($node, $calm) eq 'completed' }, 'another one of the account is changed');
poll_until(sub { sql("SELECT blocked_rule FROM artery.ad_change WHERE change_id = '$newer'") eq 'object_throttle' },
	'a newer wish for it waits');
is(scalar($fake->requests('POST', 'busy')), $posts, 'without asking');
my $pause = sql(q{WITH q AS MATERIALIZED (SELECT artery.queue_ad_change('objects', 'cbusy', 'STATUS_CHANGE', '{"status": "ACTIVE"}',
	'{"status": "PAUSED"}', 'test', adset_id => 'busy') AS id) SELECT id FROM q, LATERAL artery.approve_ad_change('objects', id, 'boss')});
poll_until(sub { state_of($node, $pause) eq 'completed' }, 'but it can be paused');

# A refusal with several quotas in the header: what waits is the account's own, or, where it is not named, a business's.
for my $case ([ own => 7, { 999 => [ { type => 'ads_management', call_count => 100, estimated_time_to_regain_access => 60 } ],
		1 => [ { type => 'pages', call_count => 100, estimated_time_to_regain_access => 90 },
			{ type => 'ads_management', call_count => 100, estimated_time_to_regain_access => 7 } ] } ],
	[ business => 20, { 999 => [ { type => 'ads_insights', call_count => 100, estimated_time_to_regain_access => 60 },
			{ type => 'ads_management', call_count => 100, estimated_time_to_regain_access => 20 } ] } ])
{
	my ($tenant, $minutes, $quotas) = @$case;

	add_tenant($node, $tenant, meta_ad_account_id => '1');
	$fake->add_adset("of_$tenant", 10000);
	$fake->fault(match => { method => 'POST', path => "/of_$tenant\$" }, times => 1, kind => 'error', error => { code => 80004 },
		headers => { 'X-Business-Use-Case-Usage' => encode_json($quotas) });
	my $id = queue_budget($node, $tenant, "of_$tenant", 100, 110);
	poll_until(sub { state_of($node, $id) eq 'blocked' }, "$tenant: throttled");
	is(sql("SELECT round(extract(epoch FROM max(until - since)) / 60) FROM artery.v_throttles WHERE tenant_id = '$tenant'
		AND reason = 'account_throttle'"), $minutes, "$tenant: for $minutes minutes");
	is(sql("SELECT round(extract(epoch FROM next_allowed_at - updated_at) / 60) FROM artery.ad_change WHERE change_id = '$id'"),
		$minutes, "$tenant: and so long its change waits");
}

# Headers: at 75 percent slower, at 100 not at all.
for my $case ([ slow => 85, 2 ], [ quick => 74, 0 ])
{
	my ($tenant, $percent, $gap) = @$case;

	add_tenant($node, $tenant, meta_ad_account_id => '1');
	$fake->control('POST', 'settings', { usage_headers => $usage{account}->('1', $percent) });
	$fake->add_adset("$tenant$_", 10000) for 0 .. 3;
	my $first = queue_budget($node, $tenant, "${tenant}0", 100, 110);
	poll_until(sub { state_of($node, $first) eq 'completed' }, "$percent percent: changed");
	is(sql("SELECT count(*) FROM artery.v_throttles WHERE tenant_id = '$tenant' AND reason = 'usage'"), $gap ? 1 : 0,
		"$percent percent: " . ($gap ? 'noted' : 'not worth noting'));
	my @ids = map { queue_budget($node, $tenant, "$tenant$_", 100, 110) } 1 .. 3;
	poll_until(sub { state_of($node, $_) eq 'completed' }, 'and the next') for @ids;
	my @at = sort { $a <=> $b } map { ($fake->requests('GET', "$tenant$_"))[0]{at} } 1 .. 3;
	cmp_ok($at[2] - $at[0], $gap ? '>' : '<', $gap ? 2 * $gap - 0.5 : 1.5, sprintf('%d percent: three changes begin within %.1f s', $percent, $at[2] - $at[0]));
}
add_tenant($node, 'full', meta_ad_account_id => '1');
$fake->control('POST', 'settings', { usage_headers => $usage{account}->('1', 100, 30) });
$fake->add_adset($_, 10000) for qw(full1 full2);
my $full = queue_budget($node, 'full', 'full1', 100, 110);
poll_until(sub { state_of($node, $full) =~ /blocked|completed/ }, 'a quota is full after the first answer');
my $next = queue_budget($node, 'full', 'full2', 100, 110);
poll_until(sub { state_of($node, $next) eq 'blocked' }, 'then nothing more is asked');
is(scalar($fake->requests('GET', 'full2')), 0, 'not even to look');
is(sql("SELECT until - since > interval '29 minutes' FROM artery.v_throttles WHERE tenant_id = 'full'"), 't', 'for as long as Meta says');

# What the header says of other accounts and use cases neither hides a quota nor fills it.
for my $case ([ hidden => 85, 1 ], [ others => 10, 0 ])
{
	my ($tenant, $percent, $noted) = @$case;

	add_tenant($node, $tenant, meta_ad_account_id => '1');
	$fake->add_adset($tenant, 10000);
	$fake->control('POST', 'settings', { usage_headers => { 'X-Business-Use-Case-Usage' => encode_json({
		999 => [ { type => 'ads_management', call_count => 100, estimated_time_to_regain_access => 60 } ],
		1 => [ { type => 'pages', call_count => 100, estimated_time_to_regain_access => 90 },
			{ type => 'ads_insights', call_count => 95 }, { type => 'ads_management', call_count => $percent } ] }) } });
	my $id = queue_budget($node, $tenant, $tenant, 100, 110);
	poll_until(sub { state_of($node, $id) eq 'completed' }, "$percent percent beside fuller quotas of others: changed");
	is(throttles($tenant) // '', $noted ? 'usage' : '', $noted ? 'and noted' : 'and not slowed');
}
$fake->control('POST', 'settings', { usage_headers => undef });

# A refused token: stopped over a restart, the same one again changes nothing, another one resumes; one alert.
add_tenant($node, 'token');
$fake->control('POST', 'settings', { tokens => [ 'good', map { "token-of-$_" } qw(free held) ] });
$fake->add_adset("t$_", 10000) for 1 .. 4;
my @ids = map { queue_budget($node, 'token', "t$_", 100, 110) } 1 .. 3;
poll_until(sub { state_of($node, $_) eq 'blocked' }, 'a refused token stops all changes') for @ids;
is(sql("SELECT string_agg(kind || ' ' || (key ~ '^[0-9a-f]{16}\$'), ',') FROM artery.v_alerts WHERE tenant_id = 'token'"), 'token true',
	'with one alert, which tells a fingerprint');
my $asked = () = grep { $_->{status} == 401 } @{ $fake->control('GET', 'log')->{requests} };
cmp_ok($asked, '<=', 3, 'asked no more often than there were requests under way');
$node->restart;
sql("SELECT artery.set_secret('token', 'meta_access_token', 'token-of-token')");
push @ids, queue_budget($node, 'token', 't4', 100, 110);
poll_until(sub { state_of($node, $ids[3]) eq 'blocked' }, 'the same token set again changes nothing');
is(scalar(grep { $_->{status} == 401 } @{ $fake->control('GET', 'log')->{requests} }), $asked, 'Meta is not asked again');
is(sql("SELECT artery.health() ->> 'status'"), 'degraded', 'health tells');
sql("SELECT artery.set_secret('token', 'meta_access_token', 'good')");
poll_until(sub { state_of($node, $_) eq 'completed' }, 'another one resumes') for @ids;
is(sql("SELECT count(*) FROM artery.v_alerts WHERE tenant_id = 'token'"), '0', 'and closes the alert');
$fake->control('POST', 'settings', { tokens => undef });

# A certificate that nobody vouches for: nothing is sent, and the right address releases it.
SKIP: {
	skip 'no openssl', 4 if system('openssl version >/dev/null 2>&1') != 0;
	my $folder = PostgreSQL::Test::Utils::tempdir();
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	system("openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 1 -keyout $folder/key -out $folder/cert >/dev/null 2>&1") == 0
		or die 'could not make a certificate';
	my $server = fork // die "could not fork: $!";
	if ($server == 0)
	{
		open STDOUT, '>', "$folder/log"; open STDERR, '>&', \*STDOUT;
		exec 'openssl', 's_server', '-quiet', '-accept', "127.0.0.1:$port", '-key', "$folder/key", '-cert', "$folder/cert", '-www';
	}
	$node->append_conf('postgresql.conf', "artery.meta_base_url = 'https://localhost:$port'");
	$node->reload;
	$fake->add_adset('tls', 10000);
	sleep 0.5;
	my $tls = queue_budget($node, 'token', 'tls', 100, 110);
	poll_until(sub { sql("SELECT blocked_rule FROM artery.ad_change WHERE change_id = '$tls'") eq 'configuration' },
		'a certificate nobody vouches for holds everybody');
	is(sql("SELECT count(*) FROM artery.v_alerts WHERE kind = 'configuration'"), '1', 'with an alert');
	$node->append_conf('postgresql.conf', "artery.meta_base_url = '" . $fake->base . "'");
	$node->reload;
	poll_until(sub { state_of($node, $tls) eq 'completed' }, 'the right address releases it');
	is(sql("SELECT count(*) FROM artery.v_alerts"), '0', 'and the alert is closed');
	kill 'TERM', $server;
	waitpid $server, 0;
}

$node->stop;
$fake->stop;
done_testing();
