/*
 * late_click.c
 *		Notes of clicks that come in after what they led to.
 *
 * One note says of all late clicks of a (sub)transaction and tenant since when
 * they came in; it is there exactly when they are. Which notes the one under way
 * wrote is remembered for so many tenants; a note too many does no harm.
 */
#include "artery.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"

#include "capture/late_click.h"
#include "runtime/dbtx.h"
#include "runtime/shmem.h"

#define REMEMBERED 64

typedef struct Note
{
	TimestampTz tracked_since;
	int			length;
	char		tenant_id[ARTERY_MAX_ID];
} Note;

/* What one (sub)transaction wrote, the last of it. */
typedef struct Notes
{
	FullTransactionId transaction;
	SubTransactionId subtransaction;
	int			count;
	Note		of[REMEMBERED];
} Notes;

static ArteryStatement insert_note = {
	"INSERT INTO artery.late_click (tenant_id, tracked_since) VALUES ($1, $2)", 2, {TEXTOID, TIMESTAMPTZOID}, NULL
};

static Notes notes;

static const Note *find(const text *tenant_id);

bool
artery_late_click_is_news(Datum tenant_id, TimestampTz happened_at, TimestampTz tracked_at)
{
	const Note *note;

	if (happened_at >= tracked_at - LATE_CLICK_AFTER)
		return false;
	note = find(DatumGetTextPP(tenant_id));
	return note == NULL || tracked_at < note->tracked_since;	/* the clock was put back */
}

void
artery_late_click_note(Datum tenant_id, TimestampTz tracked_at)
{
	Datum		values[2] = {tenant_id, TimestampTzGetDatum(tracked_at)};
	text	   *tenant = DatumGetTextPP(tenant_id);
	Note	   *note;

	(void) artery_execute(&insert_note, values, NULL, false, 0);
	artery_wake_at_commit(ARTERY_JOBS);
	if (!FullTransactionIdEquals(notes.transaction, GetTopFullTransactionId()) ||
		notes.subtransaction != GetCurrentSubTransactionId())
	{
		notes.transaction = GetTopFullTransactionId();
		notes.subtransaction = GetCurrentSubTransactionId();
		notes.count = 0;
	}
	note = &notes.of[notes.count++ % REMEMBERED];
	note->tracked_since = tracked_at;
	note->length = (int) Min(VARSIZE_ANY_EXHDR(tenant), sizeof(note->tenant_id));
	memcpy(note->tenant_id, VARDATA_ANY(tenant), note->length);
}

/* The last note of this (sub)transaction for the tenant; NULL if it has none. */
static const Note *
find(const text *tenant_id)
{
	int			length = (int) VARSIZE_ANY_EXHDR(tenant_id);
	int			i;

	if (!FullTransactionIdEquals(notes.transaction, GetTopFullTransactionIdIfAny()) ||
		notes.subtransaction != GetCurrentSubTransactionId())
		return NULL;
	for (i = notes.count - 1; i >= 0 && i >= notes.count - REMEMBERED; i--)
	{
		const Note *note = &notes.of[i % REMEMBERED];

		if (note->length == length && memcmp(note->tenant_id, VARDATA_ANY(tenant_id), length) == 0)
			return note;
	}
	return NULL;
}
