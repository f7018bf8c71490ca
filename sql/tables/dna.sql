-- dna: scores of creatives

-- One row: a score that somebody gave an ad's creative.
CREATE TABLE artery.ad_dna (
    tenant_id   text NOT NULL,
    ad_id       text NOT NULL,
    recorded_at timestamptz NOT NULL,
    score       double precision NOT NULL CHECK (score >= 0 AND score <= 1),
    source      text,
    job_id      bigint,
    PRIMARY KEY (tenant_id, ad_id, recorded_at)
);
COMMENT ON TABLE artery.ad_dna IS
'Scores given to the creatives of ads, 0 to 1; the newest of an ad is in ad_state.dna_score and counts in decisions.';
COMMENT ON COLUMN artery.ad_dna.source IS 'Who or what model gave it.';
COMMENT ON COLUMN artery.ad_dna.job_id IS 'The job creative-dna-extraction whose result it is, if any.';
