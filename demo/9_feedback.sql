-- What Meta reported since, and what the gym itself knows better.
\set QUIET on
\echo 'Spend to date, with the new day:'
SELECT a.about AS ad, sum(d.spend) FILTER (WHERE d.day < t.today) AS before, sum(d.spend) AS now, o.budget
  FROM artery.ad_day d JOIN demo.ad a USING (ad_id) JOIN artery.ad_state s USING (tenant_id, ad_id)
  JOIN artery.budget_owner o ON o.tenant_id = s.tenant_id AND o.budget_owner_id = s.budget_owner_id,
       LATERAL (SELECT (artery.now() AT TIME ZONE 'America/New_York')::date AS today) t
 WHERE d.tenant_id = 'ptd_fitness' GROUP BY a.ad_id, a.about, o.budget ORDER BY a.ad_id;
\echo 'Feedback from outside: somebody who saw the stock photo became a member, which no click tells:'
SELECT a.about AS ad, 'before' AS "when", round(f.actual_roas::numeric, 2) AS roas, round(f.posterior_mean::numeric, 2) AS "1 spent brings",
       round(f.posterior_low::numeric, 2) || ' to ' || round(f.posterior_high::numeric, 2) AS "80% sure"
  FROM demo.ad a, artery.ad_roas('ptd_fitness', a.ad_id) r,
       artery.record_feedback('ptd_fitness', a.ad_id, r.pipeline_value, r.spend) f
 WHERE a.about = 'stock photo';
SELECT a.about AS ad, 'after' AS "when", round(f.actual_roas::numeric, 2) AS roas, round(f.posterior_mean::numeric, 2) AS "1 spent brings",
       round(f.posterior_low::numeric, 2) || ' to ' || round(f.posterior_high::numeric, 2) AS "80% sure"
  FROM demo.ad a, artery.ad_roas('ptd_fitness', a.ad_id) r,
       artery.record_feedback('ptd_fitness', a.ad_id, r.pipeline_value + 900, r.spend, as_of => artery.now() + interval '1 minute') f
 WHERE a.about = 'stock photo';
