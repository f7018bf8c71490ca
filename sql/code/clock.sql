-- clock: the current time as artery sees it

CREATE OR REPLACE FUNCTION artery.now()
RETURNS timestamptz
LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_now';

COMMENT ON FUNCTION artery.now() IS
'Start of the transaction plus artery.clock_offset seconds: the default of every time argument, so that tests can move the clock.';
