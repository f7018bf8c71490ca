# History that comes in by one transaction, before any statistics: what a deal
# costs must not grow with the deals that are there.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('growth');
$node->init;
$node->append_conf('postgresql.conf', slurp_file($ENV{ARTERY_TEST_CONF})) if $ENV{ARTERY_TEST_CONF};
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'artery'\nautovacuum = off\nfsync = off\n");
$node->start;


sub deals
{
	my ($first, $last) = @_;
	return qq{DO \$\$ BEGIN
		FOR i IN $first .. $last LOOP
			PERFORM artery.identify('young', crm_contact_id => 'contact-' || i, crm_deal_id => i::text, fingerprint_hash => 'device-' || i);
			PERFORM artery.record_stage('young', i::text, 'lead', crm_contact_id => 'contact-' || i);
		END LOOP; END \$\$;};
}

# Plans are made anew after a thousand runs; by half of a key, each of the second thousand would read two thousand rows.
my $read = q{SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables;};
my %rows;
for (split /\n/, $node->safe_psql('postgres', q{CREATE EXTENSION artery; SELECT artery.add_tenant('young', 'service_business') \g /dev/null
	BEGIN; } . deals(1, 1500) . $read . deals(1501, 2500) . $read . 'COMMIT'))
{
	my ($table, $count) = split /\|/;
	$rows{$table} = $count - ($rows{$table} // 0);
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM artery.deal'), 2500, 'deals come in');
for my $table ('deal', 'conversion_tracking', 'contact_evidence', 'deal_stage_event', 'attribution_performance_log')
{
	cmp_ok($rows{$table}, '<', 40 * 1000, "and read few rows of $table ($rows{$table} for a thousand)");
}

$node->stop;
done_testing();
