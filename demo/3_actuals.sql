-- What the worker read from Meta.
\set QUIET on
\echo 'Ads, their budget owners and what they cost so far, read by the worker from the (fake) Graph API:'
SELECT a.about AS ad, s.campaign_id, o.owner_type AS budget_is_on, o.budget, s.impressions, s.clicks, s.spend
  FROM artery.ad_state s JOIN demo.ad a USING (ad_id)
  LEFT JOIN artery.budget_owner o ON o.tenant_id = s.tenant_id AND o.budget_owner_id = s.budget_owner_id
 WHERE s.tenant_id = 'ptd_fitness' ORDER BY s.ad_id;
