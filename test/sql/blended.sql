-- The formulas of the model `blended`, against cases worked out apart from this
-- code, in double precision, by:
--   ctr = clicks / impressions, roas = value / max(spend, 0.01)
--   score = weight * min(ctr / 0.05, 1) + (1 - weight) * min(roas / 3, 1)
--   final = score * exp(-0.0001 * impressions) * (1 + 0.2 * dna)
--   alpha = n * final + 1, beta = max(1, n * (1 - final) + 1), n = max(impressions, 100)
-- A query that lists what deviates by more than 1e-9 of the value must be empty.
CREATE FUNCTION differs(is_ float8, should_be float8) RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN is_ IS NULL OR abs(is_ - should_be) > 1e-9 * greatest(abs(should_be), 1e-300);

-- weight of the click-through rate by age
CREATE TEMP TABLE weight (age_hours float8, ctr_weight float8);
INSERT INTO weight VALUES
    (0, 1.0),
    (3, 1.0),
    (6, 1.0),
    (9, 0.95),
    (15, 0.85),
    (23.999999, 0.7000000166666667),
    (24.000001, 0.6999999916666666),
    (36, 0.6),
    (60, 0.3999999999999999),
    (72, 0.3),
    (84, 0.2853688273502142),
    (120, 0.24561922592339452),
    (240, 0.14897559113742284),
    (335, 0.1002782820210429),
    (335.8, 0.1),
    (400, 0.1),
    (2160, 0.1);
SELECT count(*) FROM weight;
SELECT *, artery.ctr_weight(age_hours) FROM weight w WHERE differs(artery.ctr_weight(age_hours), ctr_weight);

-- scores with their parts, and the posterior as select_budget reports it
CREATE TEMP TABLE score (ad jsonb, should_be jsonb);
INSERT INTO score VALUES
    ('{"ad_id": "doc_example", "impressions": 5000, "clicks": 150, "spend": 500, "pipeline_value": 4500, "cash_revenue": 0, "age_hours": 48, "dna_score": null}',
     '{"ctr": 0.03, "pipeline_roas": 9.0, "cash_roas": 0.0, "ctr_weight": 0.49999999999999994, "roas_weight": 0.5, "normalized_ctr": 0.6, "normalized_roas": 1.0, "blended_score": 0.7999999999999999, "decay_factor": 0.6065306597126334, "dna_boost": 1.0, "final_score": 0.4852245277701067, "thompson_alpha": 2427.122638850534, "thompson_beta": 2574.877361149466}'),
    ('{"ad_id": "zero_spend_value", "impressions": 100, "clicks": 3, "spend": 0, "pipeline_value": 10, "cash_revenue": 0, "age_hours": 30, "dna_score": null}',
     '{"ctr": 0.03, "pipeline_roas": 1000.0, "cash_roas": 0.0, "ctr_weight": 0.6499999999999999, "roas_weight": 0.3500000000000001, "normalized_ctr": 0.6, "normalized_roas": 1.0, "blended_score": 0.74, "decay_factor": 0.9900498337491681, "dna_boost": 1.0, "final_score": 0.7326368769743844, "thompson_alpha": 74.26368769743844, "thompson_beta": 27.73631230256156}'),
    ('{"ad_id": "edge_6h", "impressions": 800, "clicks": 20, "spend": 12.5, "pipeline_value": 0, "cash_revenue": 0, "age_hours": 6, "dna_score": 0.5}',
     '{"ctr": 0.025, "pipeline_roas": 0.0, "cash_roas": 0.0, "ctr_weight": 1.0, "roas_weight": 0.0, "normalized_ctr": 0.5, "normalized_roas": 0.0, "blended_score": 0.5, "decay_factor": 0.9231163463866358, "dna_boost": 1.1, "final_score": 0.5077139905126498, "thompson_alpha": 407.17119241011983, "thompson_beta": 394.82880758988017}'),
    ('{"ad_id": "24h", "impressions": 2500, "clicks": 40, "spend": 80, "pipeline_value": 200, "cash_revenue": 0, "age_hours": 24, "dna_score": 0.25}',
     '{"ctr": 0.016, "pipeline_roas": 2.5, "cash_roas": 0.0, "ctr_weight": 0.7, "roas_weight": 0.30000000000000004, "normalized_ctr": 0.32, "normalized_roas": 0.8333333333333334, "blended_score": 0.47400000000000003, "decay_factor": 0.7788007830714049, "dna_boost": 1.05, "final_score": 0.3876091497346383, "thompson_alpha": 970.0228743365957, "thompson_beta": 1531.9771256634042}'),
    ('{"ad_id": "72h", "impressions": 9000, "clicks": 120, "spend": 600, "pipeline_value": 2250, "cash_revenue": 0, "age_hours": 72, "dna_score": null}',
     '{"ctr": 0.013333333333333334, "pipeline_roas": 3.75, "cash_roas": 0.0, "ctr_weight": 0.3, "roas_weight": 0.7, "normalized_ctr": 0.26666666666666666, "normalized_roas": 1.0, "blended_score": 0.7799999999999999, "decay_factor": 0.4065696597405991, "dna_boost": 1.0, "final_score": 0.31712433459766726, "thompson_alpha": 2855.1190113790053, "thompson_beta": 6146.880988620994}'),
    ('{"ad_id": "10d", "impressions": 40000, "clicks": 500, "spend": 3000, "pipeline_value": 4000, "cash_revenue": 1500, "age_hours": 240, "dna_score": 0.1}',
     '{"ctr": 0.0125, "pipeline_roas": 1.3333333333333333, "cash_roas": 0.5, "ctr_weight": 0.14897559113742284, "roas_weight": 0.8510244088625771, "normalized_ctr": 0.25, "normalized_roas": 0.4444444444444444, "blended_score": 0.4154769683899455, "decay_factor": 0.01831563888873418, "dna_boost": 1.02, "final_score": 0.007761920642008592, "thompson_alpha": 311.4768256803437, "thompson_beta": 39690.52317431966}'),
    ('{"ad_id": "30d", "impressions": 250000, "clicks": 2500, "spend": 20000, "pipeline_value": 90000, "cash_revenue": 30000, "age_hours": 720, "dna_score": 0.33}',
     '{"ctr": 0.01, "pipeline_roas": 4.5, "cash_roas": 1.5, "ctr_weight": 0.1, "roas_weight": 0.9, "normalized_ctr": 0.19999999999999998, "normalized_roas": 1.0, "blended_score": 0.92, "decay_factor": 1.3887943864964021e-11, "dna_boost": 1.066, "final_score": 1.3620184307247516e-11, "thompson_alpha": 1.0000034050460769, "thompson_beta": 250000.99999659494}'),
    ('{"ad_id": "ctr_exact_5pct", "impressions": 1000, "clicks": 50, "spend": 50, "pipeline_value": 150, "cash_revenue": 0, "age_hours": 60, "dna_score": 0.0}',
     '{"ctr": 0.05, "pipeline_roas": 3.0, "cash_roas": 0.0, "ctr_weight": 0.3999999999999999, "roas_weight": 0.6000000000000001, "normalized_ctr": 1.0, "normalized_roas": 1.0, "blended_score": 1.0, "decay_factor": 0.9048374180359595, "dna_boost": 1.0, "final_score": 0.9048374180359595, "thompson_alpha": 905.8374180359596, "thompson_beta": 96.16258196404048}'),
    ('{"ad_id": "dna_over", "impressions": 100, "clicks": 5, "spend": 10, "pipeline_value": 60, "cash_revenue": 0, "age_hours": 80, "dna_score": 1.0}',
     '{"ctr": 0.05, "pipeline_roas": 6.0, "cash_roas": 0.0, "ctr_weight": 0.29016483014460176, "roas_weight": 0.7098351698553982, "normalized_ctr": 1.0, "normalized_roas": 1.0, "blended_score": 1.0, "decay_factor": 0.9900498337491681, "dna_boost": 1.2, "final_score": 1.1880598004990017, "thompson_alpha": 119.80598004990017, "thompson_beta": 1}'),
    ('{"ad_id": "tiny_spend", "impressions": 10, "clicks": 1, "spend": 0.005, "pipeline_value": 1, "cash_revenue": 0, "age_hours": 50, "dna_score": null}',
     '{"ctr": 0.1, "pipeline_roas": 100.0, "cash_roas": 0.0, "ctr_weight": 0.4833333333333333, "roas_weight": 0.5166666666666667, "normalized_ctr": 1.0, "normalized_roas": 1.0, "blended_score": 1.0, "decay_factor": 0.999000499833375, "dna_boost": 1.0, "final_score": 0.999000499833375, "thompson_alpha": 100.9000499833375, "thompson_beta": 1.0999500166624978}'),
    ('{"ad_id": "cash_only", "impressions": 3000, "clicks": 45, "spend": 200, "pipeline_value": 0, "cash_revenue": 15000, "age_hours": 200, "dna_score": null}',
     '{"ctr": 0.015, "pipeline_roas": 0.0, "cash_roas": 75.0, "ctr_weight": 0.17599386585300955, "roas_weight": 0.8240061341469904, "normalized_ctr": 0.3, "normalized_roas": 0.0, "blended_score": 0.052798159755902865, "decay_factor": 0.7408182206817179, "dna_boost": 1.0, "final_score": 0.039113838765637045, "thompson_alpha": 118.34151629691114, "thompson_beta": 2883.658483703089}'),
    ('{"ad_id": "one_impr", "impressions": 1, "clicks": 0, "spend": 0.01, "pipeline_value": 0, "cash_revenue": 0, "age_hours": 0.5, "dna_score": null}',
     '{"ctr": 0.0, "pipeline_roas": 0.0, "cash_roas": 0.0, "ctr_weight": 1.0, "roas_weight": 0.0, "normalized_ctr": 0.0, "normalized_roas": 0.0, "blended_score": 0.0, "decay_factor": 0.9999000049998333, "dna_boost": 1.0, "final_score": 0.0, "thompson_alpha": 1, "thompson_beta": 101.0}'),
    ('{"ad_id": "saas", "impressions": 60000, "clicks": 360, "spend": 1080, "pipeline_value": 3500, "cash_revenue": 0, "age_hours": 500, "dna_score": 0.4}',
     '{"ctr": 0.006, "pipeline_roas": 3.240740740740741, "cash_roas": 0.0, "ctr_weight": 0.1, "roas_weight": 0.9, "normalized_ctr": 0.12, "normalized_roas": 1.0, "blended_score": 0.912, "decay_factor": 0.0024787521766663585, "dna_boost": 1.08, "final_score": 0.0024414717439292964, "thompson_alpha": 147.48830463575777, "thompson_beta": 59854.51169536424}'),
    ('{"ad_id": "rand_0", "impressions": 140273, "clicks": 3006, "spend": 3895.04, "pipeline_value": 14496.24, "cash_revenue": 1148.94, "age_hours": 283.392, "dna_score": null}',
     '{"ctr": 0.02142964077192332, "pipeline_roas": 3.721717877094972, "cash_roas": 0.2949751478803812, "ctr_weight": 0.12433536541421403, "roas_weight": 0.8756646345857859, "normalized_ctr": 0.4285928154384664, "normalized_roas": 1.0, "blended_score": 0.9289538789072345, "decay_factor": 8.091350494602334e-07, "dna_boost": 1.0, "final_score": 7.516491427558809e-07, "thompson_alpha": 1.1054360802017957, "thompson_beta": 140273.8945639198}'),
    ('{"ad_id": "rand_2", "impressions": 2871, "clicks": 96, "spend": 68.09, "pipeline_value": 52.21, "cash_revenue": 17.63, "age_hours": 240.197, "dna_score": null}',
     '{"ctr": 0.03343782654127482, "pipeline_roas": 0.7667792627404905, "cash_roas": 0.25892201498017325, "ctr_weight": 0.14885335718008064, "roas_weight": 0.8511466428199194, "normalized_ctr": 0.6687565308254964, "normalized_roas": 0.25559308758016347, "blended_score": 0.317093853171313, "decay_factor": 0.7504366814166178, "dna_boost": 1.0, "final_score": 0.2379588588714884, "thompson_alpha": 684.1798838200432, "thompson_beta": 2188.820116179957}'),
    ('{"ad_id": "rand_4", "impressions": 168895, "clicks": 3299, "spend": 3282.79, "pipeline_value": 967.13, "cash_revenue": 393.65, "age_hours": 185.274, "dna_score": 0.193}',
     '{"ctr": 0.019532845850972497, "pipeline_roas": 0.29460611248358864, "cash_roas": 0.11991324452675925, "ctr_weight": 0.18713073208514988, "roas_weight": 0.8128692679148501, "normalized_ctr": 0.39065691701944993, "normalized_roas": 0.09820203749452955, "blended_score": 0.15292933320190222, "decay_factor": 4.6236329271511726e-08, "dna_boost": 1.0386, "final_score": 7.343827397996442e-09, "thompson_alpha": 1.0012403357283846, "thompson_beta": 168895.99875966427}'),
    ('{"ad_id": "rand_6", "impressions": 136361, "clicks": 5686, "spend": 1105.69, "pipeline_value": 2477.48, "cash_revenue": 112.81, "age_hours": 97.059, "dna_score": null}',
     '{"ctr": 0.04169813949736362, "pipeline_roas": 2.2406642006348974, "cash_roas": 0.10202678870207743, "ctr_weight": 0.2702560855950106, "roas_weight": 0.7297439144049894, "normalized_ctr": 0.8339627899472724, "normalized_roas": 0.7468880668782991, "blended_score": 0.7704205406891894, "decay_factor": 1.1965118808229717e-06, "dna_boost": 1.0, "final_score": 9.218173301646728e-07, "thompson_alpha": 1.125699932958585, "thompson_beta": 136361.87430006705}'),
    ('{"ad_id": "rand_8", "impressions": 184269, "clicks": 2969, "spend": 4313.98, "pipeline_value": 4165.12, "cash_revenue": 5310.74, "age_hours": 379.219, "dna_score": 0.267}',
     '{"ctr": 0.016112314062593273, "pipeline_roas": 0.9654935813332469, "cash_roas": 1.2310534587550244, "ctr_weight": 0.1, "roas_weight": 0.9, "normalized_ctr": 0.32224628125186544, "normalized_roas": 0.321831193777749, "blended_score": 0.32187270252516065, "decay_factor": 9.938000434949325e-09, "dna_boost": 1.0534, "final_score": 3.369585432174186e-09, "thompson_alpha": 1.0006209101380013, "thompson_beta": 184269.99937908986}'),
    ('{"ad_id": "rand_10", "impressions": 19139, "clicks": 377, "spend": 256.23, "pipeline_value": 338.35, "cash_revenue": 53.84, "age_hours": 344.457, "dna_score": 0.519}',
     '{"ctr": 0.019697998850514657, "pipeline_roas": 1.3204933067946767, "cash_roas": 0.21012371697303203, "ctr_weight": 0.1, "roas_weight": 0.9, "normalized_ctr": 0.3939599770102931, "normalized_roas": 0.44016443559822555, "blended_score": 0.4355439897394323, "decay_factor": 0.14750399777650972, "dna_boost": 1.1038000000000001, "final_score": 0.07091305668634472, "thompson_alpha": 1358.2049919199517, "thompson_beta": 17782.795008080047}'),
    ('{"ad_id": "rand_12", "impressions": 150161, "clicks": 1133, "spend": 3952.77, "pipeline_value": 758.01, "cash_revenue": 2101.44, "age_hours": 346.734, "dna_score": 0.103}',
     '{"ctr": 0.0075452347813347006, "pipeline_roas": 0.1917667863295866, "cash_roas": 0.5316373075084055, "ctr_weight": 0.1, "roas_weight": 0.9, "normalized_ctr": 0.150904695626694, "normalized_roas": 0.0639222621098622, "blended_score": 0.07262050546154539, "decay_factor": 3.0101672769625083e-07, "dna_boost": 1.0206, "final_score": 2.2310302648186354e-08, "thompson_alpha": 1.0033501373559544, "thompson_beta": 150161.99664986265}');
SELECT count(*) FROM score;
SELECT s.ad ->> 'ad_id' AS ad, k.key, f.parts -> k.key AS is, s.should_be -> k.key AS should_be
  FROM score s
  CROSS JOIN LATERAL (
      SELECT to_jsonb(b) AS parts
        FROM artery.blended_score((s.ad -> 'impressions')::bigint, (s.ad -> 'clicks')::bigint, (s.ad -> 'spend')::numeric,
                                  (s.ad -> 'pipeline_value')::numeric, (s.ad -> 'age_hours')::float8,
                                  (s.ad ->> 'dna_score')::float8) b) f
  CROSS JOIN LATERAL jsonb_object_keys(f.parts) k(key)
 WHERE differs((f.parts ->> k.key)::float8, (s.should_be ->> k.key)::float8);
SELECT s.ad ->> 'ad_id' AS ad, k.key, b.metrics -> k.key AS is, s.should_be -> k.other AS should_be
  FROM score s
  CROSS JOIN LATERAL artery.select_budget(jsonb_build_array(s.ad), 100) b
  CROSS JOIN (VALUES ('alpha', 'thompson_alpha'), ('beta', 'thompson_beta'), ('cash_roas', 'cash_roas'),
                     ('final_score', 'final_score')) k(key, other)
 WHERE differs((b.metrics ->> k.key)::float8, (s.should_be ->> k.other)::float8);

-- softmax: within a cent of the exact split, and adding up exactly
CREATE TEMP TABLE softmax (samples float8[], total_budget numeric, budgets float8[]);
INSERT INTO softmax VALUES
    ('{0.5,0.5,0.5}', 300.0, '{100.0,100.0,100.0}'),
    ('{0.88,0.6,0.4,0.2}', 1000.0, '{347.0795188357574,262.3170573283417,214.76704189163337,175.8363819442675}'),
    ('{0.533,0.41,0.22,0.05,0.7}', 2000.0, '{453.08347118126596,400.64524967251634,331.3172486877063,279.5207058493322,535.4333246091792}'),
    ('{0.999,0.998,0.997,0.001}', 123.45, '{36.67973728792123,36.64307588439018,36.606451123938086,13.52073570375051}');
SELECT s.total_budget, a.amounts, (SELECT sum(x) FROM unnest(a.amounts) x) = s.total_budget AS adds_up,
       (SELECT bool_and(abs(x - y) < 0.01) FROM unnest(a.amounts, s.budgets) u(x, y)) AS within_a_cent
  FROM softmax s CROSS JOIN LATERAL (SELECT artery.softmax_allocation(s.samples, s.total_budget) AS amounts) a;
-- Known formulations give every ad at least 1.00, which makes 3.00 out of a total
-- of 2.00 here. The total is what is there to spend: exp(.1), exp(.2), exp(.3)
-- over their sum 3.6764 times 2 is 0.6012, 0.6644, 0.7343.
SELECT artery.softmax_allocation('{0.1,0.2,0.3}', 2.0);
-- thirds of a cent: the first of equal remainders gets it
SELECT artery.softmax_allocation('{1,1,1}', 100);
SELECT artery.softmax_allocation('{1,1,1}', 0), artery.softmax_allocation('{}', 10), artery.softmax_allocation(NULL, 10);
-- samples far apart, temperatures far from 1
SELECT artery.softmax_allocation('{1000,-1000}', 10), artery.softmax_allocation('{1e308,-1e308}', 10),
       artery.softmax_allocation('{0.5,0.4}', 10, 0.001), artery.softmax_allocation('{0.5,0.4}', 10, 1e6);
SELECT artery.softmax_allocation('{0.5,NULL}', 10);
SELECT artery.softmax_allocation('{0.5,NaN}', 10);
SELECT artery.softmax_allocation('{0.5,Infinity}', 10);
SELECT artery.softmax_allocation('{{0.5},{0.4}}', 10);
SELECT artery.softmax_allocation('{0.5}', -1);
SELECT artery.softmax_allocation('{0.5}', 'NaN');
SELECT artery.softmax_allocation('{0.5}', 'Infinity');
SELECT artery.softmax_allocation('{0.5}', 1e13);
SELECT artery.softmax_allocation('{0.5}', 10, 0);
SELECT artery.softmax_allocation('{0.5}', 10, 'NaN');

-- what is said of an ad whose share comes to a wanted budget, moving by half at most
CREATE TEMP TABLE advice (ad jsonb, wanted numeric, current_budget numeric, recommended_budget numeric,
                          change_percentage float8, confidence numeric, reason text);
INSERT INTO advice VALUES
    ('{"ad_id": "ad_1", "impressions": 5000, "clicks": 150, "spend": 500, "pipeline_value": 4500, "age_hours": 48, "current_budget": 250.0}', 250.0,
     250.0, 250.0, 0.0, 0.7173, 'Below-average performance. Reallocating budget to winners.'),
    ('{"ad_id": "ad_2", "impressions": 800, "clicks": 8, "spend": 40, "pipeline_value": 0, "age_hours": 12}', 100.0,
     40.0, 60.0, 50.0, 0.3776, 'Strong CTR (1.0%) in early phase (age: 12.0h). Scaling up.'),
    ('{"ad_id": "ad_3", "impressions": 90000, "clicks": 900, "spend": 7000, "pipeline_value": 1000, "age_hours": 240}', 200.0,
     700.0, 350.0, -50.0, 0.6667, 'Poor performance (CTR: 1.0%, ROAS: 0.14x). Cutting budget.');
SELECT e.ad_id, e.current_budget, e.recommended_budget, e.change_percentage, e.confidence, e.reason,
       (e.current_budget, e.recommended_budget, e.change_percentage, e.confidence, e.reason)
       = (a.current_budget, a.recommended_budget, a.change_percentage, a.confidence, a.reason) AS as_expected
  FROM advice a CROSS JOIN LATERAL artery.explain_budget(a.ad, a.wanted, 0.5) e;
-- the other reasons: an old ad that earns, one that does not, a tired one, small steps
SELECT w.wanted, e.reason
  FROM (VALUES (150, '{"clicks": 900, "spend": 1000, "pipeline_value": 4500, "age_hours": 240}'),
               (110, '{"clicks": 900, "spend": 1000, "pipeline_value": 4500, "age_hours": 240}'),
               (150, '{"clicks": 900, "spend": 1000, "pipeline_value": 140, "age_hours": 240}'),
               (110, '{"clicks": 900, "spend": 1000, "pipeline_value": 140, "age_hours": 12}'),
               (90, '{"clicks": 900, "spend": 1000, "pipeline_value": 4500, "age_hours": 240}')) w(wanted, ad)
  CROSS JOIN LATERAL artery.explain_budget(
      '{"ad_id": "a", "impressions": 9000, "current_budget": 100}'::jsonb || w.ad::jsonb, w.wanted) e;

-- NULL is unknown; what cannot be is an error, never a NaN
SELECT artery.ctr_weight(NULL), artery.blended_score(NULL, 1, 1, 1, 1), artery.blended_score(1, 1, 1, 1, NULL, 1);
-- An ad without a DNA score is scored like one with 0.
SELECT artery.blended_score(100, 3, 1, 1, 1, NULL) = artery.blended_score(100, 3, 1, 1, 1, 0) AS without_dna;
SELECT artery.ctr_weight(-1);
SELECT artery.ctr_weight('NaN');
SELECT artery.ctr_weight('Infinity');
SELECT artery.blended_score(-1, 1, 1, 1, 1);
SELECT artery.blended_score(1, -1, 1, 1, 1);
SELECT artery.blended_score(1, 1, 'NaN', 1, 1);
SELECT artery.blended_score(1, 1, 1, -0.01, 1);
SELECT artery.blended_score(1, 1, 1, 'Infinity', 1);
SELECT artery.blended_score(1, 1, 1, 1, -1);
SELECT artery.blended_score(1, 1, 1, 1, 'NaN');
SELECT artery.blended_score(1, 1, 1, 1, 1, 'NaN');
-- DNA is clamped into 0..1; without impressions there is no rate
SELECT (artery.blended_score(100, 5, 10, 60, 80, 7)).dna_boost, (artery.blended_score(100, 5, 10, 60, 80, -7)).dna_boost,
       (artery.blended_score(0, 0, 0, 0, 0)).*;
SELECT (artery.blended_score(9223372036854775807, 9223372036854775807, 1e12, 1e12, 1e300)).*;
DROP FUNCTION differs;
