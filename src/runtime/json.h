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

#endif							/* ARTERY_RUNTIME_JSON_H */
