-- stage: what stages are worth, and what a move between them brings

CREATE OR REPLACE FUNCTION artery.check_stages(template_values jsonb, own_values jsonb)
RETURNS void
LANGUAGE C IMMUTABLE
AS 'MODULE_PATHNAME', 'artery_check_stages';
COMMENT ON FUNCTION artery.check_stages(jsonb, jsonb) IS
'Error unless own_values are valid stage values that together with the template''s make complete stages.';

CREATE OR REPLACE FUNCTION artery.merge_stages(template_values jsonb, own_values jsonb,
    OUT stage_name text, OUT stage_value numeric, OUT stage_confidence numeric, OUT description text,
    OUT is_won boolean, OUT aliases text[])
RETURNS SETOF record
LANGUAGE C IMMUTABLE PARALLEL SAFE ROWS 6
AS 'MODULE_PATHNAME', 'artery_merge_stages';
COMMENT ON FUNCTION artery.merge_stages(jsonb, jsonb) IS
'The stages that result from own values laid over a template''s, by value.';

CREATE OR REPLACE FUNCTION artery.get_stages(tenant_id text,
    OUT stage_name text, OUT stage_value numeric, OUT stage_confidence numeric, OUT description text)
RETURNS SETOF record
LANGUAGE C STABLE ROWS 6
AS 'MODULE_PATHNAME', 'artery_get_stages';
COMMENT ON FUNCTION artery.get_stages(text) IS
'The tenant''s stages by value: amounts in the account''s currency, confidences as shares 0..1.';

CREATE OR REPLACE FUNCTION artery.calculate_synthetic_revenue(
    tenant_id text, stage_from text, stage_to text, deal_value numeric DEFAULT NULL,
    OUT stage_from text, OUT stage_to text, OUT synthetic_value numeric, OUT calculated_value numeric,
    OUT confidence numeric, OUT reason text)
LANGUAGE C STABLE
AS 'MODULE_PATHNAME', 'artery_calculate_synthetic_revenue';
COMMENT ON FUNCTION artery.calculate_synthetic_revenue(text, text, text, numeric) IS
'What entering stage_to is worth and what it adds to stage_from (NULL: a new deal). A real deal value replaces the value of a won stage. Stages may be named by an alias.';

CREATE OR REPLACE FUNCTION artery.synthetic_revenue_config_check()
RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.require_tenant(NEW.tenant_id);
    PERFORM artery.check_stages(
        (SELECT p.stage_values FROM artery.tenant t JOIN artery.tenant_template p ON p.template = t.template
          WHERE t.tenant_id = NEW.tenant_id),
        NEW.stage_values);
    NEW.updated_at := artery.now();
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION artery.synthetic_revenue_config_check() IS 'Refuses stage values that are not valid.';

-- A restored row brings its own time; its tenant may not be there yet.
CREATE TRIGGER synthetic_revenue_config_insert BEFORE INSERT ON artery.synthetic_revenue_config
    FOR EACH ROW WHEN (NEW.updated_at IS NULL) EXECUTE FUNCTION artery.synthetic_revenue_config_check();
CREATE TRIGGER synthetic_revenue_config_update BEFORE UPDATE ON artery.synthetic_revenue_config
    FOR EACH ROW EXECUTE FUNCTION artery.synthetic_revenue_config_check();

CREATE OR REPLACE FUNCTION artery.set_stage_values(tenant_id text, stage_values jsonb)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    IF stage_values IS NULL THEN
        DELETE FROM artery.synthetic_revenue_config c WHERE c.tenant_id = set_stage_values.tenant_id;
    ELSE
        INSERT INTO artery.synthetic_revenue_config (tenant_id, stage_values)
        VALUES (set_stage_values.tenant_id, set_stage_values.stage_values)
        ON CONFLICT ON CONSTRAINT synthetic_revenue_config_pkey
        DO UPDATE SET stage_values = EXCLUDED.stage_values;
    END IF;
END
$$;
COMMENT ON FUNCTION artery.set_stage_values(text, jsonb) IS
'Replace the tenant''s own stage values, which lie over its template''s; NULL returns to the template. Values of deals already recorded stay until their next event.';

CREATE OR REPLACE VIEW artery.v_stage_values WITH (security_barrier) AS
SELECT t.tenant_id, s.stage_name, s.stage_value, s.stage_confidence, s.description, s.is_won, s.aliases,
       coalesce(c.stage_values ? s.stage_name, false) AS is_own
  FROM artery.tenant t
  LEFT JOIN artery.tenant_template p ON p.template = t.template
  LEFT JOIN artery.synthetic_revenue_config c ON c.tenant_id = t.tenant_id
 CROSS JOIN LATERAL artery.merge_stages(p.stage_values, c.stage_values) s
 WHERE artery.tenant_visible(t.tenant_id);
COMMENT ON VIEW artery.v_stage_values IS
'Stages of every tenant with value (account currency), confidence, aliases, and whether the tenant set anything of it itself.';
