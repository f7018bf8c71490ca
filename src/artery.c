/*
 * artery.c
 *		Module magic and start: settings, shared memory, caches, launcher.
 */
#include "artery.h"

#include "miscadmin.h"

#include "capture/user_agent.h"
#include "decide/budget_scan.h"
#include "runtime/guc.h"
#include "runtime/launcher.h"
#include "runtime/make_way.h"
#include "runtime/shmem.h"
#include "tenant/secret_log.h"
#include "tenant/tenant.h"

ARTERY_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	artery_guc_init();
	artery_shmem_init();
	artery_tenant_init();
	artery_secret_log_init();
	artery_budget_scan_init();
	if (process_shared_preload_libraries_in_progress)
	{
		artery_launcher_init();
		artery_make_way_init();
		artery_user_agent_preload();
	}
}
