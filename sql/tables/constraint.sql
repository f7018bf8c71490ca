-- constraint: what a person allows a budget owner

-- One row: the bounds of one budget owner that are its own.
CREATE TABLE artery.owner_constraint (
    tenant_id        text NOT NULL,
    budget_owner_id  text NOT NULL,
    min_budget       numeric CHECK (min_budget >= 0),
    max_budget       numeric CHECK (max_budget >= 0),
    max_step_percent double precision CHECK (max_step_percent >= 0),
    pinned           boolean NOT NULL DEFAULT false,
    set_by           text,
    note             text,
    updated_at       timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, budget_owner_id),
    CHECK (min_budget <= max_budget)
);
COMMENT ON TABLE artery.owner_constraint IS
'Bounds of single budget owners, in place of the tenant''s; a pinned owner keeps the budget that a person gave it. NULL: the tenant''s setting holds.';
COMMENT ON COLUMN artery.owner_constraint.min_budget IS 'Per day in the account''s currency, like max_budget.';
COMMENT ON COLUMN artery.owner_constraint.max_step_percent IS 'Most by which one allocation may change the budget.';
