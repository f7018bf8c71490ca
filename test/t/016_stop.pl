# The stop buttons while a long queue is being sent: within a second nothing new
# goes out, what is under way is finished and recorded, and later all of it goes.
# And no tenant waits for another one's long queue.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use Time::HiRes qw(time);
use ArteryTest qw(new_cluster add_tenant poll_until queue_many);

my $fake = ArteryTest::Fake->start;
my $node = new_cluster('stop', fake => $fake, conf => "artery.http_max_in_flight = 4\n");

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub set { $node->append_conf('postgresql.conf', "artery.enabled = $_[0]"); return $node->reload }
sub log_of { my ($match) = @_; return grep { $_->{path} =~ m{/$match\d+$} } @{ $fake->control('GET', 'log')->{requests} } }
sub done { my ($match) = @_; return sql("SELECT count(*) FROM artery.ad_change WHERE target_id ~ '^$match\\d+\$' AND state = 'completed'") }

# However often the worker looks, it sends nothing more.
sub is_quiet
{
	my ($match, $what) = @_;
	my $before = scalar(log_of($match));

	for (1 .. 3)
	{
		my $rounds = sql('SELECT rounds FROM artery.worker_status(), artery.wake_worker()');
		poll_until(sub { sql('SELECT rounds FROM artery.worker_status()') > $rounds }, "$what: the worker looks");
	}
	return is(scalar(log_of($match)), $before, "$what: and sends nothing");
}

# stop_and_go(NAME, COUNT, STOP, GO, EXPECTED, CAMPAIGN): press the button while COUNT changes are being sent.
sub stop_and_go
{
	my ($name, $count, $stop, $go, $rule, $campaign) = @_;

	$fake->add_adsets($name, $count, $campaign);
	queue_many($node, 'acme', $name, $count, $campaign);
	poll_until(sub { grep({ $_->{method} eq 'POST' } log_of($name)) > 2 }, "$name: the queue is being sent");
	$stop->();
	my $pressed = time;
	poll_until(sub { sql("SELECT in_flight FROM artery.worker_status()") eq '0' && sql("SELECT count(*) FROM artery.ad_change
		WHERE target_id ~ '^$name\\d+\$' AND state IN ('sending', 'unknown')") eq '0' }, "$name: what is under way is finished", 5);
	my @late = grep { $_->{at} > $pressed + 1 } log_of($name);
	is(scalar(@late), 0, "$name: within a second nothing new goes out");
	my %written = map { $_->{path} => 1 } grep { $_->{method} eq 'POST' } log_of($name);
	cmp_ok(scalar(keys %written), '<', $count, "$name: most of it was still to be sent");
	is(done($name), scalar(keys %written), "$name: all that was written is recorded as completed");
	is(sql("SELECT count(*) FROM artery.ad_change WHERE target_id ~ '^$name\\d+\$' AND failures > 0"), '0', "$name: no attempt is spent");
	if ($rule)
	{
		is(sql("SELECT count(*) FROM artery.v_pending_changes WHERE target_id ~ '^$name\\d+\$'
			AND (state <> 'blocked' OR blocked_rule <> '$rule')"), '0', "$name: the rest says why it waits");
	}
	is_quiet($name, $name);
	$go->();
	poll_until(sub { done($name) eq $count }, "$name: switched on again, all of it goes", 60);
	is(scalar(grep { $_->{method} eq 'POST' } log_of($name)), $count, "$name: each once");
	return;
}

add_tenant($node, 'acme', rate_limit_per_hour => 1000);
add_tenant($node, 'small');
$fake->fault(match => { path => '/[a-z]+\d+$' }, times => -1, kind => 'pass', delay => 0.02);

stop_and_go('server', 120, sub { set('off') }, sub {
	is(sql("SELECT artery.health() ->> 'enabled'"), 'false', 'health says that artery is off');
	like(sql("SELECT artery.health() -> 'problems'"), qr/artery\.enabled is off: nothing is sent/, 'as a problem');
	my ($status, $out, $err) = $node->psql('postgres', q{SELECT artery.register_ad('acme', 'ad-hint', 'chint', 'hint1');
		SELECT artery.queue_ad_change('acme', 'chint', 'BUDGET_INCREASE', '{"budget": 100}', '{"budget": 110}', 'test', adset_id => 'hint1')
			AS id \gset
		SELECT artery.approve_ad_change('acme', :'id', 'boss'); SELECT artery.cancel_ad_change('acme', :'id', 'boss')});
	is($status, 0, 'a change can be approved meanwhile');
	like($err, qr/NOTICE:\s+artery\.enabled is off: nothing is sent until it is on/, 'and whoever does so is told');
	set('on') });
stop_and_go('tenant', 120, sub { sql(q{SELECT artery.configure_tenant('acme', '{"enabled": false}')}) },
	sub { sql(q{SELECT artery.configure_tenant('acme', '{"enabled": true}')}) });
# However close the switch and the look at it: whoever is enabled is served at once.
$fake->add_adsets('toggle', 20);
for my $n (1 .. 20)
{
	sql(qq{SELECT artery.configure_tenant('acme', '{"enabled": false}'); SELECT artery.register_ad('acme', 'ad-toggle$n', 'ctoggle$n', 'toggle$n');
		SELECT artery.approve_ad_change('acme', c.id, 'boss') FROM (SELECT artery.queue_ad_change('acme', 'ctoggle$n', 'BUDGET_INCREASE',
			'{"budget": 100}', '{"budget": 110}', 'test', adset_id => 'toggle$n') AS id OFFSET 0) c});
	sql(q{SELECT artery.configure_tenant('acme', '{"enabled": true}')});
	poll_until(sub { done('toggle') eq $n }, "switch $n is seen at once", 10) or last;
}
# One campaign after another: its changes are sent one at a time. The pause is of the campaign, what is in it stops.
stop_and_go('owner', 12, sub { sql(q{SELECT artery.pause_owner('acme', 'campaign', 'anna', 'stop')}) },
	sub { sql(q{SELECT artery.resume_owner('acme', 'campaign', 'anna')}) }, 'owner_paused', 'campaign');

# Five hundred of one tenant, then five of another.
$fake->clear_faults;
$fake->fault(match => { path => '/(big|little)\d+$' }, times => -1, kind => 'pass', delay => 0.005);
$fake->add_adsets('big', 500);
$fake->add_adsets('little', 5);
queue_many($node, 'acme', 'big', 500);
poll_until(sub { scalar(log_of('big')) > 10 }, 'a long queue is being sent');
queue_many($node, 'small', 'little', 5);
my $queued = done('big');
poll_until(sub { done('little') eq '5' }, 'five of another tenant are completed', 60);
my $overtaken = done('big') - $queued;
cmp_ok($overtaken, '<', 50, "while $overtaken of the long queue were");
poll_until(sub { done('big') eq '500' }, 'then the long queue is worked off', 120);

$node->stop;
$fake->stop;
done_testing();
