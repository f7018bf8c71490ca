/*
 * json.h
 *		Building and reading jsonb without ceremony.
 */
#ifndef ARTERY_RUNTIME_JSON_H
#define ARTERY_RUNTIME_JSON_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/numeric.h"

/* Begin and end the answer's object; between them, keys with values. */
extern void artery_json_begin(JsonbParseState **state);
extern Jsonb *artery_json_end(JsonbParseState **state);

extern void artery_json_key(JsonbParseState **state, const char *key);
extern void artery_json_text(JsonbParseState **state, const char *key, const char *text);	/* NULL: null */
extern void artery_json_number(JsonbParseState **state, const char *key, Numeric number);	/* NULL: null */
extern void artery_json_bool(JsonbParseState **state, const char *key, bool value);

/* An object as the next element of an array. */
extern void artery_json_element(JsonbParseState **state, Jsonb *object);

/* Field of an object; NULL where it has none (null is jbvNull). */
extern JsonbValue *artery_json_field(Jsonb *object, const char *key);

/* The same as text, of a string or number, palloc'd; NULL where absent, null or of another type. */
extern char *artery_json_field_text(Jsonb *object, const char *key);

/* A scalar string or number as text, palloc'd; NULL for other types. */
extern char *artery_json_scalar_text(const JsonbValue *value);

/*
 * Put U+FFFD (or '?', where the database's encoding has none) in the place of what
 * JSON can say and text cannot hold: escapes of U+0000, of halves of a surrogate
 * pair, and of characters that the encoding lacks. In place, for they are as
 * long; what is not JSON stays so.
 */
extern void artery_json_mend_escapes(char *text);

/* Valid UTF-8 in the database's encoding, '?' for each character that it lacks; text itself where nothing is to be done. */
extern char *artery_json_to_server(char *text, int length);

/*
 * A walk over the elements of an array, or the keys and then the values of an
 * object, in the order they are stored: in one pass and without copies, where the
 * functions of PostgreSQL search and copy each.
 */
typedef struct JsonWalk
{
	const JEntry *next;
	const char *base;
	uint32		end;			/* of the one at hand */
	int			left;

	/* the one at hand: its type, where it is, and its bytes, any padding included */
	JEntry		entry;
	const char *at;
	uint32		length;
} JsonWalk;

static inline void
artery_json_walk_begin(JsonWalk *walk, const JsonbContainer *container)
{
	walk->left = JsonContainerSize(container) * (JsonContainerIsObject(container) ? 2 : 1);
	walk->next = container->children;
	walk->base = (const char *) (container->children + walk->left);
	walk->end = 0;
	walk->entry = JENTRY_ISNULL;
	walk->at = walk->base;
	walk->length = 0;
}

/* Step to the next; false at the end. */
static inline bool
artery_json_walk_step(JsonWalk *walk)
{
	uint32		start = walk->end;

	if (walk->left-- == 0)
		return false;
	walk->entry = *walk->next++;
	JBE_ADVANCE_OFFSET(walk->end, walk->entry);
	walk->length = walk->end - start;
	walk->at = walk->base + (JBE_ISNUMERIC(walk->entry) || JBE_ISCONTAINER(walk->entry) ? INTALIGN(start) : start);
	return true;
}

/* Begin before the values of an object. */
static inline void
artery_json_walk_values(JsonWalk *walk, const JsonbContainer *object)
{
	artery_json_walk_begin(walk, object);
	while (walk->left > (int) JsonContainerSize(object))
		artery_json_walk_step(walk);
}

/* Is the one at hand a list, or an object? */
static inline bool
artery_json_walk_at_array(const JsonWalk *walk)
{
	return JBE_ISCONTAINER(walk->entry) && JsonContainerIsArray((const JsonbContainer *) walk->at);
}

static inline bool
artery_json_walk_at_object(const JsonWalk *walk)
{
	return JBE_ISCONTAINER(walk->entry) && JsonContainerIsObject((const JsonbContainer *) walk->at);
}

#endif							/* ARTERY_RUNTIME_JSON_H */
