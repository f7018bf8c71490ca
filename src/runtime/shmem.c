/*
 * shmem.c
 *		What the processes of artery share.
 *
 * A commit that queued work sets the latch of its database's worker for it. One
 * callback per backend does it, registered when the library is loaded.
 */
#include "artery.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/resowner.h"

#include "runtime/shmem.h"

ArteryShared *artery_shared = NULL;

static shmem_startup_hook_type previous_startup = NULL;
#ifdef ARTERY_HAVE_SHMEM_REQUEST_HOOK
static shmem_request_hook_type previous_request = NULL;
#endif
static bool wake_at_commit[ARTERY_WORKS];
static bool wake_at_release[ARTERY_WORKS];	/* the transaction is committed */

const char *const artery_work_names[ARTERY_WORKS] = {"artery worker", "artery jobs"};

static void
request_memory(void)
{
#ifdef ARTERY_HAVE_SHMEM_REQUEST_HOOK
	if (previous_request)
		previous_request();
#endif
	RequestAddinShmemSpace(MAXALIGN(sizeof(ArteryShared)));
	RequestNamedLWLockTranche("artery", 1);
}

static void
attach_memory(void)
{
	bool		found;

	if (previous_startup)
		previous_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	artery_shared = ShmemInitStruct("artery", sizeof(ArteryShared), &found);
	if (!found)
	{
		int			i;

		memset(artery_shared, 0, sizeof(ArteryShared));
		for (i = 0; i < ARTERY_NEWS; i++)
			pg_atomic_init_u32(&artery_shared->news[i], 0);
		artery_shared->lock = &GetNamedLWLockTranche("artery")->lock;
	}
	LWLockRelease(AddinShmemInitLock);
}

static void
wake_workers(void)
{
	int			i;

	if (artery_shared == NULL)
		return;
	LWLockAcquire(artery_shared->lock, LW_SHARED);
	for (i = 0; i < ARTERY_SLOTS; i++)
	{
		ArteryWorkerSlot *slot = &artery_shared->slots[i];

		if (wake_at_release[ARTERY_SLOT_WORK(i)] && slot->database == MyDatabaseId && slot->latch != NULL)
			SetLatch(slot->latch);
	}
	LWLockRelease(artery_shared->lock);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	if (event == XACT_EVENT_COMMIT)
		memcpy(wake_at_release, wake_at_commit, sizeof(wake_at_release));
	else
		memset(wake_at_release, 0, sizeof(wake_at_release));
	memset(wake_at_commit, 0, sizeof(wake_at_commit));
}

/*
 * The last thing of a commit. Earlier, the worker might wake before the
 * invalidations of the commit are sent, look at the settings it had cached, and
 * sleep on.
 */
static void
at_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (!(wake_at_release[ARTERY_DELIVERY] || wake_at_release[ARTERY_JOBS]) ||
		phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level)
		return;
	wake_workers();
	memset(wake_at_release, 0, sizeof(wake_at_release));
}

void
artery_shmem_init(void)
{
	RegisterXactCallback(at_transaction_end, NULL);
	RegisterResourceReleaseCallback(at_release, NULL);
	if (!process_shared_preload_libraries_in_progress)
		return;
#ifdef ARTERY_HAVE_SHMEM_REQUEST_HOOK
	previous_request = shmem_request_hook;
	shmem_request_hook = request_memory;
#else
	request_memory();
#endif
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = attach_memory;
}

bool
artery_shmem_slot(Oid database, ArteryWork work, ArteryWorkerSlot *copy)
{
	bool		found = false;
	int			i;

	if (artery_shared == NULL)
		return false;
	LWLockAcquire(artery_shared->lock, LW_SHARED);
	for (i = 0; i < ARTERY_SLOTS && !found; i++)
	{
		if (ARTERY_SLOT_WORK(i) == work && artery_shared->slots[i].database == database)
		{
			*copy = artery_shared->slots[i];
			found = true;
		}
	}
	LWLockRelease(artery_shared->lock);
	return found;
}

void
artery_wake_at_commit(ArteryWork work)
{
	wake_at_commit[work] = true;
}

void
artery_wake_launcher(void)
{
	if (artery_shared == NULL)
		return;
	LWLockAcquire(artery_shared->lock, LW_SHARED);
	if (artery_shared->launcher_latch != NULL)
		SetLatch(artery_shared->launcher_latch);
	LWLockRelease(artery_shared->lock);
}
