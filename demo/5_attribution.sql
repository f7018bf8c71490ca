-- What was attributed, by which layer, and what it is worth.
\set QUIET on
\echo 'Deals by the layer that found their ad. The generator knows which ad it really was:'
SELECT d.attribution_method AS layer, count(*) AS deals,
       round(avg(d.attribution_confidence)::numeric, 2) AS stated_confidence,
       count(*) FILTER (WHERE d.ad_id = t.ad_id) AS right_ad,
       sum(d.stage_value) AS pipeline_value
  FROM artery.deal d JOIN demo.deal t ON t.deal_id::text = d.deal_id
 WHERE d.tenant_id = 'ptd_fitness' GROUP BY 1 ORDER BY 3 DESC;
\echo 'Each ad: what it cost, what its deals are worth now, what was paid, and the rule''s verdict:'
SELECT a.about AS ad, r.spend, r.pipeline_value AS pipeline, round(r.pipeline_roas::numeric, 2) AS roas,
       r.cash_revenue AS cash, c.decision, c.reason
  FROM demo.ad a, artery.ad_roas('ptd_fitness', a.ad_id) r, artery.ad_decision('ptd_fitness', a.ad_id) c
 ORDER BY a.ad_id;
