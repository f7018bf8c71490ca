# Many sessions at once: the places of an hour are given exactly, and each change
# is handled once.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('guard_race');
$node->init;
$node->append_conf('postgresql.conf', slurp_file($ENV{ARTERY_TEST_CONF})) if $ENV{ARTERY_TEST_CONF};
$node->append_conf('postgresql.conf', q{
shared_preload_libraries = ''
max_connections = 60
});
$node->start;
my $settings = q{'{"dry_run": false, "fuzz_percent": 0, "jitter_ms_min": 0, "jitter_ms_max": 0}'};

# Twenty sessions at one campaign with 15 places, three times an hour apart.
$node->safe_psql('postgres', qq{
	CREATE EXTENSION artery;
	SELECT artery.add_tenant('race', settings => $settings);
	SELECT artery.observe_budget('race', 'set_' || n, 100, '2026-01-01') FROM generate_series(0, 59) n;
	SELECT artery.approve_ad_change('race', artery.queue_ad_change('race', 'campaign', 'BUDGET_INCREASE', NULL, '{"budget": 110}',
	       'test', budget_owner_id => 'set_' || n), 'test') FROM generate_series(0, 59) n;
});
for my $round (0 .. 2)
{
	my $offset = $round * 3601;
	$node->pgbench("-n -c 20 -j 4 -t 1", 0, [qr/20\/20/], [qr/^$|\w/], "round $round: twenty sessions at once", {
		"reserve_$round" => qq{
			SET artery.clock_offset = $offset;
			SELECT r.verdict FROM artery.ad_change c, artery.reserve_ad_change('race', c.change_id, '{"budget": 100}') r
			 WHERE c.tenant_id = 'race' AND c.target_id = 'set_' || (:client_id + $round * 20);
		} });
	is($node->safe_psql('postgres', "SELECT count(*) FROM artery.campaign_action WHERE tenant_id = 'race'"),
		15 * ($round + 1), "round $round: exactly 15 places are taken");
}
is($node->safe_psql('postgres', "SELECT state, blocked_rule, count(*), count(*) FILTER (WHERE failures > 0)
	FROM artery.ad_change WHERE tenant_id = 'race' GROUP BY 1, 2 ORDER BY 1"), "blocked|rate_limit|15|0\nsending||45|0",
	'the others wait, and no attempt was spent');

# Eight sessions claim, judge and settle 300 changes of 40 campaigns of two tenants.
$node->safe_psql('postgres', qq{
	SELECT artery.configure_tenant('race', '{"enabled": false}');
	SELECT artery.add_tenant(t, settings => $settings || jsonb '{"rate_limit_per_hour": 1000}') FROM (VALUES ('many_a'), ('many_b')) v(t);
	SELECT artery.observe_budget(t, t || n, 100, '2026-01-01') FROM (VALUES ('many_a'), ('many_b')) v(t), generate_series(1, 150) n;
	SELECT artery.approve_ad_change(t, artery.queue_ad_change(t, 'campaign_' || n % 20, 'BUDGET_INCREASE', NULL, '{"budget": 110}',
	       'test', budget_owner_id => t || n), 'test') FROM (VALUES ('many_a'), ('many_b')) v(t), generate_series(1, 150) n;
	CREATE TABLE overlap (tenant_id text, campaign_id text);
	CREATE PROCEDURE handle_all() LANGUAGE plpgsql AS \$\$
	DECLARE
		v_claim record;
	BEGIN
		WHILE EXISTS (SELECT FROM artery.ad_change WHERE tenant_id LIKE 'many%' AND state IN ('approved', 'sending')) LOOP
			FOR v_claim IN SELECT * FROM artery.claim_ad_changes(3) LOOP
				COMMIT;
				INSERT INTO overlap SELECT tenant_id, campaign_id FROM artery.ad_change
				 WHERE state = 'sending' GROUP BY 1, 2 HAVING count(*) > 1 AND tenant_id <> 'race';
				PERFORM artery.judge_ad_change(v_claim.tenant_id, v_claim.change_id, v_claim.attempt, '{"budget": 100}');
				COMMIT;
				PERFORM artery.settle_ad_change(v_claim.tenant_id, v_claim.change_id, v_claim.attempt, 'applied');
				COMMIT;
			END LOOP;
			COMMIT;
		END LOOP;
	END \$\$;
});
$node->pgbench('-n -c 8 -j 4 -t 1', 0, [qr/8\/8/], [qr/^$|\w/], 'eight sessions handle all changes',
	{ handle => 'CALL handle_all();' });
is($node->safe_psql('postgres', "SELECT state, attempt, count(*) FROM artery.ad_change WHERE tenant_id LIKE 'many%' GROUP BY 1, 2"),
	'completed|1|300', 'each change was claimed once and completed');
is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT change_id) FROM artery.ad_change_history
	WHERE tenant_id LIKE 'many%' AND outcome = 'completed'"), '300|300', 'each is recorded once');
is($node->safe_psql('postgres', 'SELECT count(*) FROM overlap'), '0', 'no campaign had two changes in flight');
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'nobody deadlocked');

$node->stop;
done_testing();
