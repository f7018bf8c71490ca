# Changes that are at the same step share a transaction; one that cannot be
# judged, settled or locked with the others holds up only itself.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Test::More;
use ArteryTest qw(new_cluster add_tenant poll_until queue_budget state_of);

my $fake = ArteryTest::Fake->start;
my $node = new_cluster('together', fake => $fake, conf => "artery.http_max_in_flight = 40\n");
add_tenant($node, $_) for qw(acme other);

sub sql { return $node->safe_psql('postgres', $_[0]) }

# All are queued, and then something done, before the first is sent.
sub queue
{
	my ($names, $then) = @_;
	my %change;

	$node->append_conf('postgresql.conf', 'artery.enabled = off');
	$node->reload;
	poll_until(sub { sql('SHOW artery.enabled') eq 'off' }, 'nothing is sent while changes are queued');
	for my $n (0 .. $#$names)
	{
		$fake->add_adset($names->[$n], 10000);
		$change{ $names->[$n] } = queue_budget($node, $n % 2 ? 'acme' : 'other', $names->[$n], 100, 110);
	}
	$then->() if $then;
	$node->append_conf('postgresql.conf', 'artery.enabled = on');
	$node->reload;
	sql('SELECT artery.wake_worker()');
	return \%change;
}

sub count_state
{
	my ($change, $state) = @_;

	return sql("SELECT count(*) FROM artery.ad_change WHERE state = '$state' AND change_id IN ("
		. join(',', map { "'$_'" } values %$change) . ')');
}

# Answers that come late come at once, so that many changes wait for the same transaction.
$fake->fault(match => { path => '/set\d+$' }, times => -1, kind => 'pass', delay => 0.3);
my $all = queue([ map { "set$_" } 1 .. 30 ]);
poll_until(sub { count_state($all, 'completed') eq '30' }, 'thirty changes are completed', 60);
is(scalar($fake->requests('POST', "set$_")), 1, "set$_ was written once") for 1 .. 30;
cmp_ok(sql("SELECT count(DISTINCT xmin::text) FROM artery.ad_change_history WHERE outcome = 'completed'"),
	'<', 15, 'by less than half as many transactions');
is(sql("SELECT count(*) FROM artery.campaign_action"), '30', 'each took its place');
is(sql("SELECT count(*), min(budget) = 110, max(budget) = 110 FROM artery.budget_observation WHERE source = 'sent'"),
	'30|t|t', 'what was sent is known');

# One that cannot be judged, one that cannot be settled, one that is locked.
$fake->control('DELETE', 'faults');
$fake->fault(match => { path => '/part_\w+$' }, times => -1, kind => 'pass', delay => 0.3);
sql(q{CREATE FUNCTION public.spoil() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.target_id = 'part_judge' AND NEW.sending_value IS NOT NULL OR NEW.target_id = 'part_settle' AND NEW.state = 'completed' THEN
		RAISE EXCEPTION 'spoilt';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER spoil BEFORE UPDATE ON artery.ad_change FOR EACH ROW EXECUTE FUNCTION public.spoil()});
my $part = queue([ map { "part_$_" } qw(judge settle), 1 .. 18 ]);
poll_until(sub { count_state($part, 'completed') eq '18' }, 'the others are completed', 60);
poll_until(sub { state_of($node, $part->{part_judge}) eq 'approved' }, 'what could not be judged is tried again later');
is(sql("SELECT failures, last_error FROM artery.ad_change WHERE change_id = '$part->{part_judge}'"), '1|spoilt',
	'with its error');
is(scalar($fake->requests('POST', 'part_judge')), 0, 'it was not written');
is(state_of($node, $part->{part_settle}), 'sending', 'what could not be settled is still under way');
sql('DROP TRIGGER spoil ON artery.ad_change');
poll_until(sub { state_of($node, $part->{part_settle}) eq 'completed' }, 'until it can be', 60);
is(scalar($fake->requests('POST', 'part_settle')), 1, 'and was written once');
is(sql("SELECT count(*) FROM artery.ad_change_history WHERE change_id = '$part->{part_settle}' AND outcome = 'completed'"),
	'1', 'and is told once');

sub spoil_claims
{
	return sql(q{CREATE FUNCTION public.spoil_claim() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NEW.target_id = 'poison_row' AND NEW.state = 'sending' OR NEW.target_id = 'poison_any' OR NEW.tenant_id = 'sick' THEN
			RAISE EXCEPTION 'spoilt claim';
		END IF;
		RETURN NEW;
	END $$;
	CREATE TRIGGER spoil_claim BEFORE UPDATE ON artery.ad_change FOR EACH ROW EXECUTE FUNCTION public.spoil_claim();
	CREATE FUNCTION public.spoil_late() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NEW.target_id = 'poison_late' AND NEW.state = 'sending' THEN
			RAISE EXCEPTION 'spoilt commit';
		END IF;
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER spoil_late AFTER UPDATE ON artery.ad_change DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION public.spoil_late()});
}

# What cannot even be claimed: one change at once, one at the commit, all of a tenant's, and one
# that may not be marked, either.
$fake->control('DELETE', 'faults');
add_tenant($node, 'sick');
my $log_from = -s $node->logfile;
$fake->add_adset('poison_sick', 10000);
my $sick;
my %poison = %{ queue([ map { "poison_$_" } qw(row any late), 1 .. 9 ], sub {
	$sick = queue_budget($node, 'sick', 'poison_sick', 100, 110);
	spoil_claims();
}) };
poll_until(sub { count_state(\%poison, 'completed') eq '9' }, 'what can be claimed is completed', 60);
poll_until(sub { sql("SELECT count(*) FROM artery.v_alerts WHERE kind = 'unclaimable'") eq '4' }, 'what cannot has an alert');
is(sql("SELECT string_agg(state || ' ' || coalesce(last_error, '-') || ' ' || (run_at > created_at), ', ' ORDER BY target_id)
  FROM artery.v_pending_changes WHERE target_id IN ('poison_row', 'poison_any', 'poison_late', 'poison_sick')"),
	'approved - false, approved spoilt commit true, approved spoilt claim true, approved - false',
	'and says so itself where it can be written');
like(sql("SELECT artery.health() ->> 'problems'"), qr/open alerts: 4/, 'health tells of them');
is(scalar($fake->requests('GET', $_)), 0, "$_ is not asked for") for qw(poison_row poison_any poison_late poison_sick);
my $later = queue([ map { "after_$_" } 1 .. 4 ]);
poll_until(sub { count_state($later, 'completed') eq '4' }, 'changes that come later go on', 60);
my $told = () = PostgreSQL::Test::Utils::slurp_file($node->logfile, $log_from) =~ /LOG:.*which cannot be claimed/g;
is($told, 4, 'each is logged once');
sql('DROP TRIGGER spoil_claim ON artery.ad_change; DROP TRIGGER spoil_late ON artery.ad_change');
poll_until(sub { count_state({ %poison, sick => $sick }, 'completed') eq '13' }, 'they are tried again by themselves', 60);
is(sql("SELECT count(*) FROM artery.v_alerts WHERE kind = 'unclaimable'"), '0', 'and their alerts are closed');

done_testing();
