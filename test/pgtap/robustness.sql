-- What no argument may do: crash a backend, or be answered by an internal error (class XX).
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();

-- Functions that artery calls itself may be called by whoever owns the database too.
SELECT throws_ok($$SELECT artery.funnel_state(NULL, 1, NULL, 0, NULL, NULL, NULL, NULL)$$, '22004', NULL, 'a funnel without names');
SELECT throws_ok($$SELECT artery.funnel_state('{lead,NULL}', 1, NULL, 0, NULL, NULL, NULL, NULL)$$, '22004', NULL, 'a stage without a name');
SELECT throws_ok($$SELECT artery.funnel_state('{lead}', 1, '{NaN}', 0, NULL, NULL, NULL, NULL)$$, '22003', NULL, 'sums that are no numbers');
SELECT throws_ok($$SELECT artery.learnt_step(NULL, '{1}', '{1}', 1)$$, '0A000', NULL, 'a step of an aggregate called by itself');
SELECT throws_ok($$SELECT artery.sum_learnt('{{1}}'::smallint[], '{{1},{2}}'::float8[], 1)$$, '2202E', NULL, 'arrays of two dimensions');
SELECT throws_ok($$SELECT artery.combine_learnt('{NULL}', 1, NULL, 0)$$, '2202E', NULL, 'an array with a null');

SELECT finish();
ROLLBACK;
