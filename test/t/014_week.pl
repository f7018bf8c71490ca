# A week of delivery on a moved clock, with an independent checker: whatever
# happens, what the account receives keeps every limit. Then the account's day
# around both changes of the clocks.
use strict;
use warnings;
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('week');
$node->init;
$node->append_conf('postgresql.conf', slurp_file($ENV{ARTERY_TEST_CONF})) if $ENV{ARTERY_TEST_CONF};
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\nautovacuum = on\nfsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION artery');
$node->safe_psql('postgres', slurp_file("$FindBin::RealBin/../fixtures/week.sql") . "CALL public.week();\n");

sub query { return $node->safe_psql('postgres', $_[0]) }
sub at_least { my ($count, $least, $what) = @_; return cmp_ok(query("SELECT count(*) FROM $count"), '>=', $least, $what) }
sub none { my ($query, $what) = @_; return is(query($query), '', $what) }

at_least("received WHERE tenant = 'week' AND who = 'artery' AND applied", 100, 'the usual tenant was busy');
at_least("received WHERE tenant = 'week_fast' AND who = 'artery' AND applied", 400, 'the fast one very');
at_least("received WHERE tenant = 'week_cap' AND who = 'artery' AND applied", 50, 'the capped one too');
at_least("received WHERE who = 'hand'", 40, 'people edited by hand');
at_least('received WHERE NOT applied', 20, 'requests got lost');
is(query("SELECT string_agg(DISTINCT rule, ' ' ORDER BY rule) FROM artery.ad_change_history WHERE outcome = 'blocked'
	AND rule <> 'throttled'"), 'floor owner_limit owner_paused rate_limit tenant_cap velocity', 'every rule was met');

# A second at the edge of a window is left out: it passes between a verdict and what is written down.
none(q{
	SELECT r.owner, r.at, r.budget, min(e.budget), max(e.budget)
	  FROM received r JOIN rule u USING (tenant)
	  JOIN (SELECT *, lead(at, 1, 'infinity') OVER (PARTITION BY owner ORDER BY at) AS until FROM received WHERE applied) e
	    ON e.owner = r.owner AND e.at < r.at AND e.until > r.at - u.window_length + interval '1 second'
	 WHERE r.who = 'artery' GROUP BY 1, 2, 3
	HAVING r.budget > min(e.budget) * 1.2 OR r.budget < max(e.budget) * 0.8},
	'no budget received is more than 20 % from any in force in the window before, by hand or not');
none(q{
	SELECT * FROM received r WHERE who = 'artery' AND 15 < (SELECT count(*) FROM received e
	 WHERE e.campaign = r.campaign AND e.who = 'artery' AND e.at > r.at - interval '59 minutes 59 seconds' AND e.at <= r.at)},
	'no campaign received more than 15 in any 60 minutes');
none(q{
	SELECT * FROM received r WHERE who = 'artery' AND 4 < (SELECT count(*) FROM received e
	 WHERE e.owner = r.owner AND e.who = 'artery' AND e.at > r.at - interval '59 minutes 59 seconds' AND e.at <= r.at)},
	'no budget owner received more than 4 in any 60 minutes');
none(q{
	SELECT r.*, t.spend FROM received r
	 CROSS JOIN LATERAL (SELECT * FROM told t WHERE t.owner = r.owner AND t.at < r.at ORDER BY t.at DESC LIMIT 1) t
	 WHERE r.who = 'artery' AND t.day = (r.at AT TIME ZONE 'Europe/Berlin')::date AND r.budget < 1.1 * t.spend},
	q{none is below 110 % of what was spent on the account's day as last told});
none(q{
	SELECT * FROM received r JOIN pause p ON p.owner = r.owner AND r.at > p.at AND (p.until IS NULL OR r.at < p.until)
	 WHERE r.who = 'artery'}, 'nothing was received for an owner while it was paused');
none(q{
	SELECT r.at, r.owner, r.budget, s.before, s.total FROM received r CROSS JOIN LATERAL (
	       SELECT sum(b.budget) AS total,
	              (SELECT x.budget FROM received x WHERE x.owner = r.owner AND x.applied AND x.at < r.at ORDER BY x.at DESC LIMIT 1) AS before
	         FROM (SELECT DISTINCT ON (e.owner) e.* FROM received e WHERE e.tenant = 'week_cap' AND e.applied AND e.at <= r.at
	                ORDER BY e.owner, e.at DESC) b) s
	 WHERE r.tenant = 'week_cap' AND r.who = 'artery' AND r.applied AND r.budget > s.before AND s.total > 840 * 1.05},
	q{no increase lets the sum of the budgets exceed the tenant's day and its tolerance});
none(q{
	SELECT * FROM artery.ad_change WHERE state IN ('proposed', 'sending') OR state = 'blocked' AND blocked_rule IS NULL
	    OR state = 'superseded' AND superseded_by IS NULL AND last_error IS NULL},
	'every change is done, waits for a rule that is told, or ended with a reason');
at_least("artery.ad_change WHERE state = 'superseded' AND last_error LIKE 'somebody changed%'", 5, 'hand edits ended changes');
none(q{
	SELECT h.change_id, h.attempt FROM artery.ad_change_history h WHERE h.outcome IN ('step', 'completed')
	 GROUP BY 1, 2 HAVING count(*) > 1}, 'no attempt was applied twice');

# A floor by what was spent ends with the account's day, at its own midnight.
$node->safe_psql('postgres', q{
	CREATE TABLE zone AS
	SELECT z.name, d.day + h.hour AS local_time
	  FROM (VALUES ('Europe/Berlin'), ('America/New_York'), ('Australia/Lord_Howe'), ('Asia/Kathmandu'), ('UTC')) z(name),
	       (SELECT make_date(extract(year FROM artery.now())::int + 1, v.m, 1) + n AS day FROM (VALUES (3, 35), (10, 40)) v(m, span),
	               generate_series(0, span) n) d,
	       (VALUES (time '00:00'), ('01:30'), ('03:30'), ('23:59:30')) h(hour);
	SELECT artery.add_tenant(name, time_zone => name, settings => '{"dry_run": false, "fuzz_percent": 0}'),
	       artery.observe_budget(name, 'set', 100, '2026-01-01') FROM (SELECT DISTINCT name FROM zone) z;
	SELECT artery.approve_ad_change(name, artery.queue_ad_change(name, 'campaign', 'BUDGET_DECREASE', NULL, '{"budget": 90}',
	       'test', budget_owner_id => 'set'), 'test') FROM (SELECT DISTINCT name FROM zone) z;
	CREATE FUNCTION day_ends(z zone) RETURNS timestamptz LANGUAGE plpgsql AS $$
	DECLARE
	    v_change uuid;
	    v_next   timestamptz;
	BEGIN
	    PERFORM set_config('artery.clock_offset', extract(epoch FROM z.local_time AT TIME ZONE z.name - clock_timestamp())::text, false);
	    UPDATE artery.budget_owner SET spend_today = 95, spend_day = (artery.moment() AT TIME ZONE z.name)::date WHERE tenant_id = z.name;
	    SELECT c.change_id INTO v_change FROM artery.ad_change c WHERE c.tenant_id = z.name;
	    PERFORM artery.reserve_ad_change(z.name, v_change, '{"budget": 100}');
	    SELECT c.next_allowed_at INTO v_next FROM artery.ad_change c WHERE c.change_id = v_change AND c.blocked_rule = 'floor';
	    RETURN v_next;
	END $$;
});
none(q{
	SELECT * FROM (SELECT z.*, public.day_ends(z) AS ends FROM zone z) d
	 WHERE ends IS DISTINCT FROM ((local_time AT TIME ZONE name AT TIME ZONE name)::date + 1)::timestamp AT TIME ZONE name},
	q{the floor ends with the account's day, also on those of 23 and 25 hours});
is(query(q{SELECT count(*) FROM (SELECT DISTINCT name, local_time::date AS day FROM zone) z
	WHERE (day + 1)::timestamp AT TIME ZONE name - day::timestamp AT TIME ZONE name <> interval '24 hours'}), '6',
	'such days were among them: two in each of three zones');

$node->stop;
done_testing();
