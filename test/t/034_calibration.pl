# Learning with the real worker: within seconds of a conversion, clicks counted
# once though their transactions end late, nobody waits for anybody, and what
# was learnt outlives a crash.
use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('calibration');
$node->init;
$node->append_conf('postgresql.conf', slurp_file($ENV{ARTERY_TEST_CONF})) if $ENV{ARTERY_TEST_CONF};
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = 'artery'
artery.databases = 'postgres'
log_statement = none
});
$node->start;
$node->safe_psql('postgres', q{CREATE EXTENSION artery; SELECT artery.add_tenant('acme')});
sub ask { return $node->safe_psql('postgres', shift); }
sub wait_for { my ($query, $what) = @_; ok($node->poll_query_until('postgres', $query), $what); return; }
sub convert { my ($id) = @_; return "SELECT success FROM artery.attribute_conversion('acme', '$id', 'lead', ip_address => '192.0.2.1')"; }
my $clicks = q{SELECT coalesce(round(sum(occurrences)::numeric, 1), 0) FROM artery.attribution_value WHERE value_key BETWEEN 1 AND 5};

wait_for('SELECT worker_pid IS NOT NULL FROM artery.worker_status()', 'the worker is there');
ask(q{SELECT artery.track_click('acme', 'c', 'ad_1', 'k1', ip_address => '192.0.2.1')});
is(ask(convert('v1')), 't', 'a conversion finds its click');
wait_for('SELECT max(t.traced_at) <= max(s.counted_until) FROM artery.conversion_trace t JOIN artery.attribution_state s ON s.tenant_id = t.tenant_id', 'what it taught is learnt without anybody asking');
is(ask($clicks), '1.0', 'its click is counted');

# A click whose transaction ends late is counted then, once; those beside it do not wait for ever.
my $late = $node->background_psql('postgres');
$late->query_safe(q{BEGIN; SELECT artery.track_click('acme', 'c', 'ad_1', 'late', ip_address => '192.0.2.9')});
ask(q{SELECT artery.track_click('acme', 'c', 'ad_1', 'k2', ip_address => '192.0.2.2')});
ask(q{SELECT artery.fold_attribution_state('acme')}) for 1 .. 3;
$late->query_safe('COMMIT');
ask(q{SELECT artery.fold_attribution_state('acme')}) for 1 .. 3;
is(ask($clicks), '3.0', 'each click is counted once');

# One that folds and does not end keeps no conversion waiting.
$late->query_safe(q{BEGIN; SELECT artery.fold_attribution_state('acme')});
my $began = time;
is(ask(convert('v2')), 't', 'a conversion beside an open fold');
cmp_ok(time - $began, '<', 3, 'does not wait');
$late->query_safe('ROLLBACK');
$late->quit;
wait_for('SELECT max(t.traced_at) <= max(s.counted_until) FROM artery.conversion_trace t JOIN artery.attribution_state s ON s.tenant_id = t.tenant_id', 'and is learnt from when that has ended')
  if ask(convert('v3')) eq 't';

# What was learnt outlives a crash.
my $learnt = q{SELECT md5(string_agg(learnt::text || counted_until, ',')) FROM artery.attribution_state};
my $before = ask($learnt);
$node->stop('immediate');
$node->start;
is(ask($learnt), $before, 'the state is as before the crash');
ask(q{SELECT artery.rebuild_attribution_state('acme')});
is(ask($clicks), '3.0', 'and the same when learnt again');
$node->stop;
done_testing();
