/*
 * flight.h
 *		A claimed change on its way: what its steps share.
 */
#ifndef ARTERY_DELIVER_FLIGHT_H
#define ARTERY_DELIVER_FLIGHT_H

#include "postgres.h"

#include "lib/ilist.h"

#include "deliver/change.h"
#include "deliver/http.h"
#include "deliver/meta.h"
#include "deliver/throttle.h"

typedef enum FlightStage
{
	FLIGHT_NEW,					/* claimed, nothing was asked yet */
	FLIGHT_READ,				/* nothing was sent by this claim */
	FLIGHT_JUDGE,				/* nor now: it was read and is to be judged */
	FLIGHT_WRITE,				/* the write is under way, or its answer is being looked at */
	FLIGHT_VERIFY,				/* it was accepted; being read back */
	FLIGHT_SETTLE				/* only the tables are still to be told */
} FlightStage;

typedef struct Flight
{
	dlist_node	node;			/* in artery_flights */
	MemoryContext context;		/* holds all of it */
	FlightStage stage;
	ChangeClaim claim;
	MetaCredentials credentials;
	ThrottleSubject subject;
	const HttpAnswer *answer;	/* while it is being looked at */
	double		duration_ms;	/* of all requests so far */
	LiveState	live;			/* in FLIGHT_JUDGE: what was read */
	bool		halted;			/* the tenant was turned off meanwhile; else */
	ChangeVerdict verdict;		/* of the judgement */
	bool		done;			/* judged or settled; false: it has to be tried alone */
	ChangeSettlement settlement;	/* in FLIGHT_SETTLE */
	TimestampTz settle_at;		/* not before; 0: as soon as may be */
	int64		settle_delay;	/* until the next try, should this one fail */
} Flight;

typedef void (*FlightStep) (Flight *flight);

/* The most flights that share a transaction, whose locks others wait for. */
#define FLIGHTS_TOGETHER 64

/* All flights of this worker. */
extern dlist_head artery_flights;

/*
 * Make a flight of a claim, within the claiming transaction: its context is a
 * child of parent. It counts as one only once it is launched, after the commit.
 * What the tenant signs with is taken from a sibling of the same claiming (NULL:
 * there is none) if that is of the same tenant.
 */
extern Flight *artery_flight_make(const ChangeClaim *claim, const Flight *sibling, MemoryContext parent);
extern void artery_flight_launch(Flight *flight);

/* Wipe what it signed with, and forget it. */
extern void artery_flight_end(Flight *flight);

/*
 * Flights to be judged (FLIGHT_JUDGE) or settled (FLIGHT_SETTLE) now, at most
 * FLIGHTS_TOGETHER; returns how many there are.
 */
extern int	artery_flight_batch(Flight **batch);

/*
 * Judge and settle flights within a transaction, with its errors. With wait, which
 * is for one alone, it is done; else some may be left because somebody holds what
 * they need.
 */
extern void artery_flight_work(Flight **batch, int count, bool wait);

/*
 * How many more may be launched: each that is not over needs a place for its next
 * request, whether one is under way or not.
 */
extern int	artery_flight_places(void);

#endif							/* ARTERY_DELIVER_FLIGHT_H */
