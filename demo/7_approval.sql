-- A person looks at what waits: rejects the smallest, takes the others, and has a
-- wish of her own that is too large for one step.
\set QUIET on
\o /dev/null
SELECT artery.reject_ad_change('ptd_fitness', change_id, 'maria', 'not worth the learning phase')
  FROM (SELECT change_id FROM artery.ad_change WHERE tenant_id = 'ptd_fitness' AND state = 'proposed'
         ORDER BY abs((new_value ->> 'budget')::numeric - (old_value ->> 'budget')::numeric) LIMIT 1) c;
SELECT artery.approve_ad_change('ptd_fitness', change_id, 'maria', 'go')
  FROM artery.ad_change WHERE tenant_id = 'ptd_fitness' AND state = 'proposed';
SELECT artery.approve_ad_change('ptd_fitness', artery.queue_ad_change('ptd_fitness', '120210000000000103', 'BUDGET_INCREASE',
    '{"budget": 50}', '{"budget": 100}', 'maria', adset_id => '120210000000000205', reason => 'I believe in mornings'), 'maria');
\o
\echo 'Maria rejects one, approves the rest, and wants to double the budget of the new ad:'
SELECT budget_owner_id, old_value ->> 'budget' AS now, new_value ->> 'budget' AS to_send, state, approved_by,
       (run_at - approved_at)::interval(1) AS jitter
  FROM artery.ad_change WHERE tenant_id = 'ptd_fitness' AND state <> 'superseded' ORDER BY budget_owner_id, created_at;
SELECT count(*) AS "superseded by newer wishes" FROM artery.ad_change WHERE tenant_id = 'ptd_fitness' AND state = 'superseded';
