-- Where the changes stand: what was sent since the last look, and what waits
-- with the rule and the moment.
\set QUIET on
\echo 'Sent, and verified by reading it back:'
SELECT h.recorded_at::timestamp(0) AS at, h.target_id, h.outcome, h.old_value ->> 'budget' AS before, h.new_value ->> 'budget' AS after
  FROM artery.ad_change_history h
 WHERE h.tenant_id = 'ptd_fitness' AND h.outcome = ANY (ARRAY['step', 'completed', 'reconciled', 'failed', 'unknown'])
   AND h.history_id > (SELECT coalesce(max(history_id), 0) FROM demo.seen)
 ORDER BY h.history_id;
INSERT INTO demo.seen SELECT max(history_id) FROM artery.ad_change_history WHERE tenant_id = 'ptd_fitness';
SELECT count(*) > 0 AS blocked FROM artery.ad_change WHERE tenant_id = 'ptd_fitness' AND state = 'blocked' \gset
\if :blocked
\echo 'Blocked: by which rule, and when it can pass. It costs no attempt, and nothing is lost:'
SELECT target_id, coalesce(reached_value, old_value) ->> 'budget' AS now, new_value ->> 'budget' AS wanted, blocked_rule,
       next_allowed_at::timestamp(0) AS can_pass_at
  FROM artery.v_pending_changes WHERE tenant_id = 'ptd_fitness' AND state = 'blocked' ORDER BY target_id;
\else
\echo 'Nothing is blocked any more.'
\endif
