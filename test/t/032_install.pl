# Installing, removing, and being there without being asked for.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('install');
$node->init;
$node->append_conf('postgresql.conf', slurp_file($ENV{ARTERY_TEST_CONF})) if $ENV{ARTERY_TEST_CONF};
$node->start;

# Not preloaded: everything but the background work.
$node->safe_psql('postgres', 'CREATE EXTENSION artery');
is($node->safe_psql('postgres', q{SELECT artery.add_tenant('acme')}), 'acme', 'works without being preloaded');
like($node->safe_psql('postgres', q{SELECT artery.enqueue_job('acme', 'ad-change')}), qr/^\d+$/, 'a job is queued without a worker');
is($node->safe_psql('postgres', q{SELECT artery.health() ->> 'status'}), 'down', 'health says that no worker can run');
like($node->safe_psql('postgres', q{SELECT artery.health() ->> 'problems'}), qr/shared_preload_libraries/, 'and why');
my ($status, $out, $err) = $node->psql('postgres', 'CREATE EXTENSION artery SCHEMA public');
isnt($status, 0, 'the schema is fixed');

# Removed: nothing is left, and it may come again.
my $left = q{
	SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 'artery')
	     + (SELECT count(*) FROM pg_proc WHERE probin LIKE '%artery%')};
$node->safe_psql('postgres', 'DROP EXTENSION artery CASCADE');
is($node->safe_psql('postgres', $left), '0', 'DROP EXTENSION leaves nothing');
$node->safe_psql('postgres', 'CREATE EXTENSION artery');
is($node->safe_psql('postgres', 'SELECT count(*) FROM artery.tenant'), '0', 'it comes again, empty');
$node->safe_psql('postgres', 'DROP EXTENSION artery CASCADE');

# What an ordinary role planted is not taken over.
$node->safe_psql('postgres', q{
	CREATE ROLE planter;
	CREATE SCHEMA artery AUTHORIZATION planter;
});
($status, $out, $err) = $node->psql('postgres', 'CREATE EXTENSION artery');
like($err, qr/schema "artery" already exists/, 'a planted schema makes the installation fail');
$node->safe_psql('postgres', 'DROP SCHEMA artery');
$node->safe_psql('postgres', q{
	CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE plpgsql AS $$BEGIN RAISE 'planted function ran'; END$$;
	CREATE FUNCTION public.planted(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'planted operator ran'; END$$;
	CREATE OPERATOR public.<> (LEFTARG = text, RIGHTARG = text, FUNCTION = public.planted);
	CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.planted);
});
($status, $out, $err) = $node->psql('postgres', q{
	SET search_path = public, pg_catalog;
	CREATE TEMP TABLE job_config (x int);
	CREATE EXTENSION artery;
	SELECT artery.add_tenant('acme', 'service_business'), artery.enqueue_job('acme', 'ad-change', singleton_key => 'k');
	SELECT artery.claim_jobs('ad-change', 'w'), artery.health();
});
is($status, 0, 'planted look-alikes are ignored') or diag($err);
$node->safe_psql('postgres', 'DROP EXTENSION artery; DROP OPERATOR public.= (text, text); DROP OPERATOR public.<> (text, text)');

# Preloaded without the extension: silent and idle.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'artery'\nartery.databases = 'postgres'\n");
my $offset = -s $node->logfile;
$node->restart;
is($node->safe_psql('postgres', 'SELECT 1'), '1', 'preloaded without the extension, the server starts');
unlike(slurp_file($node->logfile, $offset), qr/^.*(ERROR|WARNING|PANIC|FATAL(?!.*(terminating|shutting))).*artery/m,
	'and no error is logged');
$node->safe_psql('postgres', 'CREATE EXTENSION artery');
ok($node->poll_query_until('postgres', q{SELECT (SELECT worker_pid IS NOT NULL FROM artery.worker_status())}),
	'the worker of a listed database comes');
is($node->safe_psql('postgres', q{SELECT artery.health() ->> 'status'}), 'ok', 'and health is ok');
$node->safe_psql('postgres', 'DROP EXTENSION artery CASCADE');
is($node->safe_psql('postgres', 'SELECT 1'), '1', 'DROP EXTENSION with a worker running goes through');

$node->stop;
done_testing();
