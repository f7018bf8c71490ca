-- Totals to date come back from wherever they are known.
\set QUIET on
\echo 'Two of the ads report, before and after a member signs up through the second:'
SELECT a.about AS ad, 'before' AS "when", round(f.actual_roas::numeric, 2) AS roas, round(f.posterior_mean::numeric, 4) AS posterior_mean
  FROM demo.ad a, artery.ad_roas('ptd_fitness', a.ad_id) r,
       artery.record_feedback('ptd_fitness', a.ad_id, r.pipeline_value, r.spend) f
 WHERE a.ad_id LIKE ANY (ARRAY['%302', '%303']) ORDER BY a.ad_id;
SELECT a.about AS ad, 'after' AS "when", round(f.actual_roas::numeric, 2) AS roas, round(f.posterior_mean::numeric, 4) AS posterior_mean
  FROM demo.ad a, artery.ad_roas('ptd_fitness', a.ad_id) r,
       artery.record_feedback('ptd_fitness', a.ad_id, r.pipeline_value + CASE WHEN a.ad_id LIKE '%303' THEN 900 ELSE 0 END,
           r.spend + 150, as_of => artery.now() + interval '1 minute') f
 WHERE a.ad_id LIKE ANY (ARRAY['%302', '%303']) ORDER BY a.ad_id;
