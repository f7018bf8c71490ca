# SIGKILL for the worker or the whole server at moments nobody chose, twenty-four
# times in a row, while changes are on their way and Meta answers slowly, breaks
# connections before and after applying, and loses answers. Then the books are
# compared: what the fake received and applied, and what the history tells.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use Time::HiRes qw(sleep time);
use ArteryTest qw(new_cluster add_tenant poll_until worker_pid);

my $rounds = 24;
my $per_round = 8;
my $fake = ArteryTest::Fake->start;
my $node = new_cluster('kill', fake => $fake, conf => "restart_after_crash = on\nartery.http_timeout = 3s\n");
my $seed = $ENV{ARTERY_TEST_SEED} // int(rand(1e6));
my @faults = (
	{ method => 'GET', kind => 'close_before' }, { method => 'POST', kind => 'close_before' },
	{ method => 'POST', kind => 'close_after' }, { method => 'POST', kind => 'delay_after', seconds => 1.5 },
	{ method => 'POST', kind => 'pass', delay => 1.5 }, { method => 'POST', kind => 'truncated' },
	{ method => 'POST', kind => 'error_after', error => { code => 2 } }, { method => 'POST', kind => 'ignore' });

srand($seed);
diag("seed $seed");
sub sql { return $node->safe_psql('postgres', $_[0]) }

# One statement that survives the server's restart: asked again until it is answered.
sub ask
{
	my ($query) = @_;
	my $began = time;

	while (time - $began < 30)
	{
		my ($status, $out) = $node->psql('postgres', $query);
		return $out if $status == 0;
		sleep 0.1;
	}
	die "no answer to $query";
}

add_tenant($node, 'acme');
# every answer takes its time, so that there is something to be killed in
$fake->fault(match => { path => '/k\d' }, times => -1, kind => 'pass', delay => 0.03);
my (%killed, @adsets);
for my $round (1 .. $rounds)
{
	my @new = map { "k${round}x$_" } 1 .. $per_round;

	push @adsets, @new;
	$fake->control('POST', 'objects', [ map { { type => 'campaign', id => "c$_", account_id => '1' },
		{ type => 'adset', id => $_, campaign_id => "c$_", account_id => '1', daily_budget => '10000' } } @new ]);
	for my $adset (@new)
	{
		next if rand() < 0.5;
		my %fault = %{ $faults[ rand @faults ] };
		my $method = delete $fault{method};
		$fake->control('POST', 'faults/first', { match => { method => $method, path => "/$adset\$" }, times => 1, %fault });
	}
	# committed in one transaction, then the race begins
	my $list = join ',', map { "'$_'" } @new;
	ask("DO \$\$ DECLARE a text; BEGIN
		IF EXISTS (SELECT FROM artery.ad_change WHERE target_id = '$new[0]') THEN RETURN; END IF;
		FOREACH a IN ARRAY ARRAY[$list] LOOP
			PERFORM artery.register_ad('acme', 'ad-' || a, 'c' || a, a);
			PERFORM artery.approve_ad_change('acme', artery.queue_ad_change('acme', 'c' || a, 'BUDGET_INCREASE',
				'{\"budget\": 100}', '{\"budget\": 110}', 'test', adset_id => a), 'boss');
		END LOOP; END \$\$");
	sleep rand(0.4);
	if ($round % 2)
	{
		my $pid = ask("SELECT coalesce(min(pid), 0) FROM pg_stat_activity WHERE backend_type = 'artery worker'");
		$killed{worker}++ if $pid && kill('KILL', $pid);
	}
	else
	{
		my ($postmaster) = PostgreSQL::Test::Utils::slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
		kill 'KILL', $postmaster;
		$killed{server}++;
		poll_quietly(sub { !kill 0, $postmaster });
		$node->{_pid} = undef;
		start_again();
	}
}

sub poll_quietly
{
	my ($code) = @_;
	my $began = time;

	while (time - $began < 30)
	{
		return if $code->();
		sleep 0.05;
	}
	die 'waited too long';
}

# The orphans of a killed postmaster hold the shared memory until they notice.
sub start_again
{
	poll_quietly(sub { $node->start(fail_ok => 1) });
	return;
}

is($killed{worker}, $rounds / 2, 'the worker was killed');
is($killed{server}, $rounds / 2, 'and the server');
my $open = "SELECT count(*) FROM artery.ad_change WHERE state <> ALL (ARRAY['completed', 'failed', 'superseded'])";
poll_until(sub { ask("UPDATE artery.ad_change SET run_at = least(run_at, artery.now() + interval '1 second')
	WHERE state IN ('approved', 'unknown') AND run_at > artery.now() + interval '1 second'");
	ask('SELECT artery.wake_worker()'); ask($open) eq '0' }, 'every change comes to an end', 90);
is(ask("SELECT string_agg(DISTINCT state, ' ') FROM artery.ad_change"), 'completed', 'and all of them were completed');

# The books.
my (%applied, %posted);
$applied{ $_->{id} }++ for @{ $fake->control('GET', 'changes') };
for my $request (@{ $fake->control('GET', 'log')->{requests} })
{
	my ($adset) = $request->{path} =~ m{/(k\w+)$};
	push @{ $posted{$adset} }, $request if $request->{method} eq 'POST';
}
my %story = map { split /\|/, $_, 2 } split /\n/, ask("SELECT target_id || '|' || string_agg(outcome, ' ' ORDER BY history_id)
	FROM artery.ad_change_history GROUP BY target_id");
my @twice = grep { ($applied{$_} // 0) != 1 } @adsets;
is("@twice", '', 'each was applied exactly once');
my @wrong = grep { $fake->budget($_) ne '11000' } @adsets;
is("@wrong", '', 'each budget is what was approved');
my @silent = grep { ($story{$_} // '') !~ /^proposed approved .*completed$/ } @adsets;
is("@silent", '', 'each has its history, from proposal to completion');
my @endless = grep { (() = $story{$_} =~ /completed/g) != 1 } @adsets;
is("@endless", '', 'and was completed once in it');
# written twice only where the history tells that the first was in doubt and read back
my @unexplained = grep { @{ $posted{$_} } > 1 && $story{$_} !~ /unknown.* reconciled/ } @adsets;
is("@unexplained", '', 'whatever was written twice had been unknown and was read back before');
my $unknown = grep { $story{$_} =~ /unknown/ } @adsets;
my $again = grep { @{ $posted{$_} } > 1 } @adsets;
cmp_ok($unknown, '>', 0, sprintf('%d of %d were in doubt at some time, %d were written again', $unknown, scalar @adsets, $again));
my %places = map { split /\|/ } split /\n/, ask("SELECT budget_owner_id || '|' || count(*) FROM artery.campaign_action GROUP BY budget_owner_id");
my @unbooked = grep { ($places{$_} // 0) < @{ $posted{$_} } } @adsets;
is("@unbooked", '', 'whatever was written had its place in the hour');

$node->stop;
$fake->stop;
done_testing();
