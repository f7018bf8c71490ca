-- privacy: what is known of persons, and how they are forgotten

-- One row: the salt of a tenant. Random, never shown, and the same after a restore.
CREATE TABLE artery.tenant_salt (
    tenant_id text NOT NULL,
    salt      bytea NOT NULL CHECK (pg_catalog.octet_length(salt) = 32),
    PRIMARY KEY (tenant_id)
);
COMMENT ON TABLE artery.tenant_salt IS
'A random value per tenant, mixed into what is stored of persons, so that two tenants'' rows cannot be joined. Read by the owner only; part of a dump, for without it tombstones mean nothing.';

-- One row: an id of a person who was erased, as a salted hash: it comes in never again.
CREATE TABLE artery.erased_identity (
    tenant_id     text NOT NULL,
    identity_hash bytea NOT NULL,
    erased_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, identity_hash)
);
COMMENT ON TABLE artery.erased_identity IS
'Tombstones: contacts, e-mail hashes and deals that were erased, as salted hashes. What comes in of them later is not kept.';

-- One row: up to where a tenant's device data has been cleared by age.
CREATE TABLE artery.device_data_mark (
    tenant_id         text NOT NULL,
    clicks_until      timestamptz NOT NULL,
    conversions_until timestamptz NOT NULL,
    PRIMARY KEY (tenant_id)
);
COMMENT ON TABLE artery.device_data_mark IS
'Clicks with tracked_at, and conversions with attributed_at, up to here have no device data any more: see artery.retention_device_data.';

-- One row: an erasure, as it was done.
CREATE TABLE artery.erasure_log (
    tenant_id    text NOT NULL,
    erasure_id   bigint GENERATED ALWAYS AS IDENTITY,
    erased_at    timestamptz NOT NULL,
    requested_by text NOT NULL,
    counts       jsonb NOT NULL,
    PRIMARY KEY (tenant_id, erasure_id)
);
COMMENT ON TABLE artery.erasure_log IS 'Erasures: when, asked for by which door, and how many rows of each kind; append-only, without anything that names the person.';
