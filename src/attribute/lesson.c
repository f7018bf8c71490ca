/*
 * lesson.c
 *		What conversions of the transaction under way taught of a tenant.
 *
 * History that comes in by one statement or transaction learns as it goes. That
 * is nobody else's business, and gone with the transaction; and what was taught
 * in a subtransaction is gone with that: the first time one adds to it, what was
 * known before is put aside.
 */
#include "artery.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "attribute/lesson.h"
#include "runtime/clock.h"

typedef struct Lessons
{
	FullTransactionId transaction;
	char		tenant_id[LESSON_NAME_LENGTH + 1];
	TimestampTz begun_at;
	CalibratedState learnt;
} Lessons;

/* What was known when a subtransaction began to teach. */
typedef struct KeptLessons
{
	struct KeptLessons *outer;
	SubTransactionId subtransaction;
	Lessons		before;
} KeptLessons;

static Lessons lessons;
static KeptLessons *kept = NULL;

static void keep_lessons(void);
static void drop_kept(void);
static void settle(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *argument);

void
artery_lesson_add(const char *tenant_id, TimestampTz counted_until, const CalibratedState *learnt)
{
	FullTransactionId transaction = GetTopFullTransactionId();
	int			i;

	keep_lessons();
	if (artery_lesson_find(tenant_id, counted_until) == NULL)
	{
		memset(&lessons, 0, sizeof(lessons));
		lessons.transaction = transaction;
		strlcpy(lessons.tenant_id, tenant_id, sizeof(lessons.tenant_id));
		lessons.begun_at = artery_clock_moment();
	}
	for (i = 0; i < CALIBRATED_NUMBERS; i++)
		((double *) &lessons.learnt)[i] += ((const double *) learnt)[i];
}

/* Those that the state has come to may be in there. */
const CalibratedState *
artery_lesson_find(const char *tenant_id, TimestampTz counted_until)
{
	if (!FullTransactionIdEquals(lessons.transaction, GetTopFullTransactionIdIfAny()) ||
		lessons.begun_at <= counted_until || strcmp(lessons.tenant_id, tenant_id) != 0)
		return NULL;
	return &lessons.learnt;
}

/* Put aside what is known, unless this subtransaction has done so. */
static void
keep_lessons(void)
{
	static bool registered = false;
	SubTransactionId current = GetCurrentSubTransactionId();
	KeptLessons *entry;

	if (!registered)
	{
		RegisterSubXactCallback(settle, NULL);
		registered = true;
	}
	if (GetCurrentTransactionNestLevel() == 1 || (kept != NULL && kept->subtransaction == current))
		return;
	entry = MemoryContextAlloc(TopMemoryContext, sizeof(KeptLessons));
	entry->outer = kept;
	entry->subtransaction = current;
	entry->before = lessons;
	kept = entry;
}

static void
drop_kept(void)
{
	KeptLessons *outer = kept->outer;

	pfree(kept);
	kept = outer;
}

/* A subtransaction ends: what it taught goes with it, or is taught by the one around it. */
static void
settle(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *argument)
{
	if (kept == NULL || kept->subtransaction != mine)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		lessons = kept->before;
		drop_kept();
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		if (parent == TopSubTransactionId || (kept->outer != NULL && kept->outer->subtransaction == parent))
			drop_kept();
		else
			kept->subtransaction = parent;
	}
}
