/*
 * news.c
 *		Whether something that sessions keep in memory has changed since they read it.
 *
 * Counters in shared memory, raised after the end of a transaction: who reads one
 * before and the table after has the new row or will hear of it. A transaction
 * that rolls back is told of too, as its session may have read what it wrote.
 */
#include "artery.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "port/atomics.h"

#include "runtime/news.h"
#include "runtime/shmem.h"
#include "runtime/stable_hash.h"

static bool told[ARTERY_NEWS];
static bool any_told = false;

static void
at_transaction_end(XactEvent event, void *arg)
{
	int			i;

	if (!any_told || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE))
		return;
	for (i = 0; i < ARTERY_NEWS && artery_shared != NULL; i++)
		if (told[i])
			pg_atomic_fetch_add_u32(&artery_shared->news[i], 1);
	memset(told, 0, sizeof(told));
	any_told = false;
}

uint32
artery_news_topic(const char *name)
{
	return (uint32) artery_stable_hash(MyDatabaseId, name, strlen(name)) % ARTERY_NEWS;
}

void
artery_news_tell(uint32 topic)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(at_transaction_end, NULL);
		registered = true;
	}
	told[topic] = true;
	any_told = true;
}

bool
artery_news_count(uint32 topic, uint32 *count)
{
	if (artery_shared == NULL || any_told)
		return false;
	*count = pg_atomic_read_u32(&artery_shared->news[topic]);
	pg_read_barrier();
	return true;
}
