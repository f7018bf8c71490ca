# A secret is in one table that no other role can read, and nowhere else: not in
# the log at its most talkative, not in errors, views, activity or a dump.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $secret = 'EAAverysecret0123456789token';
my $quoted = "'EAAverysecret' || '0123456789token'";	# what the tests may leave in the log

my $node = PostgreSQL::Test::Cluster->new('secrets');
$node->init;
$node->append_conf('postgresql.conf', slurp_file($ENV{ARTERY_TEST_CONF})) if $ENV{ARTERY_TEST_CONF};
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'artery'
artery.databases = 'postgres'
log_min_messages = debug5
log_statement = all
log_min_duration_statement = 0
log_error_verbosity = verbose
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION artery;
	SELECT artery.add_tenant('acme');
	CREATE ROLE app LOGIN;
	GRANT USAGE ON SCHEMA artery TO app;
	GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA artery TO app;
	GRANT SELECT ON ALL TABLES IN SCHEMA artery TO app;
});

# Set, rotated, refused.
my ($status, $out, $err) = $node->psql('postgres', qq{
	SELECT artery.set_secret('acme', 'meta_access_token', '$secret');
	SELECT artery.set_secret('acme', 'hubspot_client_secret', '$secret-1');
	SELECT artery.set_secret('acme', 'hubspot_client_secret', '$secret-2');
	SELECT artery.set_secret('acme', 'no_such_secret', '$secret');
	SELECT artery.set_secret('nobody', 'meta_access_token', '$secret');
	SELECT artery.set_secret('acme', NULL, '$secret');
	SELECT Artery.SET_SECRET('acme', 'meta_access_token', '$secret', 'too much');
	SELEC artery.set_secret('acme', 'meta_access_token', '$secret');
	DO \$\$ BEGIN PERFORM artery.set_secret('acme', 'unknown', '$secret'); END \$\$;
	DO \$\$ BEGIN EXECUTE 'SELECT artery.set_secret(''acme'', ''unknown'', ''$secret'')'; END \$\$;
	PREPARE p AS SELECT artery.set_secret('acme', 'meta_access_token', '$secret');
	EXECUTE p;
}, extra_params => [ '-v', 'VERBOSITY=verbose' ], on_error_stop => 0);
my $script = PostgreSQL::Test::Utils::tempdir . '/bind.sql';
append_to_file($script, "SELECT artery.set_secret('acme', 'meta_app_secret', :secret)\n;");
command_ok([ 'pgbench', '-n', '-t', '1', '-M', 'extended', '-f', $script, '-D', "secret=$secret", $node->connstr('postgres') ],
	'as a parameter');
like($err, qr/unknown secret "no_such_secret"/, 'an unknown name is refused');
like($err, qr/unknown tenant "nobody"/, 'an unknown tenant is refused');
# (psql itself repeats the line it could not parse.)
unlike(join("\n", grep { !/^LINE/ } split /\n/, $err), qr/ERROR:.*$secret|DETAIL:.*$secret|HINT:.*$secret|CONTEXT:.*$secret/,
	'no error repeats the secret');
is($node->safe_psql('postgres', "SELECT count(*) FROM artery.tenant_secret WHERE value LIKE $quoted || '%'"), '3',
	'all secrets are kept');
is($node->safe_psql('postgres', "SELECT previous_value = $quoted || '-1' AND previous_until - updated_at = '24:00'
	FROM artery.tenant_secret WHERE name = 'hubspot_client_secret'"), 't', 'the one before it stays valid for a day');

like(slurp_file($node->logfile), qr/statement: SELECT artery\.set_secret\(\.\.\.\)/, 'the statements are logged without it');

# Nobody reads it: neither with every function nor with SELECT on every table.
for my $relation (split /\n/, $node->safe_psql('postgres', q{
	SELECT oid::regclass FROM pg_class WHERE relnamespace = 'artery'::regnamespace AND relkind IN ('r', 'p', 'v')}))
{
	my $rows = $node->safe_psql('postgres', "SELECT t::text FROM $relation t", extra_params => [ '-U', 'app' ]);
	unlike($rows, qr/\Q$secret\E/, "$relation shows no secret");
}
unlike($node->safe_psql('postgres', 'SELECT artery.health()', extra_params => [ '-U', 'app' ]), qr/\Q$secret\E/,
	'health shows no secret');

my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'dump');
unlike(slurp_file($dump), qr/\Q$secret\E/, 'the dump has no secret');

$node->stop;
my @lines = grep { /\Q$secret\E/ } split /\n/, slurp_file($node->logfile);
is(scalar(@lines), 0, 'the log has no secret') or diag(join("\n", @lines[0 .. ($#lines > 5 ? 5 : $#lines)]));

done_testing();
