-- attribution: which click earned a conversion

CREATE OR REPLACE FUNCTION artery.attribute_conversion(
    tenant_id text, conversion_id text, conversion_type text, conversion_value numeric DEFAULT NULL,
    conversion_timestamp timestamptz DEFAULT artery.now(), click_id text DEFAULT NULL, fbclid text DEFAULT NULL,
    fingerprint_hash text DEFAULT NULL, ip_address inet DEFAULT NULL, user_agent text DEFAULT NULL,
    screen_width int DEFAULT NULL, screen_height int DEFAULT NULL, timezone text DEFAULT NULL,
    timezone_offset int DEFAULT NULL, device_type text DEFAULT NULL, os text DEFAULT NULL, browser text DEFAULT NULL,
    is_synthetic boolean DEFAULT false, crm_deal_id text DEFAULT NULL, crm_contact_id text DEFAULT NULL,
    crm_stage text DEFAULT NULL, raw_data jsonb DEFAULT NULL, consent boolean DEFAULT NULL, client_hints jsonb DEFAULT NULL,
    OUT success boolean, OUT attributed_click_id text, OUT attribution_method text,
    OUT attribution_confidence float8, OUT attribution_window_hours float8, OUT ad_id text, OUT adset_id text,
    OUT campaign_id text, OUT candidates int, OUT reason text)
RETURNS record
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'artery_attribute_conversion';
COMMENT ON FUNCTION artery.attribute_conversion IS
'Store a conversion with the click that earned it: by click id or fbclid where they survived, else by device, network and time, weighed as the tenant''s attribution_model says. Without consent (false, or NULL where consent_required is set) it is attributed by ids only. The same conversion_id again returns what is stored.';

CREATE OR REPLACE FUNCTION artery.conversion_before_insert()
RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'artery_conversion_before_insert';
COMMENT ON FUNCTION artery.conversion_before_insert() IS 'Does for INSERT and COPY what attribute_conversion does; rows that bring attributed_at are checked and pass untouched.';

CREATE TRIGGER conversion_before_insert BEFORE INSERT ON artery.conversion_tracking
    FOR EACH ROW EXECUTE FUNCTION artery.conversion_before_insert();

CREATE OR REPLACE FUNCTION artery.conversion_before_update()
RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'artery_conversion_before_update';
COMMENT ON FUNCTION artery.conversion_before_update() IS 'Checks the value and the time of a conversion as an INSERT does, and that the method of attribution is a known one (error 23514) and its confidence a share.';

CREATE TRIGGER conversion_before_update BEFORE UPDATE
    OF conversion_value, conversion_timestamp, attribution_method, attribution_confidence ON artery.conversion_tracking
    FOR EACH ROW EXECUTE FUNCTION artery.conversion_before_update();

CREATE OR REPLACE FUNCTION artery.conversion_after_insert()
RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'artery_conversion_after_insert';
COMMENT ON FUNCTION artery.conversion_after_insert() IS 'Writes the log and the traces of an INSERT''s or COPY''s conversions together.';

CREATE TRIGGER conversion_after_insert AFTER INSERT ON artery.conversion_tracking
    FOR EACH STATEMENT EXECUTE FUNCTION artery.conversion_after_insert();

CREATE OR REPLACE FUNCTION artery.conversion_after_delete()
RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM artery.attribution_performance_log;
        DELETE FROM artery.conversion_trace;
        RETURN NULL;
    END IF;
    DELETE FROM artery.attribution_performance_log l USING gone g
     WHERE l.tenant_id = g.tenant_id AND l.conversion_id = g.conversion_id;
    WITH removed AS (
        DELETE FROM artery.conversion_trace t USING gone g
         WHERE t.tenant_id = g.tenant_id AND t.conversion_id = g.conversion_id
        RETURNING t.tenant_id, t.traced_at, t.happened_at, t.positions, t.amounts)
    INSERT INTO artery.attribution_correction (tenant_id, traced_at, happened_at, positions, amounts)
    SELECT r.* FROM removed r;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION artery.conversion_after_delete() IS
'With a conversion go its log and its trace, and what it taught; TRUNCATE leaves what was taught.';

-- So a conversion that is new has no log and no trace, and whoever stores it need not look.
CREATE TRIGGER conversion_after_delete AFTER DELETE ON artery.conversion_tracking
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION artery.conversion_after_delete();
CREATE TRIGGER conversion_after_truncate AFTER TRUNCATE ON artery.conversion_tracking
    FOR EACH STATEMENT EXECUTE FUNCTION artery.conversion_after_delete();

CREATE OR REPLACE FUNCTION artery.attribute_again(tenant_id text, conversion_id text)
RETURNS boolean
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'artery_attribute_again';
COMMENT ON FUNCTION artery.attribute_again(text, text) IS
'Another attempt at an unattributed conversion; true if it is attributed by it. See artery.reattribute().';

CREATE OR REPLACE FUNCTION artery.attribute_deal(tenant_id text, deal_id text)
RETURNS boolean
LANGUAGE C VOLATILE
AS 'MODULE_PATHNAME', 'artery_attribute_deal';
COMMENT ON FUNCTION artery.attribute_deal(text, text) IS
'Attribute a deal with the evidence of its deal or contact, if it is not attributed; true if it is now. record_stage and identify call it.';

CREATE OR REPLACE FUNCTION artery.reattribute(
    tenant_id text, since timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity')
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_conversion record;
    v_attributed bigint := 0;
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    -- All are tried, so what was noted of late clicks is done, where no worker does it. Younger notes stay for those
    -- who are attributing at this moment and see neither the clicks nor this call.
    IF coalesce(since, '-infinity') = '-infinity' AND coalesce(until, 'infinity') = 'infinity' THEN
        DELETE FROM artery.late_click n WHERE n.tenant_id = reattribute.tenant_id AND n.note_id = ANY (ARRAY(
               SELECT x.note_id FROM artery.late_click x
                WHERE x.tenant_id = reattribute.tenant_id AND x.tracked_since < artery.now() - interval '1 hour'
                  FOR UPDATE SKIP LOCKED));
    END IF;
    FOR v_conversion IN
        SELECT c.conversion_id, d.deal_id
          FROM artery.conversion_tracking c
          LEFT JOIN artery.deal d ON d.tenant_id = reattribute.tenant_id AND d.deal_id = c.crm_deal_id
               AND d.attribution_method = 'unattributed' AND d.conversion_id = c.conversion_id
         WHERE c.tenant_id = reattribute.tenant_id AND c.ad_id IS NULL AND c.attribution_method = 'unattributed'
           AND c.conversion_timestamp >= coalesce(since, '-infinity')
           AND c.conversion_timestamp <= coalesce(until, 'infinity')
         -- Deals first: conversions that name a deal take over its ad.
         ORDER BY d.deal_id IS NULL, c.conversion_id
    LOOP
        IF v_conversion.deal_id IS NOT NULL THEN
            v_attributed := v_attributed + artery.attribute_deal(tenant_id, v_conversion.deal_id)::int;
        ELSE
            v_attributed := v_attributed + artery.attribute_again(tenant_id, v_conversion.conversion_id)::int;
        END IF;
    END LOOP;
    RETURN v_attributed;
END
$$;
COMMENT ON FUNCTION artery.reattribute(text, timestamptz, timestamptz) IS
'Try the unattributed conversions of that time again, with the clicks and evidence that came in since; returns how many are attributed by it. Windows stay those of the conversions'' own times.';

CREATE OR REPLACE VIEW artery.v_attribution_recovery_rate WITH (security_barrier) AS
SELECT r.tenant_id, r.day, r.conversions, r.url_param + r.recovered AS attributed,
       r.url_param, r.fingerprint, r.probabilistic, r.unattributed,
       round((r.url_param + r.recovered)::numeric / r.conversions, 4) AS attribution_rate,
       r.conversions - r.url_param AS conversions_without_id, r.recovered,
       round(r.recovered::numeric / nullif(r.conversions - r.url_param, 0), 4) AS recovery_rate,
       round(r.expected_right::numeric, 1) AS expected_right
  FROM (SELECT c.tenant_id,
               (c.conversion_timestamp AT TIME ZONE coalesce(t.settings ->> 'time_zone', 'UTC'))::date AS day,
               count(*) AS conversions,
               count(*) FILTER (WHERE c.attribution_method = 'url_param') AS url_param,
               count(*) FILTER (WHERE c.attribution_method = 'fingerprint') AS fingerprint,
               count(*) FILTER (WHERE c.attribution_method = 'probabilistic') AS probabilistic,
               count(*) FILTER (WHERE c.attribution_method = 'unattributed') AS unattributed,
               count(*) FILTER (WHERE c.attribution_method = ANY (ARRAY['fingerprint', 'probabilistic'])) AS recovered,
               coalesce(sum(c.attribution_confidence) FILTER (WHERE c.attribution_method = ANY (ARRAY['fingerprint', 'probabilistic'])), 0)
                   AS expected_right
          FROM artery.tenant t
          JOIN artery.conversion_tracking c ON c.tenant_id = t.tenant_id
         WHERE artery.tenant_visible(t.tenant_id)
         GROUP BY 1, 2) r;
COMMENT ON VIEW artery.v_attribution_recovery_rate IS
'Per tenant and day (of the ad account''s time zone): conversions by method, the share attributed, and of those whose click id did not survive the share recovered, with the number of these answers that will be right if the stated confidences are true.';

CREATE OR REPLACE VIEW artery.v_unattributed_conversions WITH (security_barrier) AS
SELECT c.tenant_id, c.conversion_id, c.conversion_type, c.conversion_value, c.conversion_timestamp, c.is_synthetic,
       c.crm_deal_id, c.crm_contact_id, c.crm_stage, l.layer_1_result, l.layer_2_result, l.layer_3_result,
       l.attempt_number AS attempts, c.candidates, c.best_click_id, c.best_confidence, c.reason, c.attributed_at
  FROM artery.conversion_tracking c
  LEFT JOIN LATERAL (
       SELECT p.layer_1_result, p.layer_2_result, p.layer_3_result, p.attempt_number
         FROM artery.attribution_performance_log p
        WHERE p.tenant_id = c.tenant_id AND p.conversion_id = c.conversion_id
        ORDER BY p.attempt_number DESC LIMIT 1) l ON true
 WHERE c.ad_id IS NULL AND c.attribution_method = 'unattributed' AND artery.tenant_visible(c.tenant_id);
COMMENT ON VIEW artery.v_unattributed_conversions IS
'Conversions without a click, with what each layer found at the last attempt and the best candidate, if there was one.';

CREATE OR REPLACE VIEW artery.v_conversion_attribution_summary WITH (security_barrier) AS
SELECT c.tenant_id, c.campaign_id, c.adset_id, c.ad_id, c.attribution_method, count(*) AS conversions,
       coalesce(sum(c.conversion_value), 0) AS conversion_value, avg(c.attribution_confidence) AS avg_confidence,
       avg(c.attribution_window_hours) AS avg_window_hours,
       min(c.conversion_timestamp) AS first_conversion_at, max(c.conversion_timestamp) AS last_conversion_at
  FROM artery.conversion_tracking c
 WHERE artery.tenant_visible(c.tenant_id)
 GROUP BY c.tenant_id, c.campaign_id, c.adset_id, c.ad_id, c.attribution_method;
COMMENT ON VIEW artery.v_conversion_attribution_summary IS
'Conversions per ad and method: number, value in the account''s currency, mean confidence, mean hours from click to conversion.';
