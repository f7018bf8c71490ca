-- clock: the current time as artery sees it

CREATE OR REPLACE FUNCTION artery.now()
RETURNS timestamptz
LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_now';

COMMENT ON FUNCTION artery.now() IS
'Start of the transaction plus artery.clock_offset seconds: the default of every time argument, so that tests can move the clock.';

CREATE OR REPLACE FUNCTION artery.moment()
RETURNS timestamptz
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'artery_moment';
COMMENT ON FUNCTION artery.moment() IS
'This very moment by artery''s clock, unlike artery.now() within a transaction: for verdicts under a lock.';
