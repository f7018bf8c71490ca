# Late clicks with the real worker: a conversion and a deal find a click that comes in
# after them with no further call, whichever of them commits last, and notes go.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('late_click');
$node->init;
$node->append_conf('postgresql.conf', slurp_file($ENV{ARTERY_TEST_CONF})) if $ENV{ARTERY_TEST_CONF};
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'artery'
artery.databases = 'postgres'
log_statement = none
});
$node->start;
$node->safe_psql('postgres', q{CREATE EXTENSION artery; SELECT artery.add_tenant('acme', 'service_business')});
sub ask { return $node->safe_psql('postgres', shift); }
sub wait_for { my ($query, $what) = @_; ok($node->poll_query_until('postgres', $query), $what); return; }
sub click { my ($id, $ago, $ip) = @_; return "SELECT artery.track_click('acme', 'c', 'ad_$id', '$id', ip_address => '$ip', user_agent => 'UA', click_timestamp => artery.now() - interval '$ago')"; }
sub convert { my ($id, $with) = @_; return "SELECT success FROM artery.attribute_conversion('acme', '$id', 'lead', $with)"; }
sub ad_of { my $id = shift; return "SELECT coalesce(ad_id, '') FROM artery.conversion_tracking WHERE conversion_id = '$id'"; }
my $notes = 'SELECT count(*) = 0 FROM artery.late_click';

wait_for('SELECT worker_pid IS NOT NULL FROM artery.worker_status()', 'the worker is there');
is(ask(convert('v1', "click_id => 'k1'")), 'f', 'a conversion whose click is not there yet');
is(ask(convert('v2', "ip_address => '192.0.2.2', user_agent => 'UA'")), 'f', 'another, known by its device');
is(ask(convert('v3', "click_id => 'never', ip_address => '192.0.2.3'")), 'f', 'one whose click never comes');
ask(q{SELECT artery.identify('acme', crm_deal_id => 'd1', click_id => 'k1')});
is(ask(q{SELECT artery.record_stage('acme', 'd1', 'appointment_scheduled') -> 'attribution' ->> 'success'}), 'false', 'and a deal');
my $began = time;
ask(click('k1', '1 hour', '192.0.2.1'));
ask(click('k2', '1 hour', '192.0.2.2'));
wait_for("SELECT ad_id = 'ad_k1' FROM artery.conversion_tracking WHERE conversion_id = 'v1'", 'finds it when it comes, by its id');
wait_for("SELECT ad_id = 'ad_k2' FROM artery.conversion_tracking WHERE conversion_id = 'v2'", 'or by its device');
wait_for("SELECT ad_id = 'ad_k1' FROM artery.deal WHERE deal_id = 'd1'", 'so does the deal');
cmp_ok(time - $began, '<', 30, 'within seconds');
is(ask("SELECT pipeline_value FROM artery.ad_roas('acme', 'ad_k1')"), '2250', 'and the ad has its value');
wait_for($notes, 'nothing is left to look at');
is(ask("SELECT max(attempt_number) FROM artery.attribution_performance_log WHERE conversion_id = 'v3'"), '1', 'what has no late click is left alone');

# The conversion looked while the click was not committed, and commits after it was matched.
my $late = $node->background_psql('postgres');
$late->query_safe('BEGIN; ' . convert('v4', "click_id => 'k4'"));
ask(click('k4', '1 hour', '192.0.2.4'));
wait_for('SELECT count(*) > 0 FROM artery.late_click WHERE looked_at IS NOT NULL', 'its click was looked at');
$late->query_safe('COMMIT');
wait_for("SELECT ad_id = 'ad_k4' FROM artery.conversion_tracking WHERE conversion_id = 'v4'", 'a conversion that commits after its late click finds it too');
wait_for($notes, 'and nothing is left to look at');

# Somebody holds a conversion: it is left for later, and the others are not.
is(ask(convert('v5', "click_id => 'k5'")), 'f', 'two wait');
is(ask(convert('v6', "click_id => 'k6'")), 'f', 'for their clicks');
$late->query_safe(q{BEGIN; SELECT 1 FROM artery.conversion_tracking WHERE conversion_id = 'v5' FOR UPDATE});
ask(click('k5', '1 hour', '192.0.2.5') . '; ' . click('k6', '1 hour', '192.0.2.6'));
wait_for("SELECT ad_id = 'ad_k6' FROM artery.conversion_tracking WHERE conversion_id = 'v6'", 'one is found beside the one that is held');
is(ask(ad_of('v5')), '', 'which is not yet');
$late->query_safe('COMMIT');
$late->quit;
wait_for("SELECT ad_id = 'ad_k5' FROM artery.conversion_tracking WHERE conversion_id = 'v5'", 'and then it is');
wait_for($notes, 'nothing is left to look at');

# A crash between the click and the worker's look loses nothing.
is(ask(convert('v7', "click_id => 'k7'")), 'f', 'one more waits');
$node->append_conf('postgresql.conf', "artery.databases = ''");
$node->reload;
wait_for('SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = \'artery jobs\'', 'the worker is gone');
ask(click('k7', '1 hour', '192.0.2.7'));
$node->stop('immediate');
$node->append_conf('postgresql.conf', "artery.databases = 'postgres'");
$node->start;
wait_for("SELECT ad_id = 'ad_k7' FROM artery.conversion_tracking WHERE conversion_id = 'v7'", 'its click is found after the crash');
is(ask('SELECT last_error FROM artery.worker_status()'), '', 'the worker met no error');
$node->stop;
done_testing();
