# The worker's care for the partitions of clicks: made ahead, clicks moved out
# of the one for other times, old ones dropped while others hold them for a while.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('partitions');
$node->init;
$node->append_conf('postgresql.conf', slurp_file($ENV{ARTERY_TEST_CONF})) if $ENV{ARTERY_TEST_CONF};
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'artery'\nartery.click_partition_days = 7\n");
$node->start;

# A world of half a year ago, as if no worker had run since.
$node->safe_psql('postgres', q{
	CREATE EXTENSION artery;
	SELECT artery.add_tenant('acme');
	SELECT artery.make_click_partitions(artery.now() - interval '200 days', artery.now() - interval '190 days');
	INSERT INTO artery.click_tracking (tenant_id, click_id, click_timestamp)
	SELECT 'acme', 'old' || i, artery.now() - interval '195 days' FROM generate_series(1, 100) i;
	INSERT INTO artery.click_tracking (tenant_id, click_id, click_timestamp)
	SELECT 'acme', 'other' || i, artery.now() - interval '100 days' FROM generate_series(1, 100) i;
	INSERT INTO artery.click_tracking (tenant_id, click_id, click_timestamp)
	SELECT 'acme', 'kept' || i, artery.now() - interval '40 days' FROM generate_series(1, 10000) i;
	DROP TABLE artery.click_tracking_} . $node->safe_psql('postgres',
	q{SELECT to_char(date_trunc('week', now() AT TIME ZONE 'UTC') + interval '7 days', 'YYYYMMDD')}));
is($node->safe_psql('postgres', 'SELECT count(*) FROM artery.click_tracking_other'), '10100', 'clicks lie where other times do');

# Somebody reads clicks in a long transaction: the worker gives way, and comes back.
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN; SELECT count(*) FROM artery.click_tracking;');
$node->append_conf('postgresql.conf', "artery.databases = 'postgres'\n");
my $offset = -s $node->logfile;
$node->reload;
ok($node->poll_query_until('postgres', q{SELECT worker_pid IS NOT NULL FROM artery.worker_status()}), 'a worker comes');
is($node->safe_psql('postgres', q{SELECT artery.track_click('acme', 'c', 'a', 'meanwhile')}), 'meanwhile', 'clicks come in meanwhile');
$reader->query_safe('COMMIT');
$reader->quit;
# It comes back after seconds; a restart makes it come at once.
$node->restart;
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM artery.click_tracking WHERE click_timestamp < now() - interval '90 days'}),
	'what is older than artery.retention_clicks goes');
ok($node->poll_query_until('postgres', q{SELECT NOT EXISTS (SELECT FROM artery.v_click_partitions WHERE until < now() - interval '90 days')}),
	'with its partitions');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM artery.click_tracking_other}), 'many clicks of a week get a partition');
is($node->safe_psql('postgres', q{SELECT count(*) FROM artery.click_tracking WHERE click_id LIKE 'kept%'}), '10000', 'none is lost');
ok($node->poll_query_until('postgres', q{SELECT max(until) > now() + interval '14 days' AND count(*) FILTER (WHERE
	now() + interval '7 days' BETWEEN since AND until) = 1 FROM artery.v_click_partitions}), 'partitions are made ahead, gaps filled');
unlike(slurp_file($node->logfile, $offset), qr/ERROR.*artery|PANIC/, 'no error is logged');

$node->stop;
done_testing();
