/*
 * make_way.h
 *		Workers step aside where a database must have no sessions.
 */
#ifndef ARTERY_RUNTIME_MAKE_WAY_H
#define ARTERY_RUNTIME_MAKE_WAY_H

/* Install the hook; only while preloading. */
extern void artery_make_way_init(void);

#endif							/* ARTERY_RUNTIME_MAKE_WAY_H */
