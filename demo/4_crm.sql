-- HubSpot tells of deals by signed webhooks: here we play HubSpot.
\set QUIET on

-- POST a body the way HubSpot does: signature v3 over method, address, body and time.
CREATE FUNCTION demo.post_webhook(body text, secret text DEFAULT 'demo-client-secret') RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_time text := floor(extract(epoch FROM artery.now()) * 1000)::bigint::text;
    v_url  text := 'https://hooks.example.com/api/webhook/hubspot';
BEGIN
    RETURN artery.hubspot_webhook(convert_to(body, 'UTF8'), jsonb_build_object(
        'X-HubSpot-Request-Timestamp', v_time,
        'X-HubSpot-Signature-v3',
        encode(hmac(convert_to('POST' || v_url || body || v_time, 'UTF8'), convert_to(secret, 'UTF8'), 'sha256'), 'base64')));
END
$$;

CREATE FUNCTION demo.stage_event(event_id bigint, deal_id bigint, stage text, occurred_at timestamptz) RETURNS jsonb
LANGUAGE sql AS $$
    SELECT jsonb_build_object('eventId', event_id, 'subscriptionId', 25, 'portalId', 67890, 'appId', 1160452,
        'occurredAt', floor(extract(epoch FROM occurred_at) * 1000)::bigint, 'subscriptionType', 'deal.propertyChange',
        'attemptNumber', 0, 'objectId', deal_id, 'propertyName', 'dealstage', 'propertyValue', stage, 'changeSource', 'CRM_UI')
$$;

-- The way of each deal, with HubSpot's own names of the stages where it has them.
CREATE TABLE demo.event AS
SELECT row_number() OVER (ORDER BY d.form_at + step.after) AS event_id, d.deal_id, step.crm_stage,
       least(d.form_at + step.after, artery.now()) AS occurred_at
  FROM demo.deal d,
       LATERAL (VALUES (1, 'lead', interval '5 minutes', true),
                       (2, 'appointmentscheduled', interval '9 hours', d.ends_in <> 'lead'),
                       (3, 'show_up', interval '30 hours', d.ends_in = ANY (ARRAY['show_up', 'closed_won'])),
                       (4, 'closedwon', interval '50 hours', d.ends_in = 'closed_won'),
                       (5, 'closedlost', interval '50 hours', d.ends_in = 'closed_lost'))
           AS step (n, crm_stage, after, happens)
 WHERE step.happens;

-- In batches of 25, as HubSpot sends them; the third one arrives twice.
CREATE TABLE demo.answer AS
WITH batch AS (
    SELECT (event_id - 1) / 25 AS batch,
           jsonb_agg(demo.stage_event(event_id, deal_id, crm_stage, occurred_at) ORDER BY event_id)::text AS body
      FROM demo.event GROUP BY 1
)
SELECT b.batch, demo.post_webhook(b.body) AS answer
  FROM (SELECT * FROM batch UNION ALL SELECT * FROM batch WHERE batch = 2 ORDER BY 1) b;

\echo 'Events of the CRM, by signed webhooks in batches (one batch came twice):'
SELECT r ->> 'status' AS status, count(*) AS events
  FROM demo.answer, jsonb_array_elements(answer -> 'results') r GROUP BY 1 ORDER BY 2 DESC;

\echo 'One of the answers:'
SELECT jsonb_pretty(r) AS answer FROM demo.answer, jsonb_array_elements(answer -> 'results') r
 WHERE r ->> 'stage_to' = 'appointment_scheduled' AND (r -> 'attribution' ->> 'success')::boolean LIMIT 1;

\echo 'A stage that nobody told artery about is kept, not guessed:'
SELECT demo.post_webhook(demo.stage_event(100000, 9001, 'negotiation', artery.now())::text) AS answer;

\echo 'A forged webhook is refused and leaves no trace:'
DO $$
BEGIN
    PERFORM demo.post_webhook(demo.stage_event(100001, 9001, 'closedwon', artery.now())::text, 'guessed-secret');
EXCEPTION WHEN invalid_authorization_specification THEN
    RAISE NOTICE 'refused: %', SQLERRM;
END
$$;
