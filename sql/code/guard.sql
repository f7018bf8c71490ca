-- guard: would it be allowed, and when

CREATE OR REPLACE FUNCTION artery.check_rate_limit(
    tenant_id text, campaign_id text, as_of timestamptz DEFAULT artery.now(),
    OUT allowed boolean, OUT current_count integer, OUT limit_value integer, OUT next_allowed_at timestamptz)
RETURNS record
LANGUAGE C STABLE
AS 'MODULE_PATHNAME', 'artery_check_rate_limit';
COMMENT ON FUNCTION artery.check_rate_limit(text, text, timestamptz) IS
'Whether the campaign has a place left in the 60 minutes that end at as_of, and from when on it has one. Reserves nothing.';

CREATE OR REPLACE FUNCTION artery.check_budget_velocity(
    tenant_id text, budget_owner_id text, new_budget numeric, as_of timestamptz DEFAULT artery.now(),
    OUT allowed boolean, OUT base_budget numeric, OUT change_percentage numeric, OUT max_percentage numeric,
    OUT min_allowed numeric, OUT max_allowed numeric, OUT next_allowed_at timestamptz)
RETURNS record
LANGUAGE C STABLE
AS 'MODULE_PATHNAME', 'artery_check_budget_velocity';
COMMENT ON FUNCTION artery.check_budget_velocity(text, text, numeric, timestamptz) IS
'Whether the new budget is within the allowed percentage of every budget in force in the velocity window before as_of. base_budget is the one that binds; next_allowed_at is NULL if the amount never passes in one step.';

CREATE OR REPLACE FUNCTION artery.currency_digits(currency text)
RETURNS integer
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_currency_digits_sql';
COMMENT ON FUNCTION artery.currency_digits(text) IS 'Decimal places of a budget in that currency, as Meta counts: 0 or 2.';

CREATE OR REPLACE FUNCTION artery.rule_advice(rule text)
RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE rule
        WHEN 'rate_limit' THEN 'Passes by itself; rate_limit_per_hour is the tenant''s limit.'
        WHEN 'owner_limit' THEN 'Passes by itself; Meta takes 4 changes of a budget an hour (owner_changes_per_hour).'
        WHEN 'velocity' THEN 'Passes by itself, step by step; or propose it with safety_override and approve it with a note.'
        WHEN 'unknown_budget' THEN 'Its budget was never seen: observe_budget tells it, or a sync of the ad account.'
        WHEN 'floor' THEN 'Meta takes no less: what was spent today binds until the account''s day ends; the minimum always.'
        WHEN 'owner_cap' THEN 'Outside the tenant''s min_budget and max_budget: change these by configure_tenant, or cancel and propose another amount.'
        WHEN 'tenant_cap' THEN 'All budgets together would exceed daily_budget and its tolerance, approved or not: raise these by configure_tenant, lower or pause another budget, or cancel. An override does not lift it.'
        WHEN 'learning' THEN 'Passes when Meta''s learning phase ends; hold_while_learning false lets it pass now.'
        WHEN 'account' THEN 'The ad account is not active: cure that with Meta; the next sync sees it.'
        WHEN 'currency' THEN 'The ad account has another currency than the tenant: one of the two settings is wrong.'
        WHEN 'owner_paused' THEN 'A person paused it: resume_owner lets it go on.'
        WHEN 'disabled' THEN 'artery.enabled or the tenant''s enabled is off.'
        WHEN 'token' THEN 'Meta does not take the token, or there is none: set_secret brings another.'
        WHEN 'account_stopped' THEN 'A person has to clear it with Meta; then resume_delivery.'
        WHEN 'configuration' THEN 'Meta cannot be used with artery.meta_base_url and artery.meta_api_version: other settings are tried at once.'
        WHEN 'locked' THEN 'Another session holds it; it is tried again in seconds.'
        ELSE CASE WHEN rule LIKE '%throttle%' THEN 'Passes by itself when the wait that Meta asked for is over; resume_delivery lifts it.' END END
$$;
COMMENT ON FUNCTION artery.rule_advice(text) IS 'What somebody can do about a change that this rule holds back.';
