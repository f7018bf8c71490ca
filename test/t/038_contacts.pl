# A deal without evidence gets it from HubSpot: its contacts and what their properties tell; refused
# tokens, limits, garbage, a worker that dies, merged and erased contacts.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Digest::SHA qw(sha256_hex);
use JSON::PP;
use Test::More;
use ArteryTest qw(new_cluster add_tenant poll_until worker_pid move_clock);

my $fake = ArteryTest::Fake->start;
my $node = new_cluster('contacts', fake => $fake);
my $late = 0;

sub query { return $node->safe_psql('postgres', $_[0]) }
sub stage { my ($tenant, $deal, $stage) = @_; return query("SELECT artery.record_stage('$tenant', '$deal', '" . ($stage // 'lead') . "') ->> 'status'") }
sub deal { return query("SELECT concat_ws(' ', attribution_method, ad_id, crm_contact_id) FROM artery.deal WHERE tenant_id = '$_[0]' AND deal_id = '$_[1]'") }
sub fetch { return query("SELECT concat_ws(' ', state, outcome, failures, looks) FROM artery.v_contact_fetches WHERE tenant_id = '$_[0]' AND deal_id = '$_[1]'") }
sub why { return query("SELECT last_error FROM artery.v_contact_fetches WHERE tenant_id = '$_[0]' AND deal_id = '$_[1]'") }
sub asked { return grep { $_->{path} =~ m{^/crm/} } @{ $fake->control('GET', 'log')->{requests} } }
sub alerts { return query("SELECT coalesce(string_agg(kind, ' ' ORDER BY kind), '') FROM artery.v_alerts WHERE tenant_id = '$_[0]'") }
sub later { $late += $_[0]; move_clock($node, $late, $fake); return }

# How often each request was made, by its path below the version.
sub paths
{
	my %count;
	$count{ $_->{path} =~ s{/2026-03}{}r }++ for asked();
	return join ' ', map { "$_=$count{$_}" } sort keys %count;
}

sub tenant
{
	my ($tenant) = @_;
	add_tenant($node, $tenant, attribution_model => 'layered', dry_run => JSON::PP::true);
	query("SELECT artery.set_secret('$tenant', 'hubspot_access_token', 'token-of-$tenant-h')");
	query("SELECT artery.track_click('$tenant', 'c', 'ad_1', click_id => 'own-1', fbclid => 'IwAR-one', click_timestamp => artery.now() - interval '1 day'),
		artery.track_click('$tenant', 'c', 'ad_2', click_id => 'own-2', ip_address => '203.0.113.9', fingerprint_hash => repeat('a', 64),
			click_timestamp => artery.now() - interval '1 day')");
	return;
}

# The happy path: two pages of contacts, the click id of the second attributes the deal; dry_run reads all the same.
$fake->control('POST', 'settings', { hubspot_page => 2, hubspot_deals => { 501 => [ 11, 12, 13 ], 502 => [14], 503 => [15], 504 => [],
		505 => [16], 506 => [17], 507 => [18], 508 => [19], 509 => [11], 510 => [11], 511 => [11], 512 => [12] },
	hubspot_merged => { 16 => '26' },
	hubspot_contacts => { 11 => { email => 'plain@example.com' }, 12 => { email => ' Ann@Example.com', hs_facebook_click_id => 'IwAR-one',
			hs_google_click_id => 'g', firstname => 'Ann' }, 13 => {},
		14 => { artery_click_id => 'own-2' }, 15 => { email => 'Form@Example.com' }, 26 => { hs_facebook_click_id => 'IwAR-one' },
		17 => { email => 'gone@example.com', hs_facebook_click_id => 'IwAR-one' }, 18 => { hs_facebook_click_id => 'IwAR-one' },
		19 => { hs_facebook_click_id => 'IwAR-one' } } });
tenant('acme');
is(stage('acme', 501), 'processed', 'a deal enters a stage');
poll_until(sub { deal('acme', 501) eq 'url_param ad_1 12' }, 'it finds its ad by the click id that HubSpot kept');
is(fetch('acme', 501), 'done attributed 0 0', 'which is told');
is(paths(), '/crm/associations/deals/contacts/batch/read=1 /crm/objects/contacts/batch/read=1 /crm/objects/deals/501=1', 'by three requests');
is(query("SELECT string_agg(concat_ws(' ', crm_contact_id, crm_deal_id, fbclid, email_hash), ',') FROM artery.contact_evidence WHERE tenant_id = 'acme'"),
	"12 501 IwAR-one " . sha256_hex('ann@example.com'), 'what is kept is what identify keeps, of the contact that tells');
stage('acme', 501, 'appointment_scheduled');
stage('acme', 502);
poll_until(sub { deal('acme', 502) eq 'url_param ad_2 14' }, "so does one by the landing page's own id");
is(scalar(grep { $_->{path} =~ /501/ } asked()), 1, 'a deal that has its ad is not asked for again');

# An e-mail address leads to what the landing page saw.
query("SELECT artery.identify('acme', email_hash => '" . sha256_hex('form@example.com') . "', fingerprint_hash => repeat('a', 64),
	seen_at => artery.now() - interval '20 hours')");
stage('acme', 503);
poll_until(sub { deal('acme', 503) eq 'fingerprint ad_2 15' }, 'an e-mail address leads to the form');

# No contact yet: looked at again, and then there is one. A deal that HubSpot does not know is done.
stage('acme', 504);
stage('acme', 999);
poll_until(sub { fetch('acme', 504) eq 'queued nothing 0 1' }, 'a deal without contacts is looked at again');
poll_until(sub { fetch('acme', 999) eq 'done gone 0 0' }, 'one that is gone is not');
$fake->control('POST', 'settings', { hubspot_deals => { 504 => [18], 505 => [16], 506 => [17], 507 => [18], 508 => [19], 509 => [11], 510 => [11], 511 => [11], 512 => [12] } });
later(61);
poll_until(sub { deal('acme', 504) eq 'url_param ad_1 18' }, 'and finds its ad when the contact came');

# Merged and erased contacts.
query("SELECT artery.merge_contacts('acme', '36', ARRAY['26']), artery.erase_contact('acme', crm_contact_id => '17')");
stage('acme', 505);
stage('acme', 506);
poll_until(sub { deal('acme', 505) eq 'url_param ad_1 36' }, 'a merged contact is the one that stays');
poll_until(sub { fetch('acme', 506) =~ /^done found/ }, 'contacts of an erased person are read');
is(deal('acme', 506) . query("SELECT count(*) FROM artery.contact_evidence WHERE tenant_id = 'acme' AND (crm_contact_id = '17' OR crm_deal_id = '506')"),
	'unattributed0', 'and nothing of them is kept');

# A refused token stops the tenant with one alert, others go on; another token brings it back.
tenant('other');
$fake->control('POST', 'settings', { hubspot_tokens => ['token-of-other-h'] });
$fake->control('DELETE', 'log');
stage('acme', $_) for 507, 508;
stage('other', 507);
poll_until(sub { alerts('acme') eq 'hubspot_token' }, 'a refused token is told');
poll_until(sub { deal('other', 507) eq 'url_param ad_1 18' }, 'another tenant is served');
poll_until(sub { query("SELECT string_agg(state, ' ') FROM artery.v_contact_fetches WHERE tenant_id = 'acme' AND deal_id IN ('507', '508')") eq 'queued queued' },
	'what was due waits');
my $refused = scalar(grep { $_->{status} == 401 } asked());
cmp_ok($refused, '<=', 2, 'and does not go on asking');
is(query("SELECT paused_reason || ' ' || paused_until FROM artery.v_contact_fetch_health WHERE tenant_id = 'acme'"), 'token infinity', 'a view says why');
$fake->control('POST', 'settings', { hubspot_tokens => [ 'token-of-other-h', 'token-of-acme-new' ] });
query("SELECT artery.set_secret('acme', 'hubspot_access_token', 'token-of-acme-new')");
poll_until(sub { deal('acme', 507) eq 'url_param ad_1 18' && deal('acme', 508) eq 'url_param ad_1 19' }, 'another token brings it back');
is(alerts('acme'), '', 'and closes the alert');

# A limit of requests: HubSpot is left alone for its window, and no attempt is spent.
$fake->control('POST', 'settings', { hubspot_most => 0 });
$fake->control('DELETE', 'log');
stage('acme', 512);
poll_until(sub { query("SELECT reason FROM artery.contact_fetch_pause WHERE tenant_id = 'acme'") eq 'rate_limit' }, 'a limit is obeyed');
is(fetch('acme', 512), 'queued 0 0', 'which costs no attempt');
like(why('acme', 512), qr/429, TEN_SECONDLY_ROLLING/, 'and is told');
stage('acme', 504, 'closed_lost');
stage('other', 508);
is(scalar(grep { $_->{status} == 429 && $_->{path} =~ /512/ } asked()), 1, 'it is asked once');
$fake->control('POST', 'settings', { hubspot_most => undef });
later(25);
poll_until(sub { deal('acme', 512) eq 'url_param ad_1 12' }, 'and served when the window is over');
is(query("SELECT count(*) FROM artery.contact_fetch_pause WHERE tenant_id = 'acme'"), '0', 'HubSpot answers: the pause is forgotten');

# Garbage, a broken connection and a full server: failures that are tried again, each alone.
$fake->fault(match => { path => '/deals/509$' }, kind => 'bytes', hex => '00ff7b225b');
$fake->fault(match => { path => '/deals/510$' }, times => -1, kind => 'close_before');
$fake->fault(match => { path => '/deals/511$' }, kind => 'error', status => 503, body => 'busy', headers => { 'Retry-After' => '600' });
stage('acme', $_) for 509 .. 511;
poll_until(sub { fetch('acme', 509) eq 'queued 1 0' }, 'garbage is a failure');
poll_until(sub { fetch('acme', 510) eq 'queued 1 0' && fetch('acme', 511) eq 'queued 1 0' }, 'so are a closed connection and a full server');
like(why('acme', 509), qr/200, and no JSON object/, 'what it was is told');
ok(query("SELECT run_at > artery.now() + interval '9 minutes' FROM artery.v_contact_fetches WHERE tenant_id = 'acme' AND deal_id = '511'") eq 't',
	'Retry-After counts');
$fake->clear_faults;
later(601);
poll_until(sub { join(',', map { fetch('acme', $_) } 509 .. 511) eq join(',', ('queued nothing 0 1') x 3) }, 'and all are read in the end');

# The worker dies while HubSpot thinks: the next one reads it anew, without a transaction meanwhile.
$fake->control('DELETE', 'log');
$fake->control('POST', 'settings', { hubspot_deals => { 601 => [12], 602 => [12] } });
$fake->fault(match => { path => '/contacts/batch/read$' }, times => 1, kind => 'delay_after', seconds => 30);
stage('acme', 601);
poll_until(sub { scalar(grep { $_->{path} =~ m{objects/.*/contacts} } asked()) == 1 }, 'a reading is under way');
is(query("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'artery%' AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL)"), '0',
	'no transaction is open');
is(fetch('acme', 601), 'active 0 0', 'it is claimed');
query("SELECT pg_terminate_backend(" . worker_pid($node) . ")");
poll_until(sub { deal('acme', 601) eq 'url_param ad_1 12' }, 'after the worker is gone it is done by the next', 15);

# The global stop.
$node->append_conf('postgresql.conf', 'artery.enabled = off');
$node->reload;
poll_until(sub { query('SHOW artery.enabled') eq 'off' }, 'artery is off');
$fake->control('DELETE', 'log');
stage('acme', 602);
stage('acme', 510, 'appointment_scheduled');
is(fetch('acme', 602) . scalar(asked()), 'queued 0 00', 'nothing is asked while artery is off');
$node->append_conf('postgresql.conf', 'artery.enabled = on');
$node->reload;
poll_until(sub { deal('acme', 602) eq 'url_param ad_1 12' }, 'then it is');

my @log = split /\n/, PostgreSQL::Test::Utils::slurp_file($node->logfile);
is(scalar(grep { /ann\@example|form\@example|token-of-acme|token-of-other/i && !/\bstatement:/ } @log), 0, 'the log knows neither address nor token');
is(query("SELECT count(*) FROM artery.contact_evidence e WHERE e::text ~* 'example'"), '0', 'nor do the tables an address');
$node->stop;
$fake->stop;
done_testing();
