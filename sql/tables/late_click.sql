-- late_click: clicks that came in after what they led to

-- One row: a (sub)transaction that brought late clicks of a tenant. All of them have tracked_at >= tracked_since. A note
-- each, not a row per click: COPY of a million clicks of last week writes one.
CREATE TABLE artery.late_click (
    tenant_id     text NOT NULL,
    note_id       bigint GENERATED ALWAYS AS IDENTITY,
    tracked_since timestamptz NOT NULL,
    looked_at     timestamptz,
    looked_xid    bigint,
    PRIMARY KEY (tenant_id, note_id)
);
COMMENT ON TABLE artery.late_click IS
'Notes that clicks came in more than a minute after they happened. The worker tries the conversions again that one of them may have earned, and removes the note.';
COMMENT ON COLUMN artery.late_click.tracked_since IS 'tracked_at of the first of the late clicks.';
COMMENT ON COLUMN artery.late_click.looked_at IS
'When it was first seen, and so the clicks were there. Conversions attributed later have looked for them themselves.';
COMMENT ON COLUMN artery.late_click.looked_xid IS
'Transactions that may have attributed without the clicks have ids below this; when they have ended, the note has done its work.';
