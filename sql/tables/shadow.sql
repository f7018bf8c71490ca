-- shadow: what allocations would have done had they been let

-- One row: from then on a budget owner would have had this budget.
CREATE TABLE artery.shadow_budget (
    tenant_id       text NOT NULL,
    budget_owner_id text NOT NULL,
    since           timestamptz NOT NULL,
    run_id          bigint NOT NULL,
    in_force        numeric NOT NULL,
    wanted          numeric NOT NULL,
    budget          numeric NOT NULL,
    step_at         timestamptz,
    refusal         text,
    PRIMARY KEY (tenant_id, budget_owner_id, since)
);
CREATE INDEX shadow_budget_by_run ON artery.shadow_budget (tenant_id, run_id);
COMMENT ON TABLE artery.shadow_budget IS
'What the allocations of a tenant in shadow mode would have made of the budgets, ramps included: each row lasts until the next one of its owner.';
COMMENT ON COLUMN artery.shadow_budget.in_force IS 'The budget that really was in force, per day in the account''s currency, like wanted and budget.';
COMMENT ON COLUMN artery.shadow_budget.wanted IS 'What the run would have asked for, and what the budget is on its way to.';
COMMENT ON COLUMN artery.shadow_budget.step_at IS 'When it would have changed last; the next step may come a velocity window later.';
COMMENT ON COLUMN artery.shadow_budget.refusal IS 'Why the run would have asked for nothing, if so.';
