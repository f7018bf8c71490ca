-- dna: scores of creatives, told or brought by the job creative-dna-extraction

CREATE OR REPLACE FUNCTION artery.check_dna_score(score float8, what text)
RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF score IS NULL THEN
        RAISE EXCEPTION '% must not be null', what USING ERRCODE = '22004';
    ELSIF score = 'NaN' OR score < 0 OR score > 1 THEN
        RAISE EXCEPTION '% % is out of range', what, score
            USING ERRCODE = '22003', DETAIL = 'It is a share between 0 and 1.', HINT = 'For 60 percent, give 0.6.';
    END IF;
END
$$;
COMMENT ON FUNCTION artery.check_dna_score(float8, text) IS 'Error 22004 or 22003 unless the score is between 0 and 1.';

CREATE OR REPLACE FUNCTION artery.store_dna(
    tenant_id text, ad_id text, score float8, source text, recorded_at timestamptz, job_id bigint)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- The ad's row is the lock under which its newest score is found.
    PERFORM FROM artery.ad_state s WHERE s.tenant_id = store_dna.tenant_id AND s.ad_id = store_dna.ad_id FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'unknown ad "%"', left(ad_id, 256)
            USING ERRCODE = '22023', HINT = 'artery.register_ad() makes an ad known.';
    END IF;
    INSERT INTO artery.ad_dna AS d (tenant_id, ad_id, recorded_at, score, source, job_id)
    VALUES (store_dna.tenant_id, store_dna.ad_id, store_dna.recorded_at, store_dna.score, store_dna.source, store_dna.job_id)
    ON CONFLICT ON CONSTRAINT ad_dna_pkey DO UPDATE
       SET score = excluded.score, source = excluded.source, job_id = excluded.job_id;
    UPDATE artery.ad_state s SET dna_score = store_dna.score, updated_at = artery.now()
     WHERE s.tenant_id = store_dna.tenant_id AND s.ad_id = store_dna.ad_id
       AND NOT EXISTS (SELECT FROM artery.ad_dna d
                        WHERE d.tenant_id = store_dna.tenant_id AND d.ad_id = store_dna.ad_id
                          AND d.recorded_at > store_dna.recorded_at);
END
$$;
COMMENT ON FUNCTION artery.store_dna(text, text, float8, text, timestamptz, bigint) IS
'Keep a checked score and, if it is the ad''s newest, let it count in decisions.';

CREATE OR REPLACE FUNCTION artery.record_dna(
    tenant_id text, ad_id text, score float8, source text DEFAULT NULL, recorded_at timestamptz DEFAULT artery.now())
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM artery.require_tenant(tenant_id);
    PERFORM artery.check_id(ad_id, 'ad_id'), artery.check_dna_score(score, 'score'),
            artery.check_text('source', source, 256, false), artery.check_moment(recorded_at, 'recorded_at');
    PERFORM artery.store_dna(tenant_id, ad_id, score, source, recorded_at, NULL);
END
$$;
COMMENT ON FUNCTION artery.record_dna(text, text, float8, text, timestamptz) IS
'Record how promising an ad''s creative looks, 0 to 1; the newest score counts. The model blended raises its score by up to a fifth; delayed learns from the account''s ads what scores are worth, and takes them for worth nothing until that is clear.';

CREATE OR REPLACE FUNCTION artery.take_dna_result(job artery.job, result jsonb)
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_scores jsonb := result -> 'scores';
    v_source text := result ->> 'source';
    v_score  record;
    v_taken  integer := 0;
BEGIN
    -- {"score": 0.8} for the ad of the job's data, or {"scores": {"ad_1": 0.8, ...}} for many.
    IF result ? 'score' AND job.data ->> 'ad_id' IS NOT NULL THEN
        v_scores := jsonb_build_object(job.data ->> 'ad_id', result -> 'score');
    END IF;
    IF v_scores IS NULL THEN
        RETURN 0;
    ELSIF jsonb_typeof(v_scores) <> 'object' THEN
        RAISE EXCEPTION '"scores" in the result of a job must be a JSON object'
            USING ERRCODE = '22023', HINT = 'Give a score from 0 to 1 per ad, for example {"scores": {"ad_1": 0.8}}.';
    END IF;
    PERFORM artery.check_text('source', v_source, 256, false);
    FOR v_score IN SELECT e.key AS ad_id, e.value FROM jsonb_each(v_scores) e ORDER BY e.key LOOP
        IF jsonb_typeof(v_score.value) <> 'number' THEN
            RAISE EXCEPTION 'the score of ad "%" is not a number', left(v_score.ad_id, 256)
                USING ERRCODE = '22023', HINT = 'Give a score from 0 to 1 per ad, for example {"score": 0.8}.';
        END IF;
        PERFORM artery.check_dna_score(v_score.value::text::float8, 'score');
        PERFORM artery.store_dna(job.tenant_id, v_score.ad_id, v_score.value::text::float8, v_source, artery.moment(), job.job_id);
        v_taken := v_taken + 1;
    END LOOP;
    RETURN v_taken;
END
$$;
COMMENT ON FUNCTION artery.take_dna_result(artery.job, jsonb) IS
'Record the scores in the result of a job creative-dna-extraction; returns how many. Error 22023 or 22003, and the job stays claimed, for a result that is none.';
