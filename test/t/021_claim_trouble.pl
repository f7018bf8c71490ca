# Errors at claiming that concern a whole transaction: a deadlock, a cancelled
# statement, a limit of the disk, a lock that is not to be had. Each is met by one
# change, thrice in a row: in the claim of all, in the careful one, and alone. The
# others of its tenant go on, nothing is lost, and nothing is sent twice.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use ArteryTest qw(new_cluster add_tenant poll_until queue_budget state_of);

my $fake = ArteryTest::Fake->start;
my $node = new_cluster('claim_trouble', fake => $fake, conf => "artery.http_max_in_flight = 20\ndeadlock_timeout = 100ms\n");
add_tenant($node, 'acme');

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub worker { return sql('SELECT worker_pid FROM artery.worker_status()') }

# The claim of one change runs into what is named after it.
sql(q{CREATE FUNCTION public.trouble() RETURNS trigger LANGUAGE plpgsql SET work_mem = '64kB' AS $$
BEGIN
	IF NEW.target_id = 'deadlock' THEN
		PERFORM pg_advisory_xact_lock(7), pg_advisory_xact_lock(8);
	ELSIF NEW.target_id = 'cancel' THEN
		SET LOCAL lock_timeout = 0;
		PERFORM pg_advisory_xact_lock(8);
	ELSIF NEW.target_id = 'lock' THEN
		SET LOCAL lock_timeout = '50ms';
		PERFORM pg_advisory_xact_lock(8);
	ELSIF NEW.target_id = 'disk' AND pg_try_advisory_xact_lock(8) IS FALSE THEN
		SET LOCAL temp_file_limit = '64kB';
		PERFORM count(*) FROM (SELECT g FROM generate_series(1, 50000) g ORDER BY g DESC OFFSET 0) s;
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER trouble BEFORE UPDATE ON artery.ad_change FOR EACH ROW WHEN (NEW.state = 'sending' AND OLD.state <> 'sending')
	EXECUTE FUNCTION public.trouble()});

# Each time the worker waits for lock 8: what else has to happen for it to fail.
my %provoke = (
	deadlock => q{DO $$ BEGIN
		FOR i IN 1 .. 3 LOOP
			WHILE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 8 AND NOT granted) LOOP PERFORM pg_sleep(0.01); END LOOP;
			BEGIN PERFORM pg_advisory_lock(7); PERFORM pg_advisory_unlock(7); END;
		END LOOP; END $$},
	cancel => q{DO $$ DECLARE v_pid integer; v_start timestamptz := '-infinity'; BEGIN
		FOR i IN 1 .. 3 LOOP
			v_pid := NULL;
			WHILE v_pid IS NULL LOOP
				PERFORM pg_sleep(0.01);
				SELECT l.pid INTO v_pid FROM pg_locks l
				 WHERE l.locktype = 'advisory' AND l.objid = 8 AND NOT l.granted AND l.waitstart > v_start;
			END LOOP;
			v_start := clock_timestamp();
			PERFORM pg_cancel_backend(v_pid);
		END LOOP; END $$});
my %message = (deadlock => 'deadlock detected', cancel => 'canceling statement due to user request',
	lock => 'canceling statement due to lock timeout', disk => 'temporary file size exceeds temp_file_limit');

for my $kind (qw(deadlock cancel lock disk))
{
	my $session = $node->background_psql('postgres');
	my $log_from = -s $node->logfile;
	my $worker = worker();
	my @names = ($kind, map { "$kind$_" } 1 .. 9);
	my %change;

	$session->query_safe(q{SET deadlock_timeout = '60s'; SET statement_timeout = '20s'; SELECT pg_advisory_lock(8)});
	$node->append_conf('postgresql.conf', 'artery.enabled = off');
	$node->reload;
	poll_until(sub { sql('SHOW artery.enabled') eq 'off' }, "$kind: nothing is sent yet");
	for my $name (@names)
	{
		$fake->add_adset($name, 10000);
		$change{$name} = queue_budget($node, 'acme', $name, 100, 110);
	}
	$node->append_conf('postgresql.conf', 'artery.enabled = on');
	$node->reload;
	sql('SELECT artery.wake_worker()');
	$session->query_safe($provoke{$kind}) if $provoke{$kind};
	poll_until(sub { sql("SELECT count(*) FROM artery.ad_change WHERE target_id ~ '^$kind\\d' AND state = 'completed'") eq '9' },
		"$kind: the others are completed", 20);
	poll_until(sub { $node->log_contains("sets change $change{$kind} of tenant \"acme\" aside, which cannot be claimed: $message{$kind}", $log_from) },
		"$kind: it alone is set aside", 5);
	ok(!$node->log_contains('sets all changes', $log_from), "$kind: not all of the tenant's");
	is(state_of($node, $change{$kind}), 'approved', "$kind: and waits");
	$session->query_safe('SELECT pg_advisory_unlock(8)');
	poll_until(sub { state_of($node, $change{$kind}) eq 'completed' }, "$kind: then it is completed, too", 20);
	is(scalar($fake->requests('POST', $_)), 1, "$_ was written once") for @names;
	is(sql("SELECT count(*) FROM artery.v_alerts WHERE kind = 'unclaimable'"), '0', "$kind: no alert stays");
	is(worker(), $worker, "$kind: by the same worker");
	$session->quit;
}

$node->stop;
$fake->stop;
done_testing();
