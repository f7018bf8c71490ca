/*
 * ad_states.c
 *		Reading ad_states, the ads that select_budget is asked about.
 *
 * There may be a hundred thousand of them, so each object is read in one pass
 * over the form that jsonb has on disk, and what its keys mean is only looked up
 * where they are not those of the object before.
 */
#include "artery.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/builtins.h"

#include "decide/ad_case.h"
#include "decide/amount.h"
#include "runtime/decimal.h"
#include "runtime/huge.h"

#define MAX_COUNT 1e15
#define MAX_AGE_HOURS 1e7

/* Ads whose place in a table is fetched before it is looked at. */
#define AHEAD 8

typedef enum StateKind
{
	KIND_NUMBER,				/* double at offset */
	KIND_SHARE,					/* the same, clamped into 0..1 */
	KIND_MONEY					/* units at offset */
} StateKind;

typedef struct StateKey
{
	const char *name;
	StateKind	kind;
	bool		required;
	size_t		offset;
	double		largest;
	AmountRounding rounding;
} StateKey;

static const StateKey state_keys[] = {
	{"impressions", KIND_NUMBER, true, offsetof(AdCase, input.impressions), MAX_COUNT, AMOUNT_NEAREST},
	{"clicks", KIND_NUMBER, true, offsetof(AdCase, input.clicks), MAX_COUNT, AMOUNT_NEAREST},
	{"spend", KIND_NUMBER, true, offsetof(AdCase, input.spend), AMOUNT_MAX, AMOUNT_NEAREST},
	{"pipeline_value", KIND_NUMBER, true, offsetof(AdCase, input.value), AMOUNT_MAX, AMOUNT_NEAREST},
	{"age_hours", KIND_NUMBER, true, offsetof(AdCase, input.age_hours), MAX_AGE_HOURS, AMOUNT_NEAREST},
	{"cash_revenue", KIND_NUMBER, false, offsetof(AdCase, cash_revenue), AMOUNT_MAX, AMOUNT_NEAREST},
	{"exploration", KIND_SHARE, false, offsetof(AdCase, exploration), 1, AMOUNT_NEAREST},
	{"dna_score", KIND_SHARE, false, offsetof(AdCase, input.dna_score), 1, AMOUNT_NEAREST},
	{"current_budget", KIND_MONEY, false, offsetof(AdCase, current), 0, AMOUNT_NEAREST},
	{"min_budget", KIND_MONEY, false, offsetof(AdCase, minimum), 0, AMOUNT_UP},
	{"max_budget", KIND_MONEY, false, offsetof(AdCase, maximum), 0, AMOUNT_DOWN},
};

/* What a key means, other than a place in state_keys. */
#define KEY_AD_ID (-1)
#define KEY_OTHER (-2)
#define KEY_OWNER (-3)
#define KEY_FUNNEL 32			/* and further: a FunnelKey */

typedef struct Reader
{
	int			digits;
	char	   *ids;			/* where the next ad_id goes */

	/* the keys of the object read last, and what they mean */
	int			pairs;
	int			room;
	const JEntry *entries;
	const char *names;
	uint32		names_length;
	int8	   *meanings;
	int			ad_id_at;		/* -1: none */

	const Funnel *funnel;		/* read last */
} Reader;

static void open_reader(Reader *reader, int digits, Size ids);
static void read_object(Reader *reader, JsonbContainer *object, AdCase *ad);
static void learn_keys(Reader *reader, const JEntry *entries, int pairs, const char *names);
static int	find_key(const char *name, int length);
static void read_ad_id(Reader *reader, const JEntry *entries, const char *base, AdCase *ad);
static void read_owner(JEntry entry, const char *value, int length, AdCase *ad);
static void read_key(const StateKey *key, JEntry entry, const char *value, int digits, AdCase *ad);
static bool read_quickly(const StateKey *key, Numeric number, int digits, void *to);
static void read_slowly(const StateKey *key, Numeric number, int digits, AdCase *ad, void *to);
static void read_funnel(Reader *reader, FunnelKey key, JEntry entry, const char *value, AdCase *ad);
static void note_ignored(const char *name, int length, AdCase *ad);
static void check_complete(const Reader *reader, uint32 seen, const AdCase *ad);
static void fill_current(AdCase *ad, int digits);
static void check_repeated(const AdCase *ads, int n);
static uint32 hash_id(const AdCase *ad);
static double clamped_share(Numeric value);

AdCase *
artery_ad_cases_read(Jsonb *ad_states, int digits, int *n)
{
	JsonbContainer *list = &ad_states->root;
	const char *base = (const char *) &list->children[JsonContainerSize(list)];
	Reader		reader;
	AdCase	   *ads;
	uint32		end = 0;
	int			i;

	if (!JB_ROOT_IS_ARRAY(ad_states) || JB_ROOT_IS_SCALAR(ad_states))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ad_states must be a JSON array"),
				 errhint("Give one object per ad, for example [{\"ad_id\": \"a\", \"impressions\": 5000, ...}].")));
	*n = JB_ROOT_COUNT(ad_states);
	ads = artery_huge_alloc((*n + 1) * sizeof(AdCase), 0);
	open_reader(&reader, digits, VARSIZE(ad_states));
	for (i = 0; i < *n; i++)
	{
		JEntry		entry = list->children[i];
		uint32		start = end;

		CHECK_FOR_INTERRUPTS();
		JBE_ADVANCE_OFFSET(end, entry);
		if (!JBE_ISCONTAINER(entry) || !JsonContainerIsObject((JsonbContainer *) (base + INTALIGN(start))))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("element %d of ad_states is not an object", i + 1)));
		read_object(&reader, (JsonbContainer *) (base + INTALIGN(start)), &ads[i]);
	}
	check_repeated(ads, *n);
	return ads;
}

AdCase *
artery_ad_cases_read_array(ArrayType *ad_states, int digits, int *n, Datum **states)
{
	Size		ids = ARR_SIZE(ad_states);
	Reader		reader;
	AdCase	   *ads;
	Datum	   *elements;
	bool	   *nulls;
	int			i;

	deconstruct_array(ad_states, JSONBOID, -1, false, TYPALIGN_INT, &elements, &nulls, n);
	ads = artery_huge_alloc((*n + 1) * sizeof(AdCase), 0);
	/* what is stored compressed grows */
	for (i = 0; i < *n; i++)
	{
		Jsonb	   *state = nulls[i] ? NULL : DatumGetJsonbP(elements[i]);

		CHECK_FOR_INTERRUPTS();
		if (state == NULL || !JB_ROOT_IS_OBJECT(state))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("element %d of ad_states is not an object", i + 1)));
		elements[i] = JsonbPGetDatum(state);
		ids += VARSIZE(state);
	}
	open_reader(&reader, digits, ids);
	for (i = 0; i < *n; i++)
		read_object(&reader, &DatumGetJsonbP(elements[i])->root, &ads[i]);
	check_repeated(ads, *n);
	*states = elements;
	return ads;
}

void
artery_ad_case_read(Jsonb *state, int digits, AdCase *ad)
{
	Reader		reader;

	open_reader(&reader, digits, VARSIZE(state));
	read_object(&reader, &state->root, ad);
}

void
artery_ad_cases_apply_dna(AdCase *ads, int n, Jsonb *scores)
{
	int			i;

	if (!JB_ROOT_IS_OBJECT(scores))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("creative_dna_scores must be a JSON object"),
				 errhint("Give a score from 0 to 1 per ad, for example {\"ad_1\": 0.8}.")));
	for (i = 0; i < n; i++)
	{
		JsonbValue *score = getKeyJsonValueFromContainer(&scores->root, ads[i].ad_id, ads[i].ad_id_length, NULL);

		if (score == NULL || score->type == jbvNull)
			continue;
		if (score->type != jbvNumeric)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the DNA score of ad \"%s\" is not a number", ads[i].ad_id)));
		ads[i].input.dna_score = clamped_share(score->val.numeric);
		ads[i].has_dna = true;
	}
}

/* ids: bytes that all ids may need, with an end each. */
static void
open_reader(Reader *reader, int digits, Size ids)
{
	memset(reader, 0, sizeof(Reader));
	reader->digits = digits;
	reader->ids = artery_huge_alloc(ids, 0);
}

static void
read_object(Reader *reader, JsonbContainer *object, AdCase *ad)
{
	int			pairs = JsonContainerSize(object);
	const JEntry *entries = object->children;
	const char *base = (const char *) &entries[2 * pairs];
	uint32		end;
	uint32		seen = 0;
	int			i;

	memset(ad, 0, sizeof(AdCase));
	ad->maximum = PG_INT64_MAX;
	if (reader->entries == NULL || pairs != reader->pairs
		|| memcmp(entries, reader->entries, pairs * sizeof(JEntry)) != 0
		|| memcmp(base, reader->names, reader->names_length) != 0)
		learn_keys(reader, entries, pairs, base);
	read_ad_id(reader, entries + pairs, base, ad);
	end = reader->names_length;
	for (i = 0; i < pairs; i++)
	{
		JEntry		entry = entries[pairs + i];
		uint32		start = end;
		int			meaning = reader->meanings[i];

		JBE_ADVANCE_OFFSET(end, entry);
		if (meaning == KEY_AD_ID || JBE_ISNULL(entry))
			continue;
		if (meaning == KEY_OWNER)
		{
			read_owner(entry, base + start, end - start, ad);
			continue;
		}
		if (meaning == KEY_OTHER)
		{
			uint32		at = getJsonbOffset(object, i);

			note_ignored(base + at, getJsonbLength(object, i), ad);
			continue;
		}
		if (meaning >= KEY_FUNNEL)
		{
			read_funnel(reader, meaning - KEY_FUNNEL, entry, base + INTALIGN(start), ad);
			continue;
		}
		seen |= 1U << meaning;
		read_key(&state_keys[meaning], entry, base + INTALIGN(start), reader->digits, ad);
	}
	check_complete(reader, seen, ad);
	if (ad->funnel != NULL)
	{
		artery_funnel_check(ad->funnel, ad->ad_id);
		reader->funnel = ad->funnel;
	}
	fill_current(ad, reader->digits);
}

static void
learn_keys(Reader *reader, const JEntry *entries, int pairs, const char *names)
{
	uint32		end = 0;
	int			i;

	if (pairs > reader->room)
	{
		if (reader->meanings != NULL)
			pfree(reader->meanings);
		reader->room = pairs;
		reader->meanings = palloc_extended(pairs, MCXT_ALLOC_HUGE);
	}
	reader->pairs = pairs;
	reader->entries = entries;
	reader->names = names;
	reader->ad_id_at = -1;
	for (i = 0; i < pairs; i++)
	{
		uint32		start = end;

		JBE_ADVANCE_OFFSET(end, entries[i]);
		reader->meanings[i] = find_key(names + start, end - start);
		if (reader->meanings[i] == KEY_AD_ID)
			reader->ad_id_at = i;
	}
	reader->names_length = end;
}

static int
find_key(const char *name, int length)
{
	int			i;

	if (length == 5 && memcmp(name, "ad_id", 5) == 0)
		return KEY_AD_ID;
	if (length == 15 && memcmp(name, "budget_owner_id", 15) == 0)
		return KEY_OWNER;
	for (i = 0; i < (int) lengthof(state_keys); i++)
		if ((int) strlen(state_keys[i].name) == length && memcmp(state_keys[i].name, name, length) == 0)
			return i;
	i = artery_funnel_key(name, length);
	return i < FUNNEL_KEYS ? KEY_FUNNEL + i : KEY_OTHER;
}

/* entries are those of the values; an id lasts with an end of its own. */
static void
read_ad_id(Reader *reader, const JEntry *entries, const char *base, AdCase *ad)
{
	uint32		start = reader->names_length;
	uint32		end = start;
	int			i;

	for (i = 0; i <= reader->ad_id_at; i++)
	{
		start = end;
		JBE_ADVANCE_OFFSET(end, entries[i]);
	}
	if (reader->ad_id_at < 0 || !JBE_ISSTRING(entries[reader->ad_id_at]) || end == start)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an ad state has no ad_id"),
				 errdetail("\"ad_id\" must be a text that is not empty."),
				 errhint("For example {\"ad_id\": \"ad_123\", \"impressions\": 5000, ...}.")));
	if (end - start > ARTERY_MAX_ID)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("ad_id is too long"),
				 errdetail("It may have %d bytes.", ARTERY_MAX_ID)));
	ad->ad_id = reader->ids;
	ad->ad_id_length = end - start;
	memcpy(ad->ad_id, base + start, ad->ad_id_length);
	ad->ad_id[ad->ad_id_length] = '\0';
	reader->ids += ad->ad_id_length + 1;
}

static void
read_owner(JEntry entry, const char *value, int length, AdCase *ad)
{
	if (!JBE_ISSTRING(entry) || length == 0 || length > ARTERY_MAX_ID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"budget_owner_id\" of ad \"%s\" is not an id", ad->ad_id),
				 errdetail("It must be a text of 1 to %d bytes.", ARTERY_MAX_ID)));
	ad->owner = value;
	ad->owner_length = length;
}

static void
read_key(const StateKey *key, JEntry entry, const char *value, int digits, AdCase *ad)
{
	void	   *to = (char *) ad + key->offset;

	if (!JBE_ISNUMERIC(entry))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" of ad \"%s\" is not a number", key->name, ad->ad_id),
				 errhint("Give a JSON number, without quotes.")));
	if (!read_quickly(key, (Numeric) value, digits, to))
		read_slowly(key, (Numeric) value, digits, ad, to);
	if (key->offset == offsetof(AdCase, current))
		ad->has_current = true;
	if (key->offset == offsetof(AdCase, input.dna_score))
		ad->has_dna = true;
}

/* Numbers that are in range and need no rounding, as almost all are. */
static bool
read_quickly(const StateKey *key, Numeric number, int digits, void *to)
{
	int64		units;
	int			exponent;

	if (key->kind == KIND_NUMBER)
	{
		*(double *) to = artery_decimal_double(number);
		return *(double *) to >= 0 && *(double *) to <= key->largest;
	}
	if (key->kind == KIND_SHARE || !artery_decimal_read(number, &units, &exponent) || units < 0)
		return false;
	for (exponent += digits; exponent < 0 && units % 10 == 0 && units > 0; exponent++)
		units /= 10;
	for (; exponent > 0 && units < INT64CONST(100000000000000); exponent--)
		units *= 10;
	*(int64 *) to = units;
	return (exponent == 0 && (double) units <= AMOUNT_MAX) || units == 0;
}

static void
read_slowly(const StateKey *key, Numeric number, int digits, AdCase *ad, void *to)
{
	char	   *what;

	if (key->kind == KIND_SHARE)
	{
		*(double *) to = clamped_share(number);
		return;
	}
	what = psprintf("\"%s\" of ad \"%s\"", key->name, ad->ad_id);
	if (key->kind == KIND_NUMBER)
		*(double *) to = artery_amount_double(number, key->largest, what);
	else
		*(int64 *) to = artery_amount_units(number, digits, key->rounding, what);
	pfree(what);
}

static void
read_funnel(Reader *reader, FunnelKey key, JEntry entry, const char *value, AdCase *ad)
{
	JsonWalk	walk = {.entry = entry,.at = value};

	if (ad->funnel == NULL)
		ad->funnel = palloc0(sizeof(Funnel));
	artery_funnel_read(ad->funnel, key, &walk, reader->funnel, ad->ad_id);
}

static void
note_ignored(const char *name, int length, AdCase *ad)
{
	char	   *key = pnstrdup(name, length);

	ad->ignored = ad->ignored == NULL ? key : psprintf("%s, %s", ad->ignored, key);
}

static void
check_complete(const Reader *reader, uint32 seen, const AdCase *ad)
{
	int			i;

	for (i = 0; i < (int) lengthof(state_keys); i++)
		if (state_keys[i].required && (seen & (1U << i)) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("ad \"%s\" has no \"%s\"", ad->ad_id, state_keys[i].name),
					 errdetail("An ad state needs ad_id, impressions, clicks, spend, pipeline_value and age_hours."),
					 errhint("Give 0 where nothing happened yet.")));
	if (ad->minimum > ad->maximum)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("min_budget of ad \"%s\" is above its max_budget", ad->ad_id)));
}

/* Where no budget is known: what the ad spent per day of its life. */
static void
fill_current(AdCase *ad, int digits)
{
	static const double units[] = {1, 10, 100, 1000, 10000};

	if (!ad->has_current)
		ad->current = (int64) rint(ad->input.spend / Max(ad->input.age_hours / 24.0, 1.0) * units[digits]);
}

/*
 * By a table of places, at most half full, at the hash of each id: the hash and, in
 * its lower half, the number of the ad. Of many ads the places are not in the processor's
 * cache, so they are asked for some ads ahead.
 */
static void
check_repeated(const AdCase *ads, int n)
{
	uint32		size = pg_nextpower2_32(Max(2 * (uint32) n, 16));
	uint64	   *places = artery_huge_alloc(size * sizeof(uint64), MCXT_ALLOC_ZERO);
	uint32		hashes[AHEAD];
	int			i;

	for (i = 0; i < Min(n, AHEAD); i++)
		hashes[i] = hash_id(&ads[i]);
	for (i = 0; i < n; i++)
	{
		uint32		hash = hashes[i % AHEAD];
		uint32		at = hash & (size - 1);

		if (i + AHEAD < n)
		{
			hashes[i % AHEAD] = hash_id(&ads[i + AHEAD]);
			__builtin_prefetch(&places[hashes[i % AHEAD] & (size - 1)], 1);
		}
		for (; places[at] != 0; at = (at + 1) & (size - 1))
			if (places[at] >> 32 == hash && strcmp(ads[(uint32) places[at] - 1].ad_id, ads[i].ad_id) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("ad \"%s\" is given more than once", ads[i].ad_id),
						 errhint("Add the counts of an ad up before.")));
		places[at] = (uint64) hash << 32 | (uint32) (i + 1);
	}
	pfree(places);
}

static uint32
hash_id(const AdCase *ad)
{
	return hash_bytes((const unsigned char *) ad->ad_id, ad->ad_id_length);
}

/* Numbers in JSON are finite as numerics, but may be infinite as doubles. */
static double
clamped_share(Numeric value)
{
	double		share = artery_decimal_double(value);

	return Min(Max(share, 0.0), 1.0);
}
