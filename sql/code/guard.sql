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
