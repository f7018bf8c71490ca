-- contact_fetch: reading the contacts of deals from HubSpot

-- One row: a deal whose contacts are to be read, are being read, or were read last.
CREATE TABLE artery.contact_fetch (
    tenant_id    text NOT NULL,
    deal_id      text NOT NULL,
    state        text NOT NULL DEFAULT 'queued',
    run_at       timestamptz NOT NULL,
    attempt      integer NOT NULL DEFAULT 0,
    failures     integer NOT NULL DEFAULT 0,
    looks        integer NOT NULL DEFAULT 0,
    worker_pid   integer,
    lease_until  timestamptz,
    outcome      text,
    contacts     integer,
    last_error   text,
    requested_at timestamptz NOT NULL,
    settled_at   timestamptz,
    PRIMARY KEY (tenant_id, deal_id),
    CHECK (state = ANY (ARRAY['queued', 'active', 'done', 'failed'])),
    CHECK (outcome = ANY (ARRAY['attributed', 'found', 'nothing', 'gone', 'not_needed']))
);
CREATE INDEX contact_fetch_due ON artery.contact_fetch (tenant_id, run_at, deal_id) WHERE state = 'queued';
CREATE INDEX contact_fetch_active ON artery.contact_fetch (tenant_id, lease_until) WHERE state = 'active';
CREATE INDEX contact_fetch_failed ON artery.contact_fetch (tenant_id) WHERE state = 'failed';
COMMENT ON TABLE artery.contact_fetch IS
'Deals without an ad whose contacts are read from HubSpot: queued, active, done, or failed after the last attempt. What was read is evidence and not kept here.';
COMMENT ON COLUMN artery.contact_fetch.attempt IS 'Raised with every claim; whoever settles must present it.';
COMMENT ON COLUMN artery.contact_fetch.failures IS 'In a row since it was queued; the tenth is the last.';
COMMENT ON COLUMN artery.contact_fetch.looks IS 'How often HubSpot knew nothing of use; contacts and click ids may come after the deal.';
COMMENT ON COLUMN artery.contact_fetch.outcome IS
'Of the last reading: attributed; found (a click id, and no click of it yet); nothing of use; gone (HubSpot does not know the deal); not_needed (the deal had its ad, was erased, or is older than all clicks).';
COMMENT ON COLUMN artery.contact_fetch.contacts IS 'How many contacts HubSpot named.';

-- One row: a tenant for whom HubSpot is not asked until a moment.
CREATE TABLE artery.contact_fetch_pause (
    tenant_id text NOT NULL,
    reason    text NOT NULL,
    since     timestamptz NOT NULL,
    until     timestamptz NOT NULL,
    hits      integer NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant_id),
    CHECK (reason = ANY (ARRAY['token', 'rate_limit', 'daily_limit']))
);
COMMENT ON TABLE artery.contact_fetch_pause IS 'Tenants for whom HubSpot is not asked: it refused the token, or a limit of requests is used up.';
COMMENT ON COLUMN artery.contact_fetch_pause.until IS 'infinity: until set_secret brings another token.';
COMMENT ON COLUMN artery.contact_fetch_pause.hits IS 'Refusals in a row; each doubles the wait for rate_limit, up to 16 times.';
