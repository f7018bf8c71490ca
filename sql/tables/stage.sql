-- stage: what a stage of the funnel is worth

-- One row: a tenant's own stage values, laid over its template's.
CREATE TABLE artery.synthetic_revenue_config (
    tenant_id    text PRIMARY KEY,
    stage_values jsonb NOT NULL DEFAULT '{}',
    updated_at   timestamptz
);
COMMENT ON TABLE artery.synthetic_revenue_config IS
'A tenant''s own stage values: {"stage": {"value": 2250, "confidence": 0.60, "description": "...", "aliases": ["..."], "won": false}}; null takes a stage of the template away.';
COMMENT ON COLUMN artery.synthetic_revenue_config.stage_values IS 'Values in the account''s currency, confidences as shares 0..1.';

INSERT INTO artery.tenant_template (template, description, stage_values) VALUES
('service_business', 'Appointments and services: a lead books, shows up, buys.', '{
    "lead":                  {"value": 0,     "confidence": 0.10, "description": "Somebody asked",
                              "aliases": ["new_lead", "form_submitted", "inquiry"]},
    "appointment_scheduled": {"value": 2250,  "confidence": 0.60, "description": "An appointment is booked",
                              "aliases": ["appointmentscheduled", "appointment_booked", "consultation_scheduled"]},
    "show_up":               {"value": 9000,  "confidence": 0.85, "description": "The appointment took place",
                              "aliases": ["showup", "showed_up", "appointment_completed", "consultation_completed"]},
    "closed_won":            {"value": 15000, "confidence": 1.00, "description": "Sold", "won": true,
                              "aliases": ["closedwon", "won"]},
    "closed_lost":           {"value": 0,     "confidence": 1.00, "description": "Lost",
                              "aliases": ["closedlost", "lost"]}
}'),
('ecommerce', 'A shop: cart, checkout, purchase.', '{
    "add_to_cart":        {"value": 15, "confidence": 0.25, "description": "Something is in the cart",
                           "aliases": ["addtocart", "added_to_cart", "cart"]},
    "checkout_initiated": {"value": 45, "confidence": 0.75, "description": "The checkout began",
                           "aliases": ["checkoutinitiated", "initiate_checkout", "initiated_checkout", "checkout_started",
                                       "checkout"]},
    "purchase":           {"value": 60, "confidence": 1.00, "description": "Bought", "won": true,
                           "aliases": ["purchased", "purchase_completed", "order_completed", "closed_won", "closedwon"]}
}'),
('b2b_saas', 'Software for businesses: qualified leads, demo, proposal.', '{
    "mql":         {"value": 100,   "confidence": 0.05, "description": "Marketing qualified lead",
                    "aliases": ["marketing_qualified_lead", "marketingqualifiedlead"]},
    "sql":         {"value": 2000,  "confidence": 0.20, "description": "Sales qualified lead",
                    "aliases": ["sales_qualified_lead", "salesqualifiedlead"]},
    "demo":        {"value": 3500,  "confidence": 0.35, "description": "The product was shown",
                    "aliases": ["demo_completed", "demo_done", "product_demo"]},
    "proposal":    {"value": 6000,  "confidence": 0.60, "description": "A proposal is out",
                    "aliases": ["proposal_sent", "proposal_made"]},
    "closed_won":  {"value": 10000, "confidence": 1.00, "description": "Sold", "won": true,
                    "aliases": ["closedwon", "won"]},
    "closed_lost": {"value": 0,     "confidence": 1.00, "description": "Lost",
                    "aliases": ["closedlost", "lost"]}
}');
