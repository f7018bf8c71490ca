-- Real ads, decided on one half of what they brought and valued by the other:
--   psql -v file=/path/meta_ads_2017.csv [-v splits=20] [-v seed=1] -f bench/split_half.sql
-- Every impression, click, enquiry and sale goes to a half by chance, and half of the spend. A budget
-- is decided on the first half; the second tells what 100 spent with each ad bring in sales. The columns
-- of the file are those of demo/decide.sql.
\set QUIET on
\set ON_ERROR_STOP on
\if :{?splits} \else \set splits 20 \endif
\if :{?seed} \else \set seed 1 \endif
SET client_min_messages = warning;
CREATE TEMP TABLE export ("Date" text, ad_id text, xyz_campaign_id text, fb_campaign_id text, age text, gender text, interest text,
    "Impressions" bigint, "Clicks" bigint, "Spent" numeric, "Total_Conversion" numeric, "Approved_Conversion" numeric);
\setenv ARTERY_DEMO_FILE :file
\copy export FROM PROGRAM 'cat -- "$ARTERY_DEMO_FILE"' WITH (FORMAT csv, HEADER)
SELECT setseed(:seed / 1000.0) \g /dev/null

-- How many of n go to the first half.
CREATE FUNCTION pg_temp.half(n bigint) RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN n > 40 THEN least(greatest(round(n / 2.0 + sqrt(n) / 2 * sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())), 0), n)::bigint
                ELSE (SELECT count(*) FROM generate_series(1, n) WHERE random() < 0.5) END $$;
CREATE TEMP TABLE half AS
SELECT x.split, g.name, e.ad_id, "Spent" / 2 AS spend, i.impressions, i.clicks, greatest(i.enquiries, i.sales) AS enquiries, i.sales,
       "Approved_Conversion" - i.sales AS other_sales
  FROM generate_series(1, :splits) x(split)
 CROSS JOIN LATERAL (
    SELECT 1 AS place, 'the 40 biggest of campaign 1178' AS name, ARRAY(SELECT ad_id FROM export WHERE xyz_campaign_id = '1178'
                                                     ORDER BY "Spent" DESC LIMIT 40) AS ads
     UNION ALL SELECT 2, 'all with a spend of 50 or more', ARRAY(SELECT ad_id FROM export WHERE "Spent" >= 50)) g
  JOIN export e ON e.ad_id = ANY (g.ads)
 CROSS JOIN LATERAL (SELECT pg_temp.half("Impressions") AS impressions, pg_temp.half("Clicks") AS clicks,
                            pg_temp.half("Total_Conversion"::bigint) AS enquiries, pg_temp.half("Approved_Conversion"::bigint) AS sales
                      WHERE x.split > 0 AND e.ad_id IS NOT NULL) i;
CREATE TEMP TABLE state AS
SELECT name, split, count(*) AS ads, jsonb_agg(jsonb_build_object(
           'ad_id', ad_id, 'impressions', impressions, 'clicks', clicks, 'spend', spend, 'pipeline_value', 100 * sales,
           'cash_revenue', 100 * sales, 'age_hours', 240, 'won_value', 100,
           'stages', jsonb_build_array(jsonb_build_array('enquiry', enquiries), jsonb_build_array('sale', sales)))) AS states
  FROM half GROUP BY name, split;
CREATE TEMP TABLE decision AS
SELECT s.name, s.split, s.ads, m.model, d.ad_id, d.recommended_budget / 100000 AS share
  FROM state s CROSS JOIN (VALUES ('blended'), ('delayed')) m(model)
 CROSS JOIN LATERAL artery.select_budget(s.states, 100000, seed => s.split, model => m.model) d
 UNION ALL
SELECT s.name, s.split, s.ads, 'uniform', h.ad_id, 1.0 / s.ads FROM state s JOIN half h ON h.name = s.name AND h.split = s.split;
ANALYZE half, decision;
CREATE TEMP TABLE valued AS
SELECT d.name, d.ads, d.model, d.split, sum(d.share * 100 * h.other_sales / h.spend) AS sales
  FROM decision d JOIN half h USING (name, split, ad_id) GROUP BY d.name, d.ads, d.model, d.split;
\pset footer off
SELECT v.name AS ads, v.ads AS count, v.model, round(avg(v.sales), 2) AS "sales per 100 spent",
       round(avg(v.sales) / avg(u.sales), 2) AS "to uniform",
       round(percentile_cont(0.1) WITHIN GROUP (ORDER BY v.sales / u.sales)::numeric, 2) AS "worst tenth of splits"
  FROM valued v JOIN valued u ON u.name = v.name AND u.split = v.split AND u.model = 'uniform'
 GROUP BY v.name, v.ads, v.model ORDER BY v.ads, array_position(ARRAY['uniform', 'blended', 'delayed'], v.model);
\t on
\pset format unaligned
SELECT format('ratio | sales of real ads, %s: delayed to uniform | %s | %s', v.name, round(avg(v.sales) / avg(u.sales), 2),
              CASE WHEN v.ads = 40 THEN '2.5 or more' ELSE '' END)
  FROM valued v JOIN valued u ON u.name = v.name AND u.split = v.split AND u.model = 'uniform'
 WHERE v.model = 'delayed' GROUP BY v.name, v.ads ORDER BY v.ads;
