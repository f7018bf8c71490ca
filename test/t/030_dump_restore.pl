# A dump holds everything a user put in: every table filled, dumped (plain,
# custom with four jobs, custom in one transaction), restored into an empty
# cluster, compared row by row; afterwards the next insert works.
use strict;
use warnings;
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = start_server('source');
my $target = start_server('target');
my $folder = PostgreSQL::Test::Utils::tempdir;

$source->safe_psql('postgres', 'CREATE EXTENSION artery');
$source->safe_psql('postgres', '\ir ' . "$FindBin::Bin/../fixtures/fill.sql");
# The keys of a visitor are made under the tenant's salt, which must come along.
my $visit = q{SELECT artery.track_click('fill_a', 'campaign_1', 'ad_1', '%s', ip_address => '203.0.113.4', user_agent => 'UA', screen_width => 1170, timezone => 'UTC')};
$source->safe_psql('postgres', sprintf($visit, 'before'));
# Gone rows and a sequence ahead of its table must come back as they are.
$source->safe_psql('postgres', "SELECT nextval(pg_get_serial_sequence('artery.job', 'job_id')) FROM generate_series(1, 5)");
my $before = contents($source, 'postgres');
cmp_ok(scalar(keys %$before), '>', 20, 'every table of artery is compared');
my $counted = counted($source, 'postgres');
like($counted, qr/ad_1.*deal_1/s, 'ads and deals are counted for decisions');
my $settings = $source->safe_psql('postgres', 'TABLE artery.v_tenant_settings ORDER BY 1, 2');

command_ok([ 'pg_dumpall', '--roles-only', '-f', "$folder/roles.sql", '-d', $source->connstr('postgres') ], 'roles are dumped');
$target->psql('postgres', '\ir ' . "$folder/roles.sql", on_error_stop => 0);
command_ok([ 'pg_dump', '-Fp', '-f', "$folder/plain.sql", $source->connstr('postgres') ], 'plain dump');
command_ok([ 'pg_dump', '-Fc', '-f', "$folder/custom.dump", $source->connstr('postgres') ], 'custom dump');

$target->safe_psql('postgres', "CREATE DATABASE $_") for qw(plain jobs single);
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$folder/plain.sql", $target->connstr('plain') ],
	'plain dump is restored without an error');
command_ok([ 'pg_restore', '-j', '4', '--exit-on-error', '-d', $target->connstr('jobs'), "$folder/custom.dump" ],
	'custom dump is restored by four jobs without an error');
command_ok([ 'pg_restore', '-1', '-d', $target->connstr('single'), "$folder/custom.dump" ],
	'custom dump is restored in one transaction');

for my $database (qw(plain jobs single))
{
	my $after = contents($target, $database);
	is($after->{$_}, $before->{$_}, "$database: $_ is the same") for sort keys %$before;
	is($target->safe_psql($database, 'TABLE artery.v_tenant_settings ORDER BY 1, 2'), $settings,
		"$database: effective settings are the same");
	is($target->safe_psql($database, 'SELECT count(*) FROM artery.tenant_secret'), '0', "$database: no secret came along");
	is(counted($target, $database), $counted, "$database: ads and deals are counted again, alike");
	is($target->safe_psql($database, sequences_behind()), '', "$database: no sequence is behind its table");
	next_insert($database);
}

done_testing();

sub start_server
{
	my $node = PostgreSQL::Test::Cluster->new(shift);
	$node->init;
	$node->append_conf('postgresql.conf', slurp_file($ENV{ARTERY_TEST_CONF})) if $ENV{ARTERY_TEST_CONF};
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'artery'\n");
	$node->start;
	return $node;
}

# What the next run of an allocation counts; of a moment that is the same everywhere.
sub counted
{
	my ($node, $database) = @_;
	return $node->safe_psql($database, q{
		BEGIN;
		UPDATE artery.deal SET ad_id = 'ad_1' WHERE ad_id IS NULL;
		SELECT artery.fold_allocation('fill_a', '2040-01-01');
		SELECT * FROM artery.ad_progress WHERE tenant_id = 'fill_a' ORDER BY ad_id;
		SELECT * FROM artery.deal_credit WHERE tenant_id = 'fill_a' ORDER BY deal_id;
		SELECT * FROM artery.hop_progress WHERE tenant_id = 'fill_a' ORDER BY ad_id, place;
		ROLLBACK});
}

# table => rows and their hash, for all tables that are dumped
sub contents
{
	my ($node, $database) = @_;
	my %contents;
	my $tables = $node->safe_psql($database, q{
		SELECT relname FROM pg_class WHERE relnamespace = 'artery'::regnamespace AND relkind IN ('r', 'p')
		   AND relname <> ALL (ARRAY['tenant_secret', 'allocation_state', 'ad_progress', 'hop_progress', 'deal_credit',
		                             'allocation_delta']) ORDER BY 1});
	for my $table (split /\n/, $tables)
	{
		$contents{$table} = $node->safe_psql($database,
			"SELECT count(*) || ' rows ' || md5(string_agg(t::text, E'\\n' ORDER BY t::text COLLATE \"C\")) FROM artery.$table t");
	}
	return \%contents;
}

# Identity columns whose next value is taken already.
sub sequences_behind
{
	return q{
		CREATE TEMP TABLE behind (name text);
		DO $$
		DECLARE r record; m bigint;
		BEGIN
			FOR r IN SELECT attrelid::regclass AS t, attname AS c, pg_get_serial_sequence(attrelid::regclass::text, attname) AS s
			           FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
			          WHERE relnamespace = 'artery'::regnamespace AND attidentity <> ''
			LOOP
				EXECUTE format('SELECT max(%I) FROM %s', r.c, r.t) INTO m;
				IF nextval(r.s) <= m THEN INSERT INTO behind VALUES (r.s); END IF;
			END LOOP;
		END $$;
		SELECT * FROM behind};
}

sub next_insert
{
	my $database = shift;
	my ($status, $out, $err) = $target->psql($database, q{
		SELECT artery.enqueue_job('fill_a', 'actuals-sync');
		SELECT artery.record_stage('fill_a', 'deal_1', 'lead');
		SELECT artery.track_click('fill_a', 'campaign_1', 'ad_1', fbclid => 'new');
		SELECT artery.observe_budget('fill_a', 'adset_1', 120);
		SELECT artery.identify('fill_a', 'contact_9', fbclid => 'new');
	}, on_error_stop => 1);
	is($status, 0, "$database: the next inserts work") or diag($err);
	$target->safe_psql($database, sprintf($visit, 'after'));
	is($target->safe_psql($database, q{SELECT count(DISTINCT (hardware_key, agent_key)) FROM artery.click_tracking
		WHERE tenant_id = 'fill_a' AND click_id IN ('before', 'after') AND agent_key IS NOT NULL}), '1', "$database: visitors are known again");
	is($target->safe_psql($database, q{SELECT artery.identify('fill_a', 'gone_1', fbclid => 'new') IS NULL}), 't',
		"$database: who was erased before the dump stays erased");
	return;
}
