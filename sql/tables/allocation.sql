-- allocation: what was decided, on what, and why

-- One row: one run of the allocation.
CREATE TABLE artery.allocation_run (
    tenant_id     text NOT NULL,
    run_id        bigint GENERATED ALWAYS AS IDENTITY,
    as_of         timestamptz NOT NULL,
    model         text NOT NULL,
    -- runs of a dump that does not tell were made before versions were counted
    model_version integer NOT NULL DEFAULT 1 CHECK (model_version > 0),
    seed          bigint NOT NULL,
    total_budget  numeric NOT NULL,
    ads           integer NOT NULL,
    proposed      integer NOT NULL DEFAULT 0,
    unallocated   numeric NOT NULL DEFAULT 0,
    proposed_total numeric,
    mode          text NOT NULL DEFAULT 'ask' CHECK (mode = ANY (ARRAY['propose', 'shadow', 'ask'])),
    settings      jsonb NOT NULL,
    started_at    timestamptz NOT NULL,
    duration_ms   double precision NOT NULL,
    PRIMARY KEY (tenant_id, run_id)
);
CREATE INDEX allocation_run_by_time ON artery.allocation_run (tenant_id, as_of);
COMMENT ON TABLE artery.allocation_run IS 'Runs of allocate_budget with everything needed to run them again.';
COMMENT ON COLUMN artery.allocation_run.proposed_total IS 'What the budgets come to, per day, once the changes that were asked for are made, with their fuzz, and the other budgets stay: what to compare with the total. NULL where nothing was to be asked for.';
COMMENT ON COLUMN artery.allocation_run.model_version IS 'Version of the model''s mathematics that decided (artery.model_version says which is here now): by another one the same inputs may come to other numbers.';
COMMENT ON COLUMN artery.allocation_run.unallocated IS 'What of the total the bounds left over or, negative, by how much the least they allow exceeds it; per day.';
COMMENT ON COLUMN artery.allocation_run.mode IS 'propose: changes were asked for; shadow: it was only kept what would have been; ask: neither, somebody wanted to know.';
COMMENT ON COLUMN artery.allocation_run.total_budget IS 'Per day in the account''s currency.';

-- One row: what a run recommends for an ad.
CREATE TABLE artery.budget_recommendation (
    tenant_id          text NOT NULL,
    run_id             bigint NOT NULL,
    ad_id              text NOT NULL,
    budget_owner_id    text,
    current_budget     numeric,
    recommended_budget numeric NOT NULL,
    change_percentage  double precision,
    confidence         double precision NOT NULL,
    reason             text NOT NULL,
    inputs             jsonb NOT NULL,
    metrics            jsonb NOT NULL,
    change_id          uuid,
    PRIMARY KEY (tenant_id, run_id, ad_id)
);
CREATE INDEX budget_recommendation_by_ad ON artery.budget_recommendation (tenant_id, ad_id, run_id);
-- A row of the model delayed has some three kilobytes, most of it numbers: pressed by lz4, where the server has it, in a
-- third of the time of pglz, and three to a page, it takes as much room as partly moved out of line, without the moving.
ALTER TABLE artery.budget_recommendation SET (toast_tuple_target = 2704);
DO $$
BEGIN
    ALTER TABLE artery.budget_recommendation ALTER COLUMN inputs SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END
$$;
COMMENT ON TABLE artery.budget_recommendation IS 'Recommendations with inputs, scores, draw and reason, so that any past decision can be explained.';
COMMENT ON COLUMN artery.budget_recommendation.recommended_budget IS 'Per day in the account''s currency.';
COMMENT ON COLUMN artery.budget_recommendation.change_id IS 'The change proposed for the budget owner, if any.';
