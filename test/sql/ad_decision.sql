-- ad_decision: kill, scale, maintain, and the zone where nothing is killed
SET datestyle = 'ISO';
SET timezone = 'UTC';
\set SHOW_CONTEXT never
SELECT artery.add_tenant('ad_decision', 'service_business');
-- ads first seen 2024-03-01 00:00, with spend and value told on the 1st
CREATE FUNCTION decide(ad text, spend numeric, value numeric, as_of timestamptz,
                       OUT decision text, OUT reason text, OUT roas numeric, OUT days_live float8)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM artery.register_ad('ad_decision', ad, 'c', first_seen => '2024-03-01 00:00+00');
    PERFORM artery.record_feedback('ad_decision', ad, value, spend, as_of => '2024-03-01 06:00+00');
    SELECT d.decision, d.reason, round(d.roas::numeric, 4), d.days_live INTO decision, reason, roas, days_live
      FROM artery.ad_decision('ad_decision', ad, decide.as_of) d;
END $$;
SELECT d.* FROM (VALUES
    -- young, or little spent: no kill, however bad
    ('young',        1000,    0, '2024-03-02 23:59+00'),
    ('cheap',        99.99,   0, '2024-03-09 00:00+00'),
    -- out of the zone at exactly 2 days and 100 spent, yet a kill needs 200
    ('at 2 days',     200,    0, '2024-03-03 00:00+00'),
    ('100 spent',     100,    0, '2024-03-09 00:00+00'),
    ('199.99 spent', 199.99,  0, '2024-03-09 00:00+00'),
    -- ROAS exactly 0.5 lives, exactly 3.0 does not scale
    ('half',          200,  100, '2024-03-09 00:00+00'),
    ('below half',    200,   99, '2024-03-09 00:00+00'),
    ('three',         200,  600, '2024-03-09 00:00+00'),
    ('above three',   200,  601, '2024-03-09 00:00+00'),
    -- what is told is not the threshold itself where it only comes near
    ('nearly half', 200, 99.99, '2024-03-09 00:00+00'),
    ('hardly above', 200, 600.01, '2024-03-09 00:00+00'),
    ('young winner',   50,  500, '2024-03-01 12:00+00')) c(ad, spend, value, as_of)
  CROSS JOIN LATERAL decide(c.ad, c.spend, c.value, c.as_of::timestamptz) d;
SELECT decision, spend, roas, days_live FROM artery.ad_decision('ad_decision', 'half', '2024-03-09 00:00+00');
-- mode direct counts cash alone
SELECT artery.configure_tenant('ad_decision', '{"mode": "direct"}');
SELECT decision, roas FROM artery.ad_decision('ad_decision', 'above three', '2024-03-09 00:00+00');
SELECT artery.ad_decision('ad_decision', 'unknown');
SELECT artery.ad_decision('ad_decision', NULL);
\set VERBOSITY terse
SELECT artery.ad_decision('nobody', 'half');
DROP FUNCTION decide;
