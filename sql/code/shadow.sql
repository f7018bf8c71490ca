-- shadow: what allocations would have done had they been let, and what that would have brought

CREATE OR REPLACE FUNCTION artery.shadow_step(budget numeric, wanted numeric, percent float8, digits integer)
RETURNS numeric
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN budget = 0 THEN wanted
                WHEN wanted >= budget THEN least(wanted, trunc(budget * (1 + percent::numeric / 100), digits))
                ELSE greatest(wanted, round(ceil(budget * (1 - percent::numeric / 100) * 10::numeric ^ digits) / 10::numeric ^ digits, digits)) END
$$;
COMMENT ON FUNCTION artery.shadow_step(numeric, numeric, float8, integer) IS
'The budget after one step of the largest size that the guard allows, on the way to the one wanted.';

CREATE OR REPLACE FUNCTION artery.shadow_allocation(tenant_id text, run_id bigint)
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_run     artery.allocation_run;
    v_percent float8;
    v_window  interval;
    v_digits  integer;
    v_since   timestamptz;
    v_wish    record;
    v_last    artery.shadow_budget;
    v_next    artery.shadow_budget;
    v_kept    integer := 0;
BEGIN
    SELECT r.* INTO v_run FROM artery.allocation_run r
     WHERE r.tenant_id = shadow_allocation.tenant_id AND r.run_id = shadow_allocation.run_id;
    v_percent := v_run.settings ->> 'velocity_percent';
    v_window := make_interval(secs => (v_run.settings ->> 'velocity_window_hours')::float8 * 3600);
    v_digits := artery.currency_digits(v_run.settings ->> 'currency');
    -- What was really proposed ends a shadow; the next one begins with what is in force.
    SELECT max(r.as_of) INTO v_since FROM artery.allocation_run r
     WHERE r.tenant_id = shadow_allocation.tenant_id AND r.mode = 'propose';
    FOR v_wish IN
        SELECT w.* FROM artery.owner_wishes(shadow_allocation.tenant_id, shadow_allocation.run_id) w
         WHERE w.budget IS NOT NULL ORDER BY w.budget_owner_id
    LOOP
        SELECT b.* INTO v_last FROM artery.shadow_budget b
         WHERE b.tenant_id = shadow_allocation.tenant_id AND b.budget_owner_id = v_wish.budget_owner_id
           AND b.since > coalesce(v_since, '-infinity') ORDER BY b.since DESC LIMIT 1;
        CONTINUE WHEN v_last.since >= v_run.as_of;
        v_next := v_last;
        -- The ramp of the last wish went on meanwhile.
        WHILE v_next.budget <> v_next.wanted AND v_next.step_at + v_window < v_run.as_of LOOP
            v_next.step_at := v_next.step_at + v_window;
            v_next.since := v_next.step_at;
            v_next.budget := artery.shadow_step(v_next.budget, v_next.wanted, v_percent, v_digits);
            INSERT INTO artery.shadow_budget SELECT v_next.*;
        END LOOP;
        v_next.tenant_id := v_run.tenant_id;
        v_next.budget_owner_id := v_wish.budget_owner_id;
        v_next.since := v_run.as_of;
        v_next.run_id := v_run.run_id;
        v_next.in_force := v_wish.budget;
        v_next.budget := coalesce(v_next.budget, v_wish.budget);
        v_next.refusal := CASE WHEN v_wish.forbidden THEN v_wish.refusal
                               WHEN abs(v_wish.wanted - v_next.budget) < greatest(0.01, 0.01 * v_next.budget) THEN 'less than 1 percent' END;
        v_next.wanted := CASE WHEN v_next.refusal IS NULL THEN v_wish.wanted ELSE v_next.budget END;
        IF v_next.wanted <> v_next.budget AND coalesce(v_next.step_at + v_window <= v_run.as_of, true) THEN
            v_next.step_at := v_run.as_of;
            v_next.budget := artery.shadow_step(v_next.budget, v_next.wanted, v_percent, v_digits);
        END IF;
        INSERT INTO artery.shadow_budget SELECT v_next.*;
        v_kept := v_kept + 1;
    END LOOP;
    RETURN v_kept;
END
$$;
COMMENT ON FUNCTION artery.shadow_allocation(text, bigint) IS
'Keep what a run would have made of the budgets, had it and the shadow runs before it been let: the budgets it would have found are those these left behind, moved by at most velocity_percent in a velocity window. Returns for how many owners.';

-- Plain SQL, for a view's functions run with the rights of whoever looks.
CREATE OR REPLACE VIEW artery.v_shadow_performance WITH (security_barrier) AS
WITH tenant AS (
    SELECT t.tenant_id, coalesce(t.settings ->> 'time_zone', 'UTC') AS zone, coalesce(t.settings ->> 'mode', 'pipeline') = 'direct' AS is_direct
      FROM artery.tenant t WHERE artery.tenant_visible(t.tenant_id)
), span AS (
    SELECT b.tenant_id, b.budget_owner_id, b.run_id, b.since, b.in_force, b.budget,
           least(lead(b.since) OVER (PARTITION BY b.tenant_id, b.budget_owner_id ORDER BY b.since),
                 (SELECT min(r.as_of) FROM artery.allocation_run r
                   WHERE r.tenant_id = b.tenant_id AND r.mode = 'propose' AND r.as_of > b.since), artery.now()) AS until
      FROM artery.shadow_budget b
), ad AS (
    SELECT b.tenant_id, b.budget_owner_id, r.ad_id, b.began
      FROM (SELECT s.tenant_id, s.budget_owner_id, max(s.run_id) AS run_id, min(s.since) AS began FROM span s GROUP BY 1, 2) b
      JOIN artery.budget_recommendation r
        ON r.tenant_id = b.tenant_id AND r.run_id = b.run_id AND r.budget_owner_id = b.budget_owner_id
), spent AS (
    SELECT a.tenant_id, a.budget_owner_id, d.day, d.day::timestamp AT TIME ZONE t.zone AS begins,
           (d.day + 1)::timestamp AT TIME ZONE t.zone AS ends, sum(d.spend) AS spend,
           sum(CASE WHEN t.is_direct THEN d.cash_revenue ELSE d.pipeline_value END) AS told
      FROM ad a
      JOIN tenant t ON t.tenant_id = a.tenant_id
      JOIN artery.ad_day d ON d.tenant_id = a.tenant_id AND d.ad_id = a.ad_id AND d.day >= (a.began AT TIME ZONE t.zone)::date
     GROUP BY 1, 2, 3, 4, 5
), daily AS (
    -- budgets by how long they held, and the spend of the part of the day that the shadow covers
    SELECT p.tenant_id, p.budget_owner_id, p.day, p.told, c.in_force, c.budget, c.part,
           p.spend * c.part AS spend, (c.budget / nullif(c.in_force, 0))::float8 AS ratio
      FROM spent p
     CROSS JOIN LATERAL (
         SELECT sum(s.in_force * o.seconds) / sum(o.seconds) AS in_force, sum(s.budget * o.seconds) / sum(o.seconds) AS budget,
                least(sum(o.seconds) / extract(epoch FROM least(p.ends, greatest(artery.now(), p.begins + interval '1 second')) - p.begins), 1) AS part
           FROM span s
          CROSS JOIN LATERAL (SELECT extract(epoch FROM least(s.until, p.ends) - greatest(s.since, p.begins)) AS seconds) o
          WHERE s.tenant_id = p.tenant_id AND s.budget_owner_id = p.budget_owner_id AND o.seconds > 0) c
     WHERE c.budget IS NOT NULL
), earned AS (
    SELECT a.tenant_id, a.budget_owner_id, count(*) AS deals, sum(v.value) AS value, sum(v.value * v.value) AS squares
      FROM ad a
      JOIN tenant t ON t.tenant_id = a.tenant_id
     CROSS JOIN LATERAL (
         SELECT CASE WHEN t.is_direct THEN CASE WHEN d.is_won THEN d.deal_value END ELSE d.stage_value END AS value
           FROM artery.deal d
          WHERE d.tenant_id = a.tenant_id AND d.ad_id = a.ad_id AND d.stage IS NOT NULL AND d.first_event_at >= a.began
         UNION ALL
         SELECT CASE WHEN NOT (t.is_direct AND c.is_synthetic) THEN c.conversion_value END
           FROM artery.conversion_tracking c
          WHERE c.tenant_id = a.tenant_id AND c.ad_id = a.ad_id AND c.success AND c.conversion_timestamp >= a.began
            AND c.conversion_id NOT LIKE 'deal:%'
            AND NOT EXISTS (SELECT FROM artery.deal d
                             WHERE d.tenant_id = c.tenant_id AND d.deal_id = c.crm_deal_id AND d.stage IS NOT NULL)) v
     WHERE v.value > 0
     GROUP BY 1, 2
), typical AS (
    SELECT e.tenant_id, sum(e.value) / sum(e.deals) AS value FROM earned e GROUP BY 1
), owner AS (
    SELECT d.tenant_id, d.budget_owner_id, coalesce(e.deals, 0) AS deals,
           (greatest(e.value, sum(d.told), 0) / nullif(sum(d.spend), 0))::float8 AS worth,
           -- of a sum of so many deals of such values; one typical deal where none came
           (coalesce(sqrt(e.squares), y.value, 0) / nullif(sum(d.spend), 0))::float8 AS doubt
      FROM daily d
      LEFT JOIN earned e ON e.tenant_id = d.tenant_id AND e.budget_owner_id = d.budget_owner_id
      LEFT JOIN typical y ON y.tenant_id = d.tenant_id
     GROUP BY d.tenant_id, d.budget_owner_id, e.deals, e.value, e.squares, y.value
), owner_day AS (
    SELECT d.tenant_id, d.budget_owner_id, d.day, d.in_force, d.budget, d.spend, d.spend * d.ratio::numeric AS shadow_spend,
           w.worth * d.spend::float8 AS value, w.worth * d.spend::float8 * power(d.ratio, 0.8) AS shadow_value,
           w.doubt * d.spend::float8 * (power(d.ratio, 0.8) - 1) AS doubt, CASE WHEN d.day = min(d.day) OVER o THEN w.deals ELSE 0 END AS deals
      FROM daily d
      JOIN owner w ON w.tenant_id = d.tenant_id AND w.budget_owner_id = d.budget_owner_id
     WHERE d.ratio IS NOT NULL AND w.worth IS NOT NULL
    WINDOW o AS (PARTITION BY d.tenant_id, d.budget_owner_id)
), owner_sum AS (
    SELECT x.tenant_id, x.budget_owner_id, avg(x.in_force) AS in_force, avg(x.budget) AS budget, sum(x.spend) AS spend,
           sum(x.shadow_spend) AS shadow_spend, sum(x.value) AS value, sum(x.shadow_value) AS shadow_value, sum(x.doubt) AS doubt,
           sum(x.deals) AS deals
      FROM owner_day x GROUP BY 1, 2
), line AS (
    SELECT x.tenant_id, x.budget_owner_id, x.day, x.in_force, x.budget, x.spend, x.shadow_spend, x.value, x.shadow_value,
           abs(x.doubt) AS doubt, NULL::bigint AS deals
      FROM owner_day x
    UNION ALL
    SELECT x.tenant_id, x.budget_owner_id, NULL, x.in_force, x.budget, x.spend, x.shadow_spend, x.value, x.shadow_value, abs(x.doubt),
           x.deals::bigint
      FROM owner_sum x
    UNION ALL
    SELECT x.tenant_id, NULL, x.day, sum(x.in_force), sum(x.budget), sum(x.spend), sum(x.shadow_spend), sum(x.value), sum(x.shadow_value),
           sqrt(sum(x.doubt * x.doubt)), NULL
      FROM owner_day x GROUP BY 1, 3
    UNION ALL
    SELECT x.tenant_id, NULL, NULL, sum(x.in_force), sum(x.budget), sum(x.spend), sum(x.shadow_spend), sum(x.value), sum(x.shadow_value),
           sqrt(sum(x.doubt * x.doubt)), sum(x.deals)::bigint
      FROM owner_sum x GROUP BY 1
)
SELECT l.tenant_id, l.budget_owner_id, l.day, round(l.in_force, 2) AS budget, round(l.budget, 2) AS shadow_budget,
       round(l.spend, 2) AS spend, round(l.shadow_spend, 2) AS shadow_spend,
       round(l.value::numeric, 2) AS pipeline_value, round(l.shadow_value::numeric, 2) AS shadow_value,
       round((l.shadow_value - l.value)::numeric, 2) AS gain,
       round((l.shadow_value - l.value - 1.2815515655446004 * l.doubt)::numeric, 2) AS gain_low,
       round((l.shadow_value - l.value + 1.2815515655446004 * l.doubt)::numeric, 2) AS gain_high, l.deals
  FROM line l;
COMMENT ON VIEW artery.v_shadow_performance IS
'What allocations in shadow mode would have brought beside what the budgets in force brought: per owner and day, per owner (day NULL), per day (owner NULL), and in all. An owner''s value per unit of money is what it really brought since the shadow began (deals that began since then at their present value, or what feedback told), spread over its days by spend. With the shadow''s budget it would have spent in proportion and brought value like spend^0.8, so more money brings less each. gain_low and gain_high are an 80 percent interval from the number and values of the deals; young deals count for what they are worth today, so judge after they had time.';
