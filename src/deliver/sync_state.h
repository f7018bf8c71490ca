/*
 * sync_state.h
 *		What the parts of a sync share: sync.c lets them go on, sync_stage.c asks and
 *		understands, sync_store.c reaches the tables.
 */
#ifndef ARTERY_DELIVER_SYNC_STATE_H
#define ARTERY_DELIVER_SYNC_STATE_H

#include "postgres.h"

#include "lib/ilist.h"
#include "utils/array.h"
#include "utils/date.h"

#include "deliver/meta.h"
#include "deliver/throttle.h"

typedef enum SyncStage
{
	SYNC_PREPARE,
	SYNC_TOKEN,
	SYNC_ACCOUNT,
	SYNC_MINIMUM,
	SYNC_CAMPAIGNS,
	SYNC_ADSETS,
	SYNC_ADS,
	SYNC_EDITS,					/* people's, from the activity log */
	SYNC_INSIGHTS,
	SYNC_REPORT,				/* ask for a report */
	SYNC_REPORT_POLL,			/* is it ready? */
	SYNC_REPORT_ROWS
} SyncStage;

typedef struct Sync
{
	dlist_node	node;			/* in syncs */
	MemoryContext context;		/* holds all of it */
	MemoryContext work;			/* of the step under way, reset after it */
	bool		ended;
	char	   *error;			/* of an attempt of ours that failed */

	char	   *tenant_id;		/* the claim */
	int64		job_id;
	int			attempt;
	int			days;
	SyncStage	only;			/* SYNC_TOKEN, SYNC_EDITS: nothing but that; else SYNC_PREPARE */
	bool		by_report;		/* Insights come as reports */
	bool		as_told;		/* the job says so, or says not */

	MetaCredentials credentials;
	MetaCredentials app;		/* what the token is asked for with; token NULL: it is not asked for */
	ThrottleSubject subject;
	char	   *account;		/* act_ and digits */

	SyncStage	stage;
	HttpRequest *request;		/* under way; NULL if none */
	const HttpAnswer *answer;	/* while it is being looked at */
	TimestampTz asked_at;
	TimestampTz resume_at;		/* not before this moment */
	int			retries;		/* of the present request */

	int			limit;			/* rows of a page */
	int			pages;			/* of the present listing */
	char	   *after;			/* cursor; NULL at the beginning */
	char	   *mark;			/* an earlier one: met again, the pages turn in a circle */

	DateADT		since;			/* all days to read */
	DateADT		until;
	DateADT		chunk_since;	/* those being read */
	int			chunk_days;
	char	   *report;			/* id */
	TimestampTz report_at;		/* when it was asked for */
	int			poll_seconds;

	int64		stored[SYNC_REPORT_ROWS + 1];	/* by stage */
	int64		skipped;
	int			requests;
	char	   *left_out;		/* stages that Meta refused and that are not needed; NULL: none */
	ArrayBuildState *owners;	/* ids listed so far; NULL: none */
	ArrayBuildState *ads;
} Sync;

/* Its address marks our requests. */
extern const char artery_sync_owner;

/* How a job ends. */
typedef enum SyncEnd
{
	SYNC_STOPPED,				/* completed with nothing more to be done; text: why */
	SYNC_POSTPONED,				/* back into the queue, no attempt spent; text: why */
	SYNC_FAILED,				/* text: the error, here and in the next */
	SYNC_GIVEN_UP				/* failed for good */
} SyncEnd;

/* sync_stage.c: the first stage, enter a stage at its beginning, ask its next page, understand the answer. */
extern void artery_sync_begin(Sync *sync);
extern void artery_sync_enter(Sync *sync, SyncStage stage);
extern void artery_sync_ask(Sync *sync);
extern void artery_sync_answered(Sync *sync);

/* sync_store.c: each in a transaction of its own; a claim that was taken back ends the sync. */

/* Store a page by artery.sync_step; false if that was the end. */
extern bool artery_sync_store(Sync *sync, const char *step, const Jsonb *parsed);

/* Not before so many seconds; until then the claim is held. The longest of several waits counts. */
extern void artery_sync_wait(Sync *sync, int64 seconds);

/* Complete the job; the result is JSON. */
extern void artery_sync_finish(Sync *sync, const char *result);

/* Settle the job in another way; run_at counts for SYNC_POSTPONED only. */
extern void artery_sync_settle(Sync *sync, SyncEnd end, const char *text, TimestampTz run_at);

/* Read what the tenant signs with and the account to ask for; false if either is not set. */
extern bool artery_sync_prepare(Sync *sync);

/* A copy that lives as long as the sync. */
extern char *artery_sync_keep(Sync *sync, const char *text);

#endif							/* ARTERY_DELIVER_SYNC_STATE_H */
