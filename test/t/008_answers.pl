# What becomes of a change by what Meta answers: failed, tried again, held back,
# and who else is held back with it. No secret shows anywhere.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use PostgreSQL::Test::Utils qw(slurp_file);
use ArteryTest qw(new_cluster add_tenant poll_until queue_budget state_of);

my $fake = ArteryTest::Fake->start;
my $node = new_cluster('answers', fake => $fake);

# Every case has a tenant, an account and an app of its own, since some answers stop these.
sub try_answer
{
	my ($name, $method, $fault, $expected, $rule, $least_wait) = @_;

	add_tenant($node, $name, meta_ad_account_id => '77', meta_app_id => "9$name" =~ s/\D//gr, dry_run => JSON::PP::false);
	$node->safe_psql('postgres', "SELECT artery.configure_tenant('$name', '{\"meta_ad_account_id\": null}')");
	$fake->add_adset($name, 10000);
	$fake->fault(match => { method => $method, path => "/$name\$" }, times => 1, kind => 'error', %$fault);
	my $id = queue_budget($node, $name, $name, 100, 110);
	poll_until(sub { $node->safe_psql('postgres', "SELECT count(*) FROM artery.ad_change_history
		WHERE change_id = '$id' AND outcome = '$expected'") eq '1' }, "$name: $expected") or return;
	is($node->safe_psql('postgres', "SELECT coalesce(blocked_rule, ''), last_error <> '', run_at IS NULL
			OR run_at > artery.now() + interval '1 second' * $least_wait - interval '10 seconds'
		FROM artery.ad_change WHERE change_id = '$id'"), "$rule|t|t", "$name: says why, and waits long enough");
	is(scalar($fake->changes($name)), 0, "$name: nothing was set");
	return $id;
}

sub code { return { error => { code => $_[0], $_[1] ? (error_subcode => $_[1]) : () } } }

try_answer('low1', 'POST', code(100, 1885272), 'failed', '', 0);
try_answer('permission2', 'POST', code(200), 'failed', '', 0);
try_answer('missing3', 'GET', code(100, 33), 'failed', '', 0);
try_answer('busy4', 'GET', code(2), 'retry', '', 30);
try_answer('later5', 'GET', { status => 503, body => '', headers => { 'Retry-After' => '600' } }, 'retry', '', 600);
try_answer('object6', 'POST', code(613, 1487632), 'blocked', 'object_throttle', 3600);
try_answer('account7', 'POST', code(80004), 'blocked', 'account_throttle', 300);
try_answer('app8', 'POST', code(4), 'blocked', 'app_throttle', 300);
try_answer('human9', 'POST', code(368), 'blocked', 'account_stopped', 86400);
try_answer('doubt10', 'POST', code(1), 'unknown', '', 30);

# An account that is throttled holds its other changes back, and no others.
$fake->add_adset('sibling', 10000);
$fake->add_adset('stranger', 10000);
my $held = queue_budget($node, 'account7', 'sibling', 100, 110);
my $free = queue_budget($node, 'low1', 'stranger', 100, 110);
poll_until(sub { state_of($node, $held) eq 'blocked' }, 'a change of the same account is held back');
poll_until(sub { state_of($node, $free) eq 'completed' }, 'one of another account is not');
is(scalar($fake->requests('GET', 'sibling')), 0, 'without asking Meta again');

# A token that Meta does not take: one try, all changes wait, a new one releases them.
add_tenant($node, 'token');
$fake->control('POST', 'settings', { tokens => ['EAAgood0123456789012345678901234567890'] });
$node->safe_psql('postgres', q{SELECT artery.set_secret('token', 'meta_access_token', 'EAAbad0123456789012345678901234567890')});
$fake->add_adset($_, 10000) for qw(t1 t2);
my @ids = (queue_budget($node, 'token', 't1', 100, 110));
poll_until(sub { state_of($node, $ids[0]) eq 'blocked' }, 'a bad token blocks');
push @ids, queue_budget($node, 'token', 't2', 100, 110);
poll_until(sub { state_of($node, $ids[1]) eq 'blocked' }, 'the next change, too');
is(scalar($fake->requests('GET', 't2')), 0, 'without another try');
is($node->safe_psql('postgres', "SELECT last_error FROM artery.ad_change WHERE change_id = '$ids[0]'"),
	"Meta's error 190: Malformed access token [redacted]", 'the reason is told without the token');
$node->safe_psql('postgres', q{
	SELECT artery.set_secret('token', 'meta_app_secret', 'appsecretvalue');
	SELECT artery.set_secret('token', 'meta_access_token', 'EAAgood0123456789012345678901234567890')});
$fake->control('POST', 'settings', { app_secret => 'appsecretvalue' });
poll_until(sub { state_of($node, $_) eq 'completed' }, 'a new token, with proof, releases it') for @ids;

# The wrong version of the API: everybody waits, until the setting is right.
$fake->control('POST', 'settings', { tokens => undef, app_secret => undef });
$node->append_conf('postgresql.conf', "artery.meta_api_version = 'v18.0'");
$node->reload;
$fake->add_adset('v1', 10000);
my $old = queue_budget($node, 'low1', 'v1', 100, 110);
poll_until(sub { $node->safe_psql('postgres', "SELECT blocked_rule FROM artery.ad_change WHERE change_id = '$old'")
	eq 'configuration' }, 'an outdated version holds changes back');

# Budgets that are none.
$fake->control('POST', 'objects', { type => 'adset', id => 'life', campaign_id => 'clife', account_id => '1', lifetime_budget => '500000' });
$fake->control('POST', 'objects', { type => 'adset', id => 'foreign', campaign_id => 'cforeign', account_id => '666', daily_budget => '10000' });
$node->append_conf('postgresql.conf', "artery.meta_api_version = 'v25.0'");
$node->reload;
add_tenant($node, 'acme');
my %why = (life => qr/lifetime budget/, foreign => qr/belongs to ad account 666/);
for my $name (sort keys %why)
{
	my $id = queue_budget($node, 'acme', $name, 100, 110);

	poll_until(sub { state_of($node, $id) eq 'failed' }, "$name: failed");
	like($node->safe_psql('postgres', "SELECT last_error FROM artery.ad_change WHERE change_id = '$id'"), $why{$name},
		"$name: says why");
}

# Secrets: not in the log at its most talkative, not in rows.
my $log = slurp_file($node->logfile);
for my $secret (qw(EAAbad0123 EAAgood0123 appsecretvalue token-of-acme))
{
	is(() = $log =~ /^(?!.*set_secret).*\Q$secret\E/mg, 0, "$secret is not in the log but where the test set it");
	is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT c::text AS t FROM artery.ad_change c UNION ALL
		SELECT h::text FROM artery.ad_change_history h UNION ALL SELECT artery.health()::text) x WHERE strpos(t, '$secret') > 0"),
		'0', 'nor in a row');
}

$node->stop;
$fake->stop;
done_testing();
