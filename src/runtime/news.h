/*
 * news.h
 *		Whether something that sessions keep in memory has changed since they read it.
 *
 * Of a table's rows a session may keep what it read and ask here, instead of the
 * table, whether it is still so. What changes a row tells its topic; that is
 * heard when the transaction has ended. Topics share counters by chance, so
 * there may seem to be news where there are none, never the other way round, but
 * for other servers (of a cluster) and prepared transactions: so what is kept
 * should be read anew now and then all the same.
 */
#ifndef ARTERY_RUNTIME_NEWS_H
#define ARTERY_RUNTIME_NEWS_H

#include "postgres.h"

/* What there is news of, in this database. */
extern uint32 artery_news_topic(const char *name);

/* Say that there is news of a topic, when the transaction ends, however it ends. */
extern void artery_news_tell(uint32 topic);

/*
 * How often there was news of a topic; ask before reading the table. False where
 * nobody counts (the library was not preloaded) or where this transaction itself
 * has told of any topic.
 */
extern bool artery_news_count(uint32 topic, uint32 *count);

#endif							/* ARTERY_RUNTIME_NEWS_H */
