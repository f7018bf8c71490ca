# User agents: uap-core's own tests, all of them; and a server without the
# patterns, which makes do with a few words.
use strict;
use warnings;
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $patterns = '/usr/share/uap-core';
my $node = PostgreSQL::Test::Cluster->new('agents');
$node->init;
$node->append_conf('postgresql.conf', slurp_file($ENV{ARTERY_TEST_CONF})) if $ENV{ARTERY_TEST_CONF};
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'artery'\n");
$node->start;
$node->safe_psql('postgres', q{CREATE EXTENSION artery; SELECT artery.add_tenant('acme')});

SKIP:
{
	my $folder = PostgreSQL::Test::Utils::tempdir;
	skip "uap-core's tests are not in $patterns", 6 unless -d "$patterns/tests";
	system("python3 $FindBin::Bin/../fixtures/uap_tests.py $patterns > $folder/uap.tsv") == 0
	  or skip "uap-core's tests could not be read: is python3-yaml there?", 6;
	$node->safe_psql('postgres', "CREATE TABLE uap (kind text, agent text, name text, version text, brand text, model text);
		COPY uap FROM '$folder/uap.tsv'");
	for my $case ([ 'browser', '(u.name, u.version)', '(p.browser, p.browser_version)', 2000 ],
		[ 'os', '(u.name, u.version)', '(p.os, p.os_version)', 450 ],
		[ 'device', '(u.name, u.brand, u.model)', '(p.device, p.brand, p.model)', 16000 ])
	{
		my ($kind, $expected, $told, $least) = @$case;
		my ($count, $wrong) = split /\|/, $node->safe_psql('postgres', qq{
			SELECT count(*), coalesce(min(left(agent, 300)) FILTER (WHERE $expected IS DISTINCT FROM $told), '')
			  FROM uap u CROSS JOIN LATERAL artery.parse_user_agent(u.agent) p WHERE u.kind = '$kind'}), 2;
		cmp_ok($count, '>=', $least, "$kind: $count of uap-core's own tests");
		is($wrong, '', "$kind: all of them pass");
	}
}

# Without the patterns: the same classes from words, no names of versions, one line in the log.
my $before = classes();
my $offset = -s $node->logfile;
$node->append_conf('postgresql.conf', "artery.user_agent_patterns = '/nowhere/regexes.yaml'\n");
$node->restart;
is(classes(), $before, 'without patterns, systems and apps are told by words');
is($node->safe_psql('postgres', q{SELECT os_version IS NULL AND browser_version IS NULL AND device IS NULL
	FROM artery.parse_user_agent('Mozilla/5.0 (Windows NT 10.0) Chrome/124.0.0.0 Safari/537.36')}), 't', 'without patterns, nothing further is told');
my $log = slurp_file($node->logfile, $offset);
is(() = $log =~ /could not read patterns of user agents from "\/nowhere\/regexes.yaml"/g, 1, 'the log says so, once for all sessions');

# A file that is no list of patterns, or has broken ones, is not fatal either.
my $folder = PostgreSQL::Test::Utils::tempdir;
for my $content ("a: [b, c\n", "just text\n", '', "user_agent_parsers: 7\nos_parsers: [1, {}, {regex: '('}]\n")
{
	append_to_file("$folder/broken.yaml", $content);
	$node->append_conf('postgresql.conf', "artery.user_agent_patterns = '$folder/broken.yaml'\n");
	$node->restart;
	is(classes(), $before, 'a broken file is as none');
	unlink "$folder/broken.yaml";
}
append_to_file("$folder/broken.yaml", "user_agent_parsers:\n- regex: '(broken'\n- regex: '(Mine)/(\\d+)'\nos_parsers:\n- regex: '(MyOS)'\n");
$node->restart;
is($node->safe_psql('postgres', q{SELECT browser, browser_version, os FROM artery.parse_user_agent('MyOS Mine/7')}), 'Mine|7|MyOS',
	'patterns of another file count, a broken one among them is passed over');

done_testing();

# system, in an app: of clicks on five kinds of device
sub classes
{
	return $node->safe_psql('postgres', q{
		SELECT string_agg(p.device_type || ' ' || p.os || ' ' || p.in_app, ', ' ORDER BY n)
		  FROM unnest(ARRAY[
			'Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile/15E148 Safari/604.1',
			'Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 Mobile/21E236 [FBAN/FBIOS;FBAV/458.0.0.39.108]',
			'Mozilla/5.0 (Linux; Android 14; SM-S918B; wv) AppleWebKit/537.36 Version/4.0 Chrome/123.0.6312.99 Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/458.0]',
			'Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Mobile Safari/537.36',
			'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/124.0.0.0 Safari/537.36'])
		       WITH ORDINALITY a (agent, n) CROSS JOIN LATERAL artery.parse_user_agent(a.agent) p});
}
