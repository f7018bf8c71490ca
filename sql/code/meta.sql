-- meta: what answers of Meta's Graph API mean

CREATE OR REPLACE FUNCTION artery.classify_graph_answer(
    http_status integer, operation text, body text, headers jsonb DEFAULT NULL, transport text DEFAULT NULL,
    OUT class text, OUT scope text, OUT wait_seconds integer)
RETURNS SETOF record
LANGUAGE C IMMUTABLE PARALLEL SAFE ROWS 1
AS 'MODULE_PATHNAME', 'artery_classify_graph_answer';
COMMENT ON FUNCTION artery.classify_graph_answer(integer, text, text, jsonb, text) IS
'What an answer of the Graph API to a read, write or batch means: its class, how far it reaches and the least wait. transport tells what happened where no answer came: not_sent, maybe_sent or untrusted.';

CREATE OR REPLACE FUNCTION artery.read_usage_headers(
    headers jsonb, OUT max_percent double precision, OUT pause_seconds integer, OUT pause_scope text,
    OUT pause_account text, OUT pause_type text, OUT full_tier boolean)
RETURNS record
LANGUAGE C IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'artery_read_usage_headers';
COMMENT ON FUNCTION artery.read_usage_headers(jsonb) IS
'What the usage headers of the Graph API say: the fullest quota in percent, and for whom and how long to pause.';
