-- The state of everything in one answer.
\set QUIET on
SELECT h ->> 'status' AS status, h ->> 'problems' AS problems, h -> 'worker' ->> 'state' AS worker,
       h -> 'worker' ->> 'requests' AS requests, h -> 'changes' ->> 'blocked' AS blocked, h ->> 'clock_offset' AS clock_offset
  FROM artery.health() h;
SELECT kind, message FROM artery.v_alerts WHERE tenant_id = 'ptd_fitness';
