-- What the run decided, and why. The demo has waited for pg_cron to start it.
\set QUIET on
SELECT max(run_id) AS run FROM artery.allocation_run WHERE tenant_id = 'ptd_fitness' \gset
\echo 'The runs, with all that is needed to repeat them (the first was asked for by a conversion of high value):'
SELECT run_id, started_at::timestamp(0) AS started_at, model, seed, total_budget, ads, proposed FROM artery.allocation_run
 WHERE tenant_id = 'ptd_fitness' ORDER BY run_id;
\echo 'What the last one recommends for each ad:'
SELECT a.about AS ad, r.current_budget AS now, r.recommended_budget AS recommended,
       round(r.change_percentage::numeric, 1) AS "change %", round(r.confidence::numeric, 2) AS confidence
  FROM artery.budget_recommendation r JOIN demo.ad a USING (ad_id)
 WHERE r.tenant_id = 'ptd_fitness' AND r.run_id = :run ORDER BY r.recommended_budget DESC;
\echo 'In words:'
SELECT a.about AS ad, r.reason FROM artery.budget_recommendation r JOIN demo.ad a USING (ad_id)
 WHERE r.tenant_id = 'ptd_fitness' AND r.run_id = :run ORDER BY r.recommended_budget DESC;
\echo 'Budgets belong to ad sets and campaigns, so that is what changes are proposed for. Small ones are approved'
\echo 'by the tenant''s policy, larger ones wait for a person. The amount already carries its fuzz:'
SELECT c.budget_owner_id, c.old_value ->> 'budget' AS now, c.requested_value ->> 'budget' AS wanted,
       c.new_value ->> 'budget' AS to_send, c.state, c.approved_by
  FROM artery.ad_change c WHERE c.tenant_id = 'ptd_fitness' AND c.run_id = :run ORDER BY c.budget_owner_id;
