-- Stages: templates, a tenant's own values over them, and the value of a move.
\set VERBOSITY terse
SET client_min_messages = warning;
\pset null '(null)'

-- The shipped templates, as specified.
SELECT artery.add_tenant('stage_service', 'service_business'), artery.add_tenant('stage_shop', 'ecommerce'),
       artery.add_tenant('stage_saas', 'b2b_saas'), artery.add_tenant('stage_none');
SELECT t.tenant, s.stage_name, s.stage_value, s.stage_confidence
  FROM (VALUES (1, 'stage_service'), (2, 'stage_shop'), (3, 'stage_saas'), (4, 'stage_none')) t(position, tenant)
  LEFT JOIN LATERAL artery.get_stages(t.tenant) WITH ORDINALITY s ON true ORDER BY t.position, s.ordinality;
\set VERBOSITY terse
UPDATE artery.tenant_template SET stage_values = '{}';

-- A new deal; a move up; the same; a move back; lost; reopened.
SELECT c.* FROM (VALUES
    (1, NULL, 'lead'), (2, NULL, 'show_up'), (3, 'lead', 'appointment_scheduled'), (4, 'show_up', 'show_up'),
    (5, 'show_up', 'lead'), (6, 'appointment_scheduled', 'closed_lost'), (7, 'closed_lost', 'show_up')) m(position, before, after),
    artery.calculate_synthetic_revenue('stage_service', m.before, m.after) c ORDER BY m.position;
-- A real value replaces that of a won stage, on either side, and of no other.
SELECT c.stage_from, c.stage_to, c.synthetic_value, c.calculated_value FROM (VALUES
    (1, 'show_up', 'closed_won', 18000), (2, NULL, 'closed_won', 0.01), (3, 'lead', 'show_up', 18000),
    (4, 'closed_won', 'closed_lost', 18000), (5, 'show_up', 'closed_won', 0)) m(position, before, after, real),
    artery.calculate_synthetic_revenue('stage_service', m.before, m.after, m.real) c ORDER BY m.position;
SELECT stage_to, synthetic_value FROM artery.calculate_synthetic_revenue('stage_shop', 'checkout_initiated', 'purchase', 89.90);
-- By alias and in any case.
SELECT m.name, c.stage_to FROM (VALUES ('appointmentscheduled'), ('closedwon'), ('ClosedLost'), ('SHOW_UP')) m(name),
    artery.calculate_synthetic_revenue('stage_service', NULL, m.name) c;
SELECT m.name, c.stage_to FROM (VALUES ('marketing_qualified_lead'), ('sales_qualified_lead'), ('demo_completed'), ('closedwon')) m(name),
    artery.calculate_synthetic_revenue('stage_saas', NULL, m.name) c;
-- Refused, never worth 0.
\set VERBOSITY default
SELECT * FROM artery.calculate_synthetic_revenue('stage_service', 'lead', 'contractsent');
SELECT * FROM artery.calculate_synthetic_revenue('stage_service', '', 'lead');
SELECT * FROM artery.calculate_synthetic_revenue('stage_none', NULL, 'lead');
\set VERBOSITY terse
SELECT * FROM artery.calculate_synthetic_revenue('stage_nobody', NULL, 'lead');
SELECT * FROM artery.calculate_synthetic_revenue('stage_service', 'lead', NULL);
SELECT * FROM artery.calculate_synthetic_revenue(NULL, NULL, 'lead');
SELECT * FROM artery.calculate_synthetic_revenue('stage_service', NULL, 'closed_won', -1);
SELECT * FROM artery.calculate_synthetic_revenue('stage_service', NULL, 'closed_won', 'NaN');
SELECT * FROM artery.calculate_synthetic_revenue('stage_service', NULL, 'closed_won', 'Infinity');
SELECT * FROM artery.calculate_synthetic_revenue('stage_service', NULL, repeat('ü', 1000));
SELECT * FROM artery.get_stages('stage_nobody');

-- Own values lie over the template: a value alone, a new stage, an alias, one taken away.
INSERT INTO artery.synthetic_revenue_config (tenant_id, stage_values) VALUES ('stage_service', '{
    "appointment_scheduled": {"value": 3000.50, "aliases": ["1234567", 89]},
    "closed_lost": null,
    "deposit": {"value": 12000, "confidence": 0.95, "description": "Paid in part"}}');
SELECT stage_name, stage_value, stage_confidence, is_won, aliases, is_own FROM artery.v_stage_values WHERE tenant_id = 'stage_service'
 ORDER BY stage_value, stage_name;
SELECT stage_to, synthetic_value, confidence FROM artery.calculate_synthetic_revenue('stage_service', NULL, '1234567');
SELECT stage_to, calculated_value FROM artery.calculate_synthetic_revenue('stage_service', 'appointmentscheduled', 'deposit');
SELECT stage_to FROM artery.calculate_synthetic_revenue('stage_service', NULL, '89');
SELECT stage_to FROM artery.calculate_synthetic_revenue('stage_service', NULL, 'closed_lost');
-- What the tenant names itself is taken from the template's aliases.
SELECT artery.set_stage_values('stage_service', '{"closedwon": {"value": 14000, "confidence": 1, "won": true},
                                                  "show_up": {"aliases": ["won"]}}');
SELECT m.name, c.stage_to, c.synthetic_value FROM (VALUES ('closedwon'), ('closed_won'), ('won')) m(name),
    artery.calculate_synthetic_revenue('stage_service', NULL, m.name) c;
-- Without a template, all by itself; closed_won and purchase are won unless said otherwise.
SELECT artery.set_stage_values('stage_none', '{"a": {"value": 1, "confidence": 0.5}, "closed_won": {"value": 10, "confidence": 1},
                                               "purchase": {"value": 5, "confidence": 1, "won": false}}');
SELECT stage_name, is_won FROM artery.v_stage_values WHERE tenant_id = 'stage_none' ORDER BY 1;
-- Back to the template.
SELECT artery.set_stage_values('stage_service', NULL);
SELECT stage_name, stage_value FROM artery.get_stages('stage_service');

-- What is not valid is not stored.
\set VERBOSITY terse
DO $$
DECLARE
    v_case record;
BEGIN
    FOR v_case IN SELECT * FROM (VALUES
        ('negative value', '{"lead": {"value": -1}}'),
        ('value beyond', '{"lead": {"value": 1e13}}'),
        ('value far beyond', '{"lead": {"value": 1e400}}'),
        ('value as text', '{"lead": {"value": "10"}}'),
        ('percent', '{"lead": {"confidence": 60}}'),
        ('negative confidence', '{"lead": {"confidence": -0.01}}'),
        ('confidence null', '{"lead": {"confidence": null}}'),
        ('unknown key', '{"lead": {"worth": 10}}'),
        ('no object', '{"lead": 10}'),
        ('an array', '[]'),
        ('a scalar', '1'),
        ('json null', 'null'),
        ('empty name', '{"": {"value": 1, "confidence": 1}}'),
        ('long name', jsonb_build_object(repeat('x', 257), '{"value": 1, "confidence": 1}'::jsonb)::text),
        ('new without value', '{"new": {"confidence": 1}}'),
        ('new without confidence', '{"new": {"value": 1}}'),
        ('alias of another stage', '{"lead": {"aliases": ["show_up"]}}'),
        ('alias in another case', '{"lead": {"aliases": ["SHOW_UP"]}}'),
        ('alias twice', '{"lead": {"aliases": ["x"]}, "show_up": {"aliases": ["x"]}}'),
        ('aliases as text', '{"lead": {"aliases": "x"}}'),
        ('alias as object', '{"lead": {"aliases": [{}]}}'),
        ('empty alias', '{"lead": {"aliases": [""]}}'),
        ('won as text', '{"lead": {"won": "yes"}}'),
        ('description as number', '{"lead": {"description": 1}}')) c(what, stage_values)
    LOOP
        BEGIN
            PERFORM artery.set_stage_values('stage_service', v_case.stage_values::jsonb);
            RAISE WARNING '%: accepted', v_case.what;
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING '%: % %', v_case.what, SQLSTATE, left(SQLERRM, 100);
        END;
    END LOOP;
END
$$;
SELECT count(*) FROM artery.synthetic_revenue_config WHERE tenant_id = 'stage_service';
SELECT artery.set_stage_values('stage_nobody', '{}');
\set VERBOSITY default
-- With detail and hint.
INSERT INTO artery.synthetic_revenue_config (tenant_id, stage_values) VALUES ('stage_shop', '{"purchase": {"confidence": 1.5}}');
-- An update is checked too.
INSERT INTO artery.synthetic_revenue_config (tenant_id, stage_values) VALUES ('stage_shop', '{"purchase": {"value": 80}}');
\set VERBOSITY terse
UPDATE artery.synthetic_revenue_config SET stage_values = '{"purchase": {"value": -80}}' WHERE tenant_id = 'stage_shop';
SELECT stage_value FROM artery.get_stages('stage_shop') WHERE stage_name = 'purchase';

-- A role with EXECUTE only, bound to one tenant.
CREATE ROLE stage_role;
GRANT USAGE ON SCHEMA artery TO stage_role;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA artery TO stage_role;
GRANT SELECT ON artery.v_stage_values TO stage_role;
SELECT artery.grant_tenant('stage_saas', 'stage_role');
SET ROLE stage_role;
SELECT calculated_value FROM artery.calculate_synthetic_revenue('stage_saas', 'mql', 'demo');
SELECT calculated_value FROM artery.calculate_synthetic_revenue('stage_shop', NULL, 'purchase');
SELECT artery.set_stage_values('stage_shop', '{}');
SELECT DISTINCT tenant_id FROM artery.v_stage_values;
RESET ROLE;
DROP OWNED BY stage_role;
DELETE FROM artery.tenant_role WHERE role_name = 'stage_role';
DROP ROLE stage_role;
