# A job that takes as long as it likes: delivery goes on beside it, the stop buttons
# act, a killed process comes back, and the
# job's claim holds until it is done.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use Time::HiRes qw(time);
use ArteryTest qw(new_cluster add_tenant poll_until worker_pid queue_budget queue_many state_of);

my $fake = ArteryTest::Fake->start;
my $node = new_cluster('long_job', fake => $fake, conf => "artery.http_max_in_flight = 4\nrestart_after_crash = on\n");

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub log_of { my ($match) = @_; return grep { $_->{path} =~ m{/$match\d+$} } @{ $fake->control('GET', 'log')->{requests} } }
sub completed { return sql("SELECT count(*) FROM artery.job_execution_history WHERE outcome = 'completed' AND job_name = '$_[0]'") }

# A decision that waits, at its very end, until this session lets it go on: so long are its locks held.
sub hold_jobs
{
	my $session = $node->background_psql('postgres');

	$session->query_safe('SELECT pg_advisory_lock(42)');
	return $session;
}

# Is a job held?
sub is_held
{
	return sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'artery%' AND wait_event_type = 'Lock'") eq '1';
}

# budget_change(TENANT, ADSET): how long after its approval an approved change has reached Meta
sub budget_change
{
	my ($tenant, $adset) = @_;

	$fake->add_adset($adset, 10000);
	my $id = queue_budget($node, $tenant, $adset, 100, 110);
	poll_until(sub { state_of($node, $id) eq 'completed' }, "a change of $tenant is completed meanwhile");
	my $approved = sql("SELECT extract(epoch FROM recorded_at) FROM artery.ad_change_history WHERE change_id = '$id' AND outcome = 'approved'");
	my ($written) = $fake->requests('POST', $adset);
	return $written ? $written->{at} - $approved : 1e6;
}

add_tenant($node, $_, daily_budget => 100000) for ('acme', 'other');
sql(q{SELECT artery.register_ad('acme', 'ad_1', 'campaign_1', 'adset_1'), artery.observe_budget('acme', 'adset_1', 50);
	CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS $$
	BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NULL; END $$;
	CREATE TRIGGER hold AFTER INSERT ON artery.ad_change FOR EACH ROW WHEN (NEW.target_id = 'adset_1') EXECUTE FUNCTION hold()});

# A decision with its proposals, in the transaction of which nothing is committed yet.
my $session = hold_jobs();
sql(q{SELECT artery.enqueue_job('acme', 'budget-optimization')});
poll_until(sub { is_held() }, 'a job takes long') or diag sql('SELECT backend_type, state, wait_event, query FROM pg_stat_activity');
for my $tenant ('other', 'acme')
{
	my $took = budget_change($tenant, "during_$tenant");
	cmp_ok($took, '<', 1, sprintf('it was written %.0f ms after its approval', 1000 * $took));
}

# The stop button, too.
$fake->fault(match => { path => '/held\d+$' }, times => -1, kind => 'pass', delay => 0.1);
$fake->add_adsets('held', 60);
queue_many($node, 'acme', 'held', 60);
poll_until(sub { grep({ $_->{method} eq 'POST' } log_of('held')) > 2 }, 'a queue is being sent');
$node->append_conf('postgresql.conf', 'artery.enabled = off');
$node->reload;
my $pressed = time;
poll_until(sub { sql('SELECT in_flight FROM artery.worker_status()') eq '0' }, 'what is under way is finished', 5);
poll_until(sub { time > $pressed + 1.5 }, 'and a while later');
is(scalar(grep { $_->{at} > $pressed + 1 } log_of('held')), 0, 'nothing new went out within a second');
cmp_ok(scalar(grep { $_->{method} eq 'POST' } log_of('held')), '<', 60, 'though there was more to send');
$node->append_conf('postgresql.conf', 'artery.enabled = on');
$node->reload;
ok(is_held(), 'the job still runs');

# Its claim is not taken back, however long ago the lease ended: it is being worked on.
is(sql('SET artery.clock_offset = 3600; SELECT artery.rescue_jobs()'), '0', 'its claim holds, an hour later, too');
$session->query_safe('SELECT pg_advisory_unlock(42)');
poll_until(sub { completed('budget-optimization') eq '1' }, 'then it is done');
poll_until(sub { sql("SELECT count(*) FROM artery.ad_change WHERE target_id ~ '^held' AND state = 'completed'") eq '60' },
	'and the queue goes on', 60);

# Either of the two killed, and so the server restarted: the job is done in its next attempt, and delivery goes on.
for my $type ('artery jobs', 'artery worker')
{
	my $done = completed('budget-optimization');
	my $late = $type eq 'artery jobs' ? 5 * 3600 : 10 * 3600;

	$session->quit;
	$session = hold_jobs();
	# after the cool-down it proposes again
	sql("ALTER SYSTEM SET artery.clock_offset = $late; SELECT pg_reload_conf()");
	sql(q{UPDATE artery.ad_change SET state = 'rejected', settled_at = artery.now() - interval '1 day' WHERE target_id = 'adset_1'});
	sql(q{SELECT artery.enqueue_job('acme', 'budget-optimization')});
	poll_until(sub { is_held() }, 'another job takes long');
	kill 'KILL', worker_pid($node, $type);
	poll_until(sub { ($node->psql('postgres', 'SELECT jobs_pid + worker_pid FROM artery.worker_status()'))[1] =~ /\d/ },
		"$type was killed, both are back");
	poll_until(sub { completed('budget-optimization') > $done }, 'the job is done');
	is(sql("SELECT count(*) FROM artery.job_execution_history WHERE outcome = 'lost'"), $type eq 'artery jobs' ? '1' : '2',
		'its first attempt is known to be lost');
	my $took = budget_change('other', 'after_' . substr($type, 7));
	cmp_ok($took, '<', 1, sprintf('a change takes %.0f ms', 1000 * $took));
}

# The extension can be dropped under it.
$session = hold_jobs();
sql(q{UPDATE artery.ad_change SET state = 'rejected', settled_at = artery.now() - interval '1 day' WHERE target_id = 'adset_1';
	SELECT artery.enqueue_job('acme', 'budget-optimization')});
poll_until(sub { is_held() }, 'and one more');
my $began = time;
sql('DROP EXTENSION artery CASCADE');
cmp_ok(time - $began, '<', 5, 'DROP EXTENSION does not wait for it');
$session->quit;

$node->stop;
$fake->stop;
done_testing();
