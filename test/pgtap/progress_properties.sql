-- What is counted bit by bit is what is counted at once, whatever came late, twice,
-- backward, was corrected, or moved to another ad.
BEGIN;
CREATE EXTENSION IF NOT EXISTS pgtap;
SELECT no_plan();
SELECT artery.add_tenant('progress', 'service_business', time_zone => 'America/New_York');
SELECT artery.add_tenant('progress too', 'service_business');

CREATE FUNCTION pg_temp.ad(i integer) RETURNS text LANGUAGE sql AS $$ SELECT 'ad ' || i % 7 $$;
SELECT artery.register_ad('progress', pg_temp.ad(i), 'c', first_seen => '2024-01-01 00:00+00') FROM generate_series(0, 6) i;
SELECT artery.register_ad('progress too', pg_temp.ad(i), 'c', first_seen => '2024-01-01 00:00+00') FROM generate_series(0, 6) i;
-- an attribution that is not sure: its parts go to several ads, and may change
CREATE FUNCTION pg_temp.share(a_deal text, parts jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO artery.conversion_trace (tenant_id, conversion_id, happened_at, traced_at, by_id, best_probability, stated, no_click, unseen_click,
                                         credit, candidates, positions, amounts)
    VALUES ('progress', 'deal:' || a_deal, '2024-02-01', '2024-02-01', false, 0.5, 0.5, 0, 0, parts, '[]', '{}', '{}')
    ON CONFLICT (tenant_id, conversion_id) DO UPDATE SET credit = excluded.credit;
    INSERT INTO artery.allocation_delta (tenant_id, deal_id) VALUES ('progress', a_deal);
    UPDATE artery.deal d SET conversion_id = 'deal:' || a_deal WHERE d.tenant_id = 'progress' AND d.deal_id = a_deal;
$$;
-- something happens that depends on k alone
CREATE FUNCTION pg_temp.happen(k integer, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    r      float8[] := artery.draw_beta(1, 1, k, 8);
    a_deal text := 'deal ' || floor(r[1] * 60);
    an_ad  text := pg_temp.ad(floor(r[2] * 7)::integer);
    click  text := format('click %s', k);
BEGIN
    CASE
        WHEN k % 5 < 2 THEN     -- a stage, mostly forward, of now or long ago, now and then the future
            PERFORM artery.record_stage('progress', a_deal,
                (ARRAY['lead', 'lead', 'appointment_scheduled', 'show_up', 'closed_won', 'closed_lost'])[1 + floor(r[3] * 6)::integer],
                at - CASE WHEN r[4] < 0.4 THEN r[5] ELSE r[5] * 40 END * interval '1 day' + CASE WHEN r[6] < 0.1 THEN interval '1 day' ELSE '0' END,
                event_id => CASE WHEN r[7] < 0.2 THEN 'again' ELSE k::text END);
        WHEN k % 5 = 2 THEN     -- a day's facts, often corrected
            PERFORM artery.record_ad_day('progress', an_ad, (at - r[3] ^ 2 * interval '60 days')::date, floor(r[4] * 5000)::bigint,
                                         floor(r[5] * 90)::bigint, round((r[6] * 40)::numeric, 2));
        WHEN k % 5 = 3 AND r[3] < 0.5 THEN  -- a deal finds its click
            PERFORM artery.track_click('progress', 'c', an_ad, click, click_timestamp => at - interval '50 days');
            UPDATE artery.deal d SET ad_id = an_ad, click_id = click WHERE d.tenant_id = 'progress' AND d.deal_id = a_deal;
        WHEN k % 5 = 3 THEN
            PERFORM pg_temp.share(a_deal, CASE WHEN r[4] < 0.1 THEN '{}' ELSE jsonb_build_object(an_ad, round(r[4]::numeric, 3),
                                                                        pg_temp.ad(k), round(r[5]::numeric, 3)) END);
        ELSE                    -- feedback becomes a day's facts too
            PERFORM artery.record_feedback('progress', an_ad, 10 * k, 5 * k, 100 * k, 3 * k, as_of => at - r[3] * interval '9 days');
    END CASE;
    -- a neighbour's facts are nobody else's
    PERFORM artery.record_ad_day('progress too', an_ad, at::date, 1, 1, 1);
END $$;
CREATE FUNCTION pg_temp.leaves(v jsonb) RETURNS TABLE (path text, value text) LANGUAGE sql AS $$
    WITH RECURSIVE tree AS (
        SELECT ''::text AS path, v AS value
         UNION ALL
        SELECT t.path || '/' || c.key, c.value FROM tree t CROSS JOIN LATERAL (
            SELECT key, e.value FROM jsonb_each(CASE WHEN jsonb_typeof(t.value) = 'object' THEN t.value ELSE '{}' END) e
             UNION ALL SELECT (n - 1)::text, a FROM jsonb_array_elements(CASE WHEN jsonb_typeof(t.value) = 'array' THEN t.value ELSE '[]' END)
                                                    WITH ORDINALITY x(a, n)) c)
    SELECT t.path, t.value #>> '{}' FROM tree t WHERE jsonb_typeof(t.value) <> ALL (ARRAY['object', 'array']) $$;
-- numbers of two lists of inputs that are further from each other than 1e-9 of their size
CREATE FUNCTION pg_temp.differences(a jsonb, b jsonb) RETURNS TABLE (path text, one text, other text) LANGUAGE sql AS $$
    SELECT coalesce(x.path, y.path), x.value, y.value
      FROM pg_temp.leaves(a) x FULL JOIN pg_temp.leaves(b) y ON y.path = x.path
     WHERE CASE WHEN coalesce(x.path, y.path) ~ '/stages/[0-9]/0$' THEN x.value IS DISTINCT FROM y.value
                ELSE abs(coalesce(x.value, '0')::float8 - coalesce(y.value, '0')::float8)
                     > 1e-9 * greatest(abs(coalesce(x.value, '0')::float8), 1) END $$;
CREATE FUNCTION pg_temp.inputs(at timestamptz, kept boolean) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_object_agg(i.ad_id, i.inputs)
      FROM (SELECT c.* FROM artery.counted_inputs('progress', at, ARRAY['lead', 'appointment_scheduled', 'show_up', 'closed_won'], 15000) c WHERE kept
             UNION ALL
            SELECT r.* FROM artery.recounted_inputs('progress', at, ARRAY['lead', 'appointment_scheduled', 'show_up', 'closed_won'], 15000) r
             WHERE NOT kept) i $$;

CREATE FUNCTION pg_temp.live(OUT moment timestamptz, OUT checked integer, OUT wrong jsonb) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
    at timestamptz := '2024-03-01 03:17:00+00';
BEGIN
    FOR k IN 1 .. 600 LOOP
        at := at + interval '1 hour 47 minutes';
        PERFORM set_config('artery.clock_offset', extract(epoch FROM at - transaction_timestamp())::text, true);
        PERFORM pg_temp.happen(k, at);
        CONTINUE WHEN k % 20 > 0;
        PERFORM artery.fold_allocation('progress', at);
        CONTINUE WHEN k % 60 > 0;
        moment := at;
        wrong := (SELECT jsonb_agg(to_jsonb(d)) FROM pg_temp.differences(pg_temp.inputs(at, true), pg_temp.inputs(at, false)) d);
        checked := (SELECT count(*) FROM pg_temp.leaves(pg_temp.inputs(at, true)));
        RETURN NEXT;
    END LOOP;
END $$;
CREATE TEMP TABLE lived AS SELECT * FROM pg_temp.live();
RESET artery.clock_offset;
SELECT is_empty('SELECT moment, wrong FROM lived WHERE wrong IS NOT NULL', 'sums kept bit by bit are those of all facts at once');
SELECT ok(count(*) = 10 AND min(checked) > 300, 'and there was something to compare: ' || min(checked) || ' numbers at least') FROM lived;
SELECT cmp_ok((SELECT count(*) FROM artery.deal_credit WHERE tenant_id = 'progress'), '>', 20::bigint, 'deals were counted');
SELECT ok(bool_or(jsonb_array_length(jsonb_path_query_array(credit, '$.keyvalue()')) > 1), 'some of them for several ads')
  FROM artery.deal_credit WHERE tenant_id = 'progress';
SELECT is_empty($$ SELECT * FROM artery.ad_progress WHERE tenant_id = 'progress too' $$, 'nothing was counted of the neighbour');

-- Rebuilt from the tables, it is the same.
CREATE FUNCTION pg_temp.kept() RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object(
        'ads', (SELECT jsonb_object_agg(ad_id, jsonb_build_array(exposure, clicks) ORDER BY ad_id) FROM artery.ad_progress WHERE tenant_id = 'progress'),
        'inputs', pg_temp.inputs((SELECT counted_at FROM artery.allocation_state WHERE tenant_id = 'progress'), true),
        'deals', (SELECT count(*) FROM artery.deal_credit WHERE tenant_id = 'progress')) $$;
CREATE TEMP TABLE before AS SELECT pg_temp.kept() AS kept;
SELECT is(artery.rebuild_allocation_state('progress'), 7::bigint, 'rebuilt from the tables');
SELECT is_empty($$ SELECT d.* FROM before b, pg_temp.differences(b.kept, pg_temp.kept()) d $$, 'gives the same');
SELECT cmp_ok((SELECT count(*) FROM pg_temp.leaves((SELECT kept FROM before))), '>', 400::bigint, 'and that is a lot');
SELECT is(artery.fold_allocation('progress', (SELECT counted_at FROM artery.allocation_state WHERE tenant_id = 'progress')), 0::bigint,
          'nothing is left to be counted');

-- A past moment is computed from all facts, and leaves what is counted alone.
SELECT is(artery.fold_allocation('progress', '2024-03-05 00:00+00'), -1::bigint, 'what is counted is not taken back');
SELECT isnt_empty($$ SELECT * FROM artery.funnel_inputs('progress', '2024-03-05 00:00+00') $$, 'the past can be asked for all the same');
-- Another funnel: all is counted anew.
SELECT artery.set_stage_values('progress', '{"show_up": {"value": 1, "confidence": 0.1}}');
SELECT cmp_ok(artery.fold_allocation('progress', (SELECT counted_at FROM artery.allocation_state WHERE tenant_id = 'progress')), '>', 20::bigint,
              'another order of stages has deals counted anew');

SELECT * FROM finish();
ROLLBACK;
