-- Budgets for real ads: psql -v file=/path/ads.csv -v budget=1000 -f demo/decide.sql
--
-- The file is an export of ads with the columns Date, ad_id, xyz_campaign_id,
-- fb_campaign_id, age, gender, interest, Impressions, Clicks, Spent,
-- Total_Conversion, Approved_Conversion. Enquiries and sales are its stages, so the
-- model is delayed; -v model=blended takes the other. It has no values, so an enquiry is
-- taken for :lead and a sale for :sale; and no ages that mean anything, so every ad is
-- taken for :days old. All can be given with -v. Reads and writes no table.
\set QUIET on
\set ON_ERROR_STOP on
\if :{?file} \else \warn 'give the file: psql -v file=/path/ads.csv -v budget=1000 -f demo/decide.sql' \quit \endif
\if :{?budget} \else \set budget 1000 \endif
\if :{?lead} \else \set lead 5 \endif
\if :{?sale} \else \set sale 100 \endif
\if :{?days} \else \set days 10 \endif
\if :{?seed} \else \set seed 1 \endif
\if :{?model} \else \set model delayed \endif
SELECT :'model' = 'delayed' AS is_delayed \gset
SET client_min_messages = warning;
\pset footer off

CREATE TEMP TABLE export ("Date" text, ad_id text, xyz_campaign_id text, fb_campaign_id text, age text, gender text, interest text,
    "Impressions" bigint, "Clicks" bigint, "Spent" numeric, "Total_Conversion" numeric, "Approved_Conversion" numeric);
-- \copy takes no variables, but the shell it starts does; before version 15
-- the order of the columns cannot be checked.
\setenv ARTERY_DEMO_FILE :file
SELECT current_setting('server_version_num')::int >= 150000 AS can_match \gset
\if :can_match
\copy export FROM PROGRAM 'cat -- "$ARTERY_DEMO_FILE"' WITH (FORMAT csv, HEADER match)
\else
\copy export FROM PROGRAM 'cat -- "$ARTERY_DEMO_FILE"' WITH (FORMAT csv, HEADER)
\endif

-- one row per ad, whatever days and breakdowns the export has
CREATE TEMP TABLE ad AS
SELECT ad_id, min(xyz_campaign_id) AS campaign, string_agg(DISTINCT age || ' ' || gender, ', ') AS audience,
       sum("Impressions") AS impressions, sum("Clicks") AS clicks, sum("Spent") AS spend,
       sum("Total_Conversion") AS enquiries, sum("Approved_Conversion") AS sales
  FROM export WHERE ad_id IS NOT NULL GROUP BY ad_id;

CREATE TEMP TABLE decision AS
SELECT a.*, d.*
  FROM (SELECT jsonb_agg(jsonb_build_object(
                   'ad_id', ad_id, 'impressions', impressions, 'clicks', clicks, 'spend', spend,
                   'pipeline_value', :lead * enquiries + :sale * sales, 'cash_revenue', :sale * sales,
                   'age_hours', 24 * :days, 'won_value', :sale,
                   'stages', jsonb_build_array(jsonb_build_array('enquiry', enquiries), jsonb_build_array('sale', sales)))
                       ORDER BY ad_id) AS states FROM ad) s
  CROSS JOIN LATERAL artery.select_budget(s.states, :budget, seed => :seed, model => :'model')
       d(decided_ad, current_budget, recommended_budget, change_percentage, confidence, reason, metrics)
  JOIN ad a ON a.ad_id = d.decided_ad;

\echo
SELECT count(*) AS ads, round(sum(spend), 2) AS spent, sum(enquiries) AS enquiries, sum(sales) AS sales,
       sum(recommended_budget) AS decided, min(metrics ->> 'model') AS model, min(metrics ->> 'seed') AS seed
  FROM decision \g (title='What came in, and what was decided for it')
\echo
\if :is_delayed
SELECT ad_id, campaign, audience, round(spend, 2) AS spent, enquiries, sales, round((metrics ->> 'value_mean')::numeric, 2) AS "1 spent brings",
       round((metrics ->> 'value_low')::numeric, 2) || ' to ' || round((metrics ->> 'value_high')::numeric, 2) AS "80% sure",
       round(100 * (metrics ->> 'probability_best')::numeric) AS "best %", current_budget AS now, recommended_budget AS recommended,
       round(confidence::numeric, 2) AS confidence
  FROM decision ORDER BY recommended_budget DESC, ad_id LIMIT 15 \g (title='The 15 ads that get most, per day')
\else
SELECT ad_id, campaign, audience, round(spend, 2) AS spent, sales,
       round((metrics ->> 'pipeline_roas')::numeric, 2) AS roas, round((metrics ->> 'final_score')::numeric, 3) AS score,
       round((metrics ->> 'draw')::numeric, 3) AS draw, current_budget AS now, recommended_budget AS recommended,
       round(confidence::numeric, 2) AS confidence
  FROM decision ORDER BY recommended_budget DESC, ad_id LIMIT 15 \g (title='The 15 ads that get most, per day')
\endif
\echo
SELECT campaign, count(*) AS ads, round(sum(spend), 2) AS spent, sum(sales) AS sales,
       round(100 * sum(sales) / nullif(sum(spend), 0), 2) AS "sales per 100 spent",
       sum(current_budget) AS now, sum(recommended_budget) AS recommended,
       round(100 * sum(recommended_budget) / sum(sum(recommended_budget)) OVER (), 1) AS "share %"
  FROM decision GROUP BY campaign ORDER BY sum(recommended_budget) DESC \g (title='By campaign, per day')
\echo
SELECT regexp_replace(regexp_replace(reason, '^.*probability of [0-9]+%\. ', ''), '[0-9]+(\.[0-9]+)?', '…', 'g') AS reason, count(*) AS ads,
       sum(recommended_budget - current_budget) AS "change per day"
  FROM decision GROUP BY 1 ORDER BY 2 DESC \g (title='Why')
