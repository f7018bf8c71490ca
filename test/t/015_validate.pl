# A dry run sends nothing; where the tenant allows it, Meta checks what would be
# sent (validate_only), and the history says what Meta thinks of it.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use Test::More;
use ArteryTest qw(new_cluster add_tenant poll_until queue_budget state_of);

my $fake = ArteryTest::Fake->start;
my $node = new_cluster('validate', fake => $fake);
add_tenant($node, 'dry', dry_run => JSON::PP::true);
add_tenant($node, 'checked', dry_run => JSON::PP::true, dry_run_validate => JSON::PP::true);
$fake->add_adset($_, 10000) for qw(d1 v1 v2 v3);

my $id = queue_budget($node, 'dry', 'd1', 100, 110);
poll_until(sub { state_of($node, $id) eq 'completed' }, 'a dry run is completed');
is(scalar($fake->requests('GET', 'd1')) + scalar($fake->requests('POST', 'd1')), 0, 'without a request');

$id = queue_budget($node, 'checked', 'v1', 100, 110);
poll_until(sub { state_of($node, $id) eq 'completed' }, 'one that is checked is completed');
is(join(' ', map { $_->{params}{execution_options} } $fake->requests('POST', 'v1')), '["validate_only"]', 'Meta was asked to check it');
is(scalar($fake->changes('v1')), 0, 'nothing was set');
is($node->safe_psql('postgres', "SELECT dry_run, response ->> 'class', (new_value ->> 'budget')::numeric FROM artery.ad_change_history
	WHERE change_id = '$id' AND outcome = 'completed'"), 't|ok_verify|110.00', 'the history tells it');
is($node->safe_psql('postgres', "SELECT count(*) FROM artery.budget_observation WHERE budget_owner_id = 'v1' AND budget <> 100"), '0',
	'no budget is taken for sent');

$fake->fault(match => { method => 'POST', path => '/v2$' }, times => 1, kind => 'error', error => { code => 100, error_subcode => 1885272 });
$id = queue_budget($node, 'checked', 'v2', 100, 110);
poll_until(sub { state_of($node, $id) eq 'failed' }, 'what Meta would refuse fails');
$fake->fault(match => { method => 'POST', path => '/v3$' }, times => 1, kind => 'error', error => { code => 1 });
$id = queue_budget($node, 'checked', 'v3', 100, 110);
poll_until(sub { $node->safe_psql('postgres', "SELECT count(*) FROM artery.ad_change_history
	WHERE change_id = '$id' AND outcome = 'retry'") eq '1' }, 'doubt is no doubt where nothing can have been applied');

$node->stop;
$fake->stop;
done_testing();
