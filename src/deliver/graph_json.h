/*
 * graph_json.h
 *		Reading answers of the Graph API: JSON from outside, which may be anything.
 */
#ifndef ARTERY_DELIVER_GRAPH_JSON_H
#define ARTERY_DELIVER_GRAPH_JSON_H

#include "postgres.h"

#include "utils/jsonb.h"

/*
 * The bytes as jsonb in the current memory context, NULL if they are not JSON in
 * valid UTF-8. Raises nothing but a cancel and a lack of memory.
 */
extern Jsonb *artery_graph_parse(const char *body, size_t length);

/* The value as an object, NULL if it is none. */
extern JsonbContainer *artery_graph_object(const JsonbValue *value);
extern JsonbContainer *artery_graph_root_object(const Jsonb *jsonb);

/* A member of an object, NULL if there is none; object may be NULL. */
extern JsonbValue *artery_graph_member(JsonbContainer *object, const char *name);

/* The same by type. Text: only strings, copied. Numbers: also as strings, since Meta sends both. */
extern char *artery_graph_text(JsonbContainer *object, const char *name);
extern bool artery_graph_double(JsonbContainer *object, const char *name, double *value);
extern bool artery_graph_int64(JsonbContainer *object, const char *name, int64 *value);

#endif							/* ARTERY_DELIVER_GRAPH_JSON_H */
