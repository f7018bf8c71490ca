# The whole story of one lead: a click on an ad, a form, a deal that moves
# through the CRM, a decision, a guarded change that reaches Meta and ramps, and
# actuals that come back. Signed webhooks, the real worker, a fake Graph API.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256_base64);
use FindBin;
use HTTP::Tiny;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $secret = 'story-client-secret';
my $url = 'https://hooks.example.com/api/webhook/hubspot';
my $tenant = 'ptd_fitness';

my $graph = start_graph();
my $node = start_server();

sub ask { return $node->safe_psql('postgres', shift); }

# SQL literal
sub quoted { my $text = shift; $text =~ s/'/''/g; return "'$text'"; }

# Poll until the query returns t.
sub until_true
{
	my ($query, $what) = @_;
	ok($node->poll_query_until('postgres', $query), $what)
	  or diag(ask("SELECT jsonb_pretty(artery.health())"));
}

# Milliseconds since the epoch.
sub milliseconds { return ask("SELECT floor(extract(epoch FROM artery.now()) * 1000)::bigint"); }

# An event of HubSpot's: the deal entered a stage so many minutes ago.
sub event
{
	my ($event_id, $stage, $minutes) = @_;
	return encode_json({
		eventId => $event_id, subscriptionId => 25, portalId => 67890, appId => 1160452,
		occurredAt => milliseconds() - $minutes * 60000, subscriptionType => 'deal.propertyChange', attemptNumber => 0,
		objectId => 12345, propertyName => 'dealstage', propertyValue => $stage, changeSource => 'CRM_UI' });
}

# HubSpot's POST of a body, signed v3; returns the answer.
sub hubspot
{
	my $body = shift;
	my $now = milliseconds();
	my $signature = hmac_sha256_base64("POST$url$body$now", $secret);
	$signature .= '=' while length($signature) % 4;
	my $headers = encode_json({ 'X-HubSpot-Signature-v3' => $signature, 'X-HubSpot-Request-Timestamp' => "$now" });
	return ask("SELECT artery.hubspot_webhook(convert_to(" . quoted($body) . ", 'UTF8'), " . quoted($headers) . ")");
}

# Hours pass for artery; the machine's clock stays.
my $offset = 0;
sub hours_pass
{
	$offset += 3600 * shift;
	ask("ALTER SYSTEM SET artery.clock_offset = $offset");
	ask("SELECT pg_reload_conf()");
	control('POST', 'settings', { clock_offset => $offset });
}

# --- the tenant: a gym; its ads and what they have cost so far
ask(qq{
	CREATE EXTENSION artery;
	SELECT artery.add_tenant('$tenant', 'service_business', 'USD', 'America/New_York');
	SELECT artery.configure_tenant('$tenant', '{"dry_run": false, "attribution_model": "layered", "fuzz_percent": 0,
		"hubspot_portal_ids": [67890], "hubspot_webhook_url": "$url", "meta_ad_account_id": "act_1234567890",
		"daily_budget": 200}');
	SELECT artery.set_secret('$tenant', 'hubspot_client_secret', '$secret');
	SELECT artery.set_secret('$tenant', 'meta_access_token', 'story-token');
});
control('POST', 'objects', { type => 'account', id => '1234567890' });
for my $adset (qw(2301 2302 2303 2304))
{
	control('POST', 'objects', { type => 'adset', id => $adset, campaign_id => $adset == 2304 ? 'campaign_457' : 'campaign_456',
		account_id => '1234567890', daily_budget => '10000' });
	ask("SELECT artery.observe_budget('$tenant', '$adset', 100, artery.now() - interval '1 day')");
}
for my $n (1 .. 3)
{
	ask(qq{
		SELECT artery.register_ad('$tenant', 'ad_12' || $n + 2, 'campaign_456', '230$n', '230$n',
			artery.now() - interval '4 days');
		SELECT artery.record_ad_day('$tenant', 'ad_12' || $n + 2, (artery.now() AT TIME ZONE 'America/New_York')::date - d, 4000, 60, 100)
		  FROM generate_series(1, 3) d;
	});
}

# --- 1. the click
my $click = ask(qq{SELECT artery.track_click('$tenant', 'campaign_456', 'ad_123', ip_address => '203.0.113.45',
	user_agent => 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X)', screen_width => 1170, screen_height => 2532,
	timezone => 'America/New_York', timezone_offset => -300, click_timestamp => artery.now() - interval '3 hours')});
ok($click ne '', 'the click has an id');

# --- 2. the form
ask(qq{SELECT artery.identify('$tenant', crm_deal_id => '12345',
	fingerprint_hash => artery.fingerprint(1170, 2532, 'America/New_York', -300, NULL, NULL, NULL),
	seen_at => artery.now() - interval '2 hours')});

# --- 3. and 4. the deal moves, and the answer to the second webhook
my $lead = decode_json(hubspot(event(1, 'lead', 90)));
is($lead->{status}, 'processed', 'HubSpot: the deal enters lead');
is($lead->{synthetic_revenue}{value}, 0, 'a lead is worth nothing yet');

my $appointment = event(2, 'appointmentscheduled', 60);
my $answer = hubspot($appointment);
is(ask("SELECT " . quoted($answer) . q{::jsonb = '{"status": "processed", "deal_id": "12345",
	"stage_to": "appointment_scheduled",
	"synthetic_revenue": {"value": 2250, "incremental": 2250, "confidence": 0.60},
	"attribution": {"success": true, "method": "fingerprint", "confidence": 0.90, "ad_id": "ad_123",
		"campaign_id": "campaign_456"}}'::jsonb}), 't', 'the appointment is valued and attributed, the answer exact')
  or diag($answer);
is(decode_json(hubspot($appointment))->{status}, 'duplicate', 'the same event again has no effect');
is(ask("SELECT pipeline_value FROM artery.ad_roas('$tenant', 'ad_123')"), '2250', 'the ad has earned the stage once');

my $forged = $node->psql('postgres', qq{SELECT artery.hubspot_webhook('{"portalId": 67890}',
	'{"X-HubSpot-Signature-v3": "AAAA", "X-HubSpot-Request-Timestamp": "1"}')});
isnt($forged, 0, 'a forged webhook is refused');

# --- 5. the high-value conversion asked for a decision, and the worker made it
until_true("SELECT EXISTS (SELECT FROM artery.job_execution_history WHERE tenant_id = '$tenant'
	AND job_name = 'budget-optimization' AND outcome = 'completed')", 'the worker ran the budget-optimization job');
is(ask("SELECT count(*) FROM artery.budget_recommendation r JOIN artery.allocation_run USING (tenant_id, run_id)
	WHERE r.tenant_id = '$tenant' AND reason <> ''"), '3', 'a recommendation is stored for each ad, with its reason');
is(ask("SELECT sum(recommended_budget) FROM artery.budget_recommendation WHERE tenant_id = '$tenant'"), '200.00',
	'they add up to the budget to the cent');

# the proposals are of the tenant's policy: each waits for a person
is(ask("SELECT count(*) >= 2, bool_and(state = 'proposed') FROM artery.ad_change WHERE tenant_id = '$tenant'
	AND run_id IS NOT NULL AND state <> 'superseded'"), 't|t', 'a change is proposed for each budget owner but for noise');
is(scalar(posts()), 0, 'nothing unapproved was sent');

# The largest cut goes all the way.
my ($change, $cut) = split /\|/, ask("SELECT change_id, target_id FROM artery.ad_change
	WHERE tenant_id = '$tenant' AND state = 'proposed' ORDER BY (requested_value ->> 'budget')::numeric LIMIT 1");
ask("SELECT artery.reject_ad_change('$tenant', change_id, 'maria') FROM artery.ad_change
	WHERE tenant_id = '$tenant' AND state = 'proposed' AND change_id <> '$change'");
is(ask("SELECT artery.approve_ad_change('$tenant', '$change', 'maria', 'go')"), 'approved', 'a person approves it');
is(ask("SELECT run_at - approved_at BETWEEN interval '2.9 s' AND interval '18.1 s' FROM artery.ad_change
	WHERE tenant_id = '$tenant' AND change_id = '$change'"), 't', 'jitter is a moment to run at');
hours_pass(20 / 3600);
until_true("SELECT state = ANY (ARRAY['completed', 'blocked']) FROM artery.ad_change
	WHERE tenant_id = '$tenant' AND change_id = '$change'", 'the worker took it up');
# The budgets were 100 each and shall be 200 in all, so the lowest of three is
# at most 67, a cut of more than 20 %: to 80 now, the rest in 6 hours.
is(budget_at_meta($cut), '8000', 'Meta has the largest step the guard allows');
is(ask("SELECT state, blocked_rule FROM artery.ad_change WHERE tenant_id = '$tenant' AND change_id = '$change'"),
	'blocked|velocity', 'the rest waits for the velocity window');
is(ask("SELECT outcome, old_value, new_value FROM artery.ad_change_history
	WHERE tenant_id = '$tenant' AND change_id = '$change' AND outcome = 'step'"),
	'step|{"budget": 100.00}|{"budget": 80.00}', 'the step is in the history, with both values');
is(ask("SELECT failures FROM artery.ad_change WHERE tenant_id = '$tenant' AND change_id = '$change'"), '0',
	'being blocked spends no attempt');

# A far too large wish ramps: 100 -> 250 by 20 % per 6 hours. It is beyond what the
# tenant said it spends a day, so that is raised first.
ask(qq{SELECT artery.configure_tenant('$tenant', '{"daily_budget": 1000}')});
my $wish = ask(qq{SELECT artery.queue_ad_change('$tenant', 'campaign_457', 'BUDGET_INCREASE', '{"budget": 100}',
	'{"budget": 250}', 'maria', adset_id => '2304')});
ask("SELECT artery.approve_ad_change('$tenant', '$wish', 'maria')");
my @ramp = qw(12000 14400 17280 20736 24883 25000);
for my $n (0 .. $#ramp)
{
	hours_pass($n == 0 ? 20 / 3600 : 6);
	until_true("SELECT count(*) = $n + 1 FROM artery.ad_change_history WHERE tenant_id = '$tenant'
		AND change_id = '$wish' AND outcome = ANY (ARRAY['step', 'completed'])", "step @{[$n + 1]} of the ramp is sent");
	is(budget_at_meta('2304'), $ramp[$n], "Meta has $ramp[$n]");
}
is(ask("SELECT state FROM artery.ad_change WHERE tenant_id = '$tenant' AND change_id = '$wish'"), 'completed',
	'the ramp has reached the wish');
is_deeply([ map { $_->{params}{daily_budget} } grep { $_->{path} =~ /2304/ } posts() ], \@ramp,
	'Meta received each step once');

# --- 6. actuals come in; the posterior moves
my $before = ask("SELECT row_to_json(f) FROM artery.record_feedback('$tenant', 'ad_123', 2250, 300, 12000, 180) f");
my $after = ask("SELECT row_to_json(f) FROM artery.record_feedback('$tenant', 'ad_123', 17250, 420, 16000, 260) f");
is(decode_json($before)->{actual_roas}, 7.5, 'actual ROAS: 2250 / 300');
isnt(decode_json($after)->{posterior_mean}, decode_json($before)->{posterior_mean}, 'the posterior has moved');
is(ask("SELECT cash_revenue = 0 AND spend = 420 FROM artery.ad_roas('$tenant', 'ad_123')"), 't',
	'totals to date are not counted twice');

done_testing();

# --- the fake Graph API and the server

sub start_graph
{
	my $port_file = $PostgreSQL::Test::Utils::tmp_check . '/graph_port';
	unlink $port_file;
	my $run = IPC::Run::start(
		[ '/usr/bin/python3', "$FindBin::RealBin/../fake/graph_api.py", '--port-file', $port_file ],
		'>', $PostgreSQL::Test::Utils::tmp_check . '/graph.log', '2>&1');
	for (1 .. 100) { last if -s $port_file; select(undef, undef, undef, 0.1); }
	my $port = slurp_file($port_file);
	chomp $port;
	return { run => $run, url => "http://127.0.0.1:$port" };
}

# Talk to the fake as a person does who looks into Ads Manager.
sub control
{
	my ($method, $path, $body) = @_;
	my $answer = HTTP::Tiny->new->request($method, "$graph->{url}/_control/$path",
		$body ? { headers => { 'Content-Type' => 'application/json' }, content => encode_json($body) } : {});
	die "$method $path: $answer->{status} $answer->{content}" unless $answer->{success};
	return decode_json($answer->{content});
}

sub budget_at_meta { return control('GET', 'objects/' . shift)->{daily_budget}; }

# What Meta was asked to write.
sub posts { return grep { $_->{method} eq 'POST' } @{ control('GET', 'log')->{requests} }; }

sub start_server
{
	my $node = PostgreSQL::Test::Cluster->new('story');
	$node->init;
	$node->append_conf('postgresql.conf', slurp_file($ENV{ARTERY_TEST_CONF})) if $ENV{ARTERY_TEST_CONF};
	$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'artery'
artery.databases = 'postgres'
artery.allow_loopback_http = on
artery.meta_base_url = '$graph->{url}'
});
	$node->start;
	return $node;
}

END
{
	my $status = $?;
	$graph->{run}->kill_kill if $graph;
	$? = $status;
}
