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

# All are queued before the first is sent.
sub queue
{
	my ($names) = @_;
	my %change;

	$node->append_conf('postgresql.conf', 'artery.enabled = off');
	$node->reload;
	poll_until(sub { sql('SHOW artery.enabled') eq 'off' }, 'nothing is sent while changes are queued');
	for my $n (0 .. $#$names)
	{
		$fake->add_adset($names->[$n], 10000);
		$change{ $names->[$n] } = queue_budget($node, $n % 2 ? 'acme' : 'other', $names->[$n], 100, 110);
	}
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

done_testing();
