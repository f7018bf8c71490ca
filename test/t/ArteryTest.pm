# What the Perl tests of artery share: a cluster with artery preloaded, the fake
# Graph API, waiting for something with a limit.
package ArteryTest;
use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use HTTP::Tiny;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT_OK = qw(new_cluster add_tenant poll_until worker_pid wait_for_worker move_clock start_at_noon queue_budget queue_many state_of);

# new_cluster(NAME, fake => FAKE, conf => LINES): started, with the extension in
# database postgres. Without fake nothing listens where Meta should be.
sub new_cluster
{
	my ($name, %option) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $base = $option{fake} ? $option{fake}->base : 'http://127.0.0.1:9';

	$node->init;
	$node->append_conf('postgresql.conf', slurp_file($ENV{ARTERY_TEST_CONF})) if $ENV{ARTERY_TEST_CONF};
	$node->append_conf('postgresql.conf', qq{
shared_preload_libraries = 'artery'
artery.databases = 'postgres'
artery.allow_loopback_http = on
artery.meta_base_url = '$base'
artery.hubspot_base_url = '$base'
artery.http_timeout = 60s
artery.sync_interval = 0
log_statement = none
});
	$node->append_conf('postgresql.conf', $option{conf}) if $option{conf};
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION artery');
	wait_for_worker($node);
	return $node;
}

# poll_until(CODE, WHAT, SECONDS): passes with the first true answer.
sub poll_until
{
	my ($code, $what, $limit) = @_;
	my $began = time;

	$limit //= 20;
	while (time - $began < $limit)
	{
		if ($code->())
		{
			pass($what);
			return 1;
		}
		sleep 0.05;
	}
	return fail("$what (waited $limit s)");
}

sub worker_pid
{
	my ($node, $type) = @_;
	$type //= 'artery worker';
	return $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = '$type'");
}

# Until the worker has found the extension: it looks again when woken.
sub wait_for_worker
{
	my ($node) = @_;
	my $began = time;

	while (time - $began < 20)
	{
		return 1 if worker_pid($node) ne '';
		sleep 0.05;
	}
	die 'no worker came up';
}

# A tenant whose changes are sent as they are and at once, and what it may do with the fake.
sub add_tenant
{
	my ($node, $tenant, %settings) = @_;
	my $json = encode_json({ dry_run => JSON::PP::false, fuzz_percent => 0, jitter_ms_min => 0, jitter_ms_max => 0,
		meta_ad_account_id => '1', %settings });

	$node->safe_psql('postgres', qq{
		SELECT artery.add_tenant('$tenant', 'service_business', settings => '$json');
		SELECT artery.set_secret('$tenant', 'meta_access_token', 'token-of-$tenant');
	});
	return;
}

# queue_budget(NODE, TENANT, ADSET, FROM, TO): an approved change of an ad set's
# budget; campaign c<adset>. Returns its id.
sub queue_budget
{
	my ($node, $tenant, $adset, $from, $to) = @_;
	my $type = $to > $from ? 'BUDGET_INCREASE' : 'BUDGET_DECREASE';

	return $node->safe_psql('postgres', qq{
		SELECT artery.register_ad('$tenant', 'ad-$adset', 'c$adset', '$adset') \\g /dev/null
		WITH queued AS MATERIALIZED (
			SELECT artery.queue_ad_change('$tenant', 'c$adset', '$type', '{"budget": $from}', '{"budget": $to}',
				'test', adset_id => '$adset') AS id)
		SELECT id FROM queued, LATERAL artery.approve_ad_change('$tenant', id, 'boss')});
}

# queue_many(NODE, TENANT, PREFIX, COUNT, CAMPAIGN): as many ad sets PREFIX1 .. at 100, each with an
# approved change to 110; each in a campaign of its own unless one is named. All committed at once.
sub queue_many
{
	my ($node, $tenant, $prefix, $count, $campaign) = @_;
	my $of = $campaign ? "'$campaign'" : "'c$prefix' || n";

	$node->safe_psql('postgres', qq{
		BEGIN;
		SELECT count(artery.register_ad('$tenant', 'ad-$prefix' || n, $of, '$prefix' || n)) FROM generate_series(1, $count) n;
		SELECT count(artery.queue_ad_change('$tenant', $of, 'BUDGET_INCREASE', '{"budget": 100}', '{"budget": 110}', 'test',
			adset_id => '$prefix' || n)) FROM generate_series(1, $count) n;
		SELECT count(artery.approve_ad_change('$tenant', change_id, 'boss')) FROM artery.ad_change
		 WHERE tenant_id = '$tenant' AND target_id ~ '^$prefix\\d+\$' AND state = 'proposed';
		COMMIT});
	return;
}

sub state_of
{
	my ($node, $id) = @_;
	return $node->safe_psql('postgres', "SELECT state FROM artery.ad_change WHERE change_id = '$id'");
}

# Artery's clock so many seconds ahead, for every process, and the fake's.
sub move_clock
{
	my ($node, $seconds, $fake) = @_;

	$fake->control('POST', 'settings', { clock_offset => $seconds }) if $fake;
	$node->append_conf('postgresql.conf', "artery.clock_offset = $seconds");
	$node->reload;
	return;
}

# start_at_noon(NODE, FAKE): set the clock on to the next noon in UTC and return by how much, for tests that
# speak of days: whenever they are run, they are hours from any midnight between New York and Berlin.
sub start_at_noon
{
	my ($node, $fake) = @_;
	my $seconds = (43200 - int(time)) % 86400;

	move_clock($node, $seconds, $fake);
	poll_until(sub { $node->safe_psql('postgres', 'SHOW artery.clock_offset') eq $seconds }, 'the clock is at noon');
	return $seconds;
}

package ArteryTest::Fake;
use Time::HiRes qw(sleep time);

sub start
{
	my ($class) = @_;
	my $folder = PostgreSQL::Test::Utils::tempdir();
	my $script = File::Basename::dirname(Cwd::abs_path(__FILE__)) . '/../fake/graph_api.py';
	my $pid = fork;

	die "could not fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		open STDOUT, '>', "$folder/fake.log" or die $!;
		open STDERR, '>&', \*STDOUT or die $!;
		exec '/usr/bin/python3', $script, '--port-file', "$folder/port" or die "could not run the fake: $!";
	}
	my $began = time;
	sleep 0.05 until -s "$folder/port" or time - $began > 20;
	my $port = PostgreSQL::Test::Utils::slurp_file("$folder/port");
	chomp $port;
	return bless { pid => $pid, base => "http://127.0.0.1:$port", http => HTTP::Tiny->new(timeout => 20) }, $class;
}

sub base { return $_[0]{base} }

sub stop
{
	my ($self) = @_;
	return unless $self->{pid};
	kill 'TERM', $self->{pid};
	waitpid $self->{pid}, 0;
	$self->{pid} = 0;
	return;
}

sub DESTROY
{
	local ($?, $!, $@);
	$_[0]->stop;
	return;
}

# control(METHOD, PATH, DATA): the answer's data
sub control
{
	my ($self, $method, $path, $data) = @_;
	my %option = defined $data ? (content => JSON::PP::encode_json($data)) : ();
	my $answer = $self->{http}->request($method, "$self->{base}/_control/$path", \%option);

	die "$method $path: $answer->{status} $answer->{content}" unless $answer->{success};
	return JSON::PP::decode_json($answer->{content});
}

# An ad set (and its campaign c<id>) with a budget in minor units.
sub add_adset
{
	my ($self, $id, $budget) = @_;
	return $self->control('POST', 'objects', [
		{ type => 'campaign', id => "c$id", account_id => '1' },
		{ type => 'adset', id => $id, campaign_id => "c$id", account_id => '1', daily_budget => "$budget" } ]);
}

# Many at once, as queue_many wants them.
sub add_adsets
{
	my ($self, $prefix, $count, $campaign) = @_;
	return $self->control('POST', 'objects', [ map { my $of = $campaign // "c$prefix$_";
		({ type => 'campaign', id => $of, account_id => '1' },
		 { type => 'adset', id => "$prefix$_", campaign_id => $of, account_id => '1', daily_budget => '10000' }) } 1 .. $count ]);
}

sub fault { my ($self, %fault) = @_; return $self->control('POST', 'faults', \%fault) }
sub clear_faults { return $_[0]->control('DELETE', 'faults') }
sub budget { return $_[0]->control('GET', "objects/$_[1]")->{daily_budget} }

# Values that were set on an object, in order.
sub changes
{
	my ($self, $id) = @_;
	return map { $_->{new} } grep { $_->{id} eq $id } @{ $self->control('GET', 'changes') };
}

# requests(METHOD, ID): those that came so far
sub requests
{
	my ($self, $method, $id) = @_;
	return grep { $_->{method} eq $method && $_->{path} =~ m{/\Q$id\E$} } @{ $self->control('GET', 'log')->{requests} };
}

1;
