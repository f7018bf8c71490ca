/*
 * funnel.c
 *		What an ad's state says of the funnel behind the click.
 */
#include "artery.h"

#include <math.h>

#include "decide/amount.h"
#include "decide/funnel.h"
#include "runtime/decimal.h"

#define MAX_SUM 1e15
#define MAX_LOGARITHM 1e40		/* of moments, too */

/* Sums of an object, in the order of their names there: by length, then by bytes. */
typedef struct SumKey
{
	const char *name;
	size_t		offset;
	bool		is_signed;		/* a sum of logarithms */
} SumKey;

static const SumKey exposure_keys[] = {
	{"shown", offsetof(Exposure, shown), false},
	{"clicks", offsetof(Exposure, clicks), false},
	{"periods", offsetof(Exposure, periods), false},
	{"log_spend", offsetof(Exposure, log_spend), true},
	{"impressions", offsetof(Exposure, impressions), false},
	{"shown_moment", offsetof(Exposure, shown_moment), false},
	{"shown_square", offsetof(Exposure, shown_square), false},
	{"clicks_moment", offsetof(Exposure, clicks_moment), false},
	{"log_impressions", offsetof(Exposure, log_impressions), true}
};

static const SumKey hop_keys[] = {
	{"entered", offsetof(Hop, entered), false},
	{"reached", offsetof(Hop, reached), false},
	{"duration", offsetof(Hop, duration), false}
};

static const char *const funnel_keys[FUNNEL_KEYS] = {"stages", "won_value", "other_wins", "exposure", "hops"};

static void read_stages(Funnel *funnel, const JsonWalk *value, const Funnel *before, const char *ad_id);
static char *read_stage(const JsonWalk *pair, double *reached, const char *known, int place, const char *ad_id);
static void check_repeated(const Funnel *funnel, const char *ad_id);
static void read_hops(Funnel *funnel, const JsonWalk *value, const char *ad_id);
static void read_pending(Hop *hop, const JsonbContainer *object, int place, const char *ad_id);
static void read_sums(void *sums, const SumKey *keys, int count, const JsonbContainer *object, const char *ad_id);
static int	compare_name(const JsonWalk *key, const char *name);
static double read_number(const JsonWalk *value, double largest, const char *name, const char *ad_id);

FunnelKey
artery_funnel_key(const char *name, int length)
{
	int			key;

	for (key = 0; key < FUNNEL_KEYS; key++)
		if ((int) strlen(funnel_keys[key]) == length && memcmp(funnel_keys[key], name, length) == 0)
			break;
	return key;
}

void
artery_funnel_read(Funnel *funnel, FunnelKey key, const JsonWalk *value, const Funnel *before, const char *ad_id)
{
	switch (key)
	{
		case FUNNEL_WON_VALUE:
			funnel->has_won_value = true;
			funnel->won_value = read_number(value, AMOUNT_MAX, funnel_keys[key], ad_id);
			break;
		case FUNNEL_OTHER_WINS:
			funnel->other_wins = read_number(value, MAX_SUM, funnel_keys[key], ad_id);
			break;
		case FUNNEL_STAGES:
			read_stages(funnel, value, before, ad_id);
			break;
		case FUNNEL_HOPS:
			read_hops(funnel, value, ad_id);
			break;
		default:
			if (!artery_json_walk_at_object(value))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("\"exposure\" of ad \"%s\" is not an object", ad_id)));
			read_sums(&funnel->exposure, exposure_keys, lengthof(exposure_keys), (const JsonbContainer *) value->at, ad_id);
			artery_exposure_bound(&funnel->exposure);
			funnel->has_exposure = true;
	}
}

void
artery_funnel_check(const Funnel *funnel, const char *ad_id)
{
	if (funnel->hops > 0 && funnel->hops != funnel->count)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"hops\" of ad \"%s\" do not fit its \"stages\"", ad_id),
				 errdetail("There must be one for each stage: the way to it from the one before.")));
}

void
artery_funnel_align(Funnel *funnel, const Funnel *model, const char *ad_id)
{
	Funnel		own = *funnel;
	int			at = own.count - 1;
	double		further = 0;
	int			i;

	if (own.hops > 0 && own.count < model->count)
		funnel->hops = 0;
	funnel->count = model->count;
	for (i = model->count - 1; i >= 0; i--)
	{
		if (at >= 0 && (own.stages[at] == model->stages[i] || strcmp(own.stages[at], model->stages[i]) == 0))
		{
			further = Max(further, own.reached[at]);
			at--;
		}
		funnel->stages[i] = model->stages[i];
		funnel->reached[i] = further;
	}
	if (at >= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("stage \"%s\" of ad \"%s\" does not fit the stages of the other ads", own.stages[at], ad_id),
				 errhint("Name the same stages in the same order for every ad, with 0 where nobody came so far.")));
}

/* [["lead", 12], ["closed_won", 1]] */
static void
read_stages(Funnel *funnel, const JsonWalk *value, const Funnel *before, const char *ad_id)
{
	const JsonbContainer *list = (const JsonbContainer *) value->at;
	bool		known = true;
	JsonWalk	pairs;
	int			i;

	if (!artery_json_walk_at_array(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"stages\" of ad \"%s\" is not an array", ad_id),
				 errhint("Give stages and counts in the order of the funnel: [[\"lead\", 12], [\"closed_won\", 1]].")));
	if (JsonContainerSize(list) > DELAYED_MAX_HOPS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ad \"%s\" has too many stages", ad_id),
				 errdetail("There may be %d.", DELAYED_MAX_HOPS)));
	funnel->count = JsonContainerSize(list);
	artery_json_walk_begin(&pairs, list);
	for (i = 0; artery_json_walk_step(&pairs); i++)
	{
		const char *name = before != NULL && i < before->count ? before->stages[i] : NULL;

		funnel->stages[i] = read_stage(&pairs, &funnel->reached[i], name, i + 1, ad_id);
		known = known && funnel->stages[i] == name;
	}
	if (!known)
		check_repeated(funnel, ad_id);
	/* who came further has been at every stage before */
	for (i = funnel->count - 2; i >= 0; i--)
		funnel->reached[i] = Max(funnel->reached[i], funnel->reached[i + 1]);
}

/* A name, which may be the known one, and a count. */
static char *
read_stage(const JsonWalk *pair, double *reached, const char *known, int place, const char *ad_id)
{
	JsonWalk	walk;
	char	   *name;

	if (!artery_json_walk_at_array(pair) || JsonContainerSize((const JsonbContainer *) pair->at) != 2)
		name = NULL;
	else
	{
		artery_json_walk_begin(&walk, (const JsonbContainer *) pair->at);
		artery_json_walk_step(&walk);
		if (known != NULL && strlen(known) == walk.length && memcmp(known, walk.at, walk.length) == 0 && JBE_ISSTRING(walk.entry))
			name = unconstify(char *, known);
		else if (JBE_ISSTRING(walk.entry) && walk.length > 0 && walk.length <= ARTERY_MAX_ID)
			name = pnstrdup(walk.at, walk.length);
		else
			name = NULL;
	}
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("stage %d of ad \"%s\" is not a name with a count", place, ad_id),
				 errhint("Give stages and counts in the order of the funnel: [[\"lead\", 12], [\"closed_won\", 1]].")));
	artery_json_walk_step(&walk);
	*reached = read_number(&walk, MAX_SUM, name, ad_id);
	return name;
}

static void
check_repeated(const Funnel *funnel, const char *ad_id)
{
	int			i;
	int			j;

	for (i = 0; i < funnel->count; i++)
		for (j = 0; j < i; j++)
			if (strcmp(funnel->stages[i], funnel->stages[j]) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("stage \"%s\" of ad \"%s\" is given more than once", funnel->stages[i], ad_id)));
}

/* One object per stage: entered, reached, duration, and what is pending by the grid of means. */
static void
read_hops(Funnel *funnel, const JsonWalk *value, const char *ad_id)
{
	const JsonbContainer *list = (const JsonbContainer *) value->at;
	JsonWalk	hops;
	int			i;

	if (!artery_json_walk_at_array(value) || JsonContainerSize(list) > DELAYED_MAX_HOPS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"hops\" of ad \"%s\" is not an array of at most %d", ad_id, DELAYED_MAX_HOPS)));
	funnel->hops = JsonContainerSize(list);
	funnel->hop = palloc0(Max(funnel->hops, 1) * sizeof(Hop));
	artery_json_walk_begin(&hops, list);
	for (i = 0; artery_json_walk_step(&hops); i++)
	{
		const JsonbContainer *object = (const JsonbContainer *) hops.at;

		if (!artery_json_walk_at_object(&hops))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("hop %d of ad \"%s\" is not an object", i + 1, ad_id)));
		read_sums(&funnel->hop[i], hop_keys, lengthof(hop_keys), object, ad_id);
		read_pending(&funnel->hop[i], object, i + 1, ad_id);
	}
}

static void
read_pending(Hop *hop, const JsonbContainer *object, int place, const char *ad_id)
{
	JsonWalk	keys;
	JsonWalk	values;
	JsonWalk	list;
	int			left = JsonContainerSize(object);
	int			i;

	artery_json_walk_begin(&keys, object);
	artery_json_walk_values(&values, object);
	while (left-- > 0 && artery_json_walk_step(&keys) && artery_json_walk_step(&values))
		if (compare_name(&keys, "pending") == 0)
			break;
	if (left < 0 || JBE_ISNULL(values.entry))
		return;
	if (!artery_json_walk_at_array(&values) || JsonContainerSize((const JsonbContainer *) values.at) != HOP_GRID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"pending\" of hop %d of ad \"%s\" is not an array of %d numbers", place, ad_id, HOP_GRID)));
	artery_json_walk_begin(&list, (const JsonbContainer *) values.at);
	for (i = 0; artery_json_walk_step(&list); i++)
		hop->pending[i] = Min(read_number(&list, MAX_LOGARITHM, "pending", ad_id), hop->entered);
}

/* Sums by name; what is not given is 0. Logarithms may be negative. */
static void
read_sums(void *sums, const SumKey *keys, int count, const JsonbContainer *object, const char *ad_id)
{
	JsonWalk	names;
	JsonWalk	values;
	int			left = JsonContainerSize(object);
	int			key = 0;

	artery_json_walk_begin(&names, object);
	artery_json_walk_values(&values, object);
	for (; left > 0; left--)
	{
		double	   *sum;

		artery_json_walk_step(&names);
		artery_json_walk_step(&values);
		while (key < count && compare_name(&names, keys[key].name) > 0)
			key++;
		if (key == count)
			return;
		if (compare_name(&names, keys[key].name) != 0 || JBE_ISNULL(values.entry))
			continue;
		sum = (double *) ((char *) sums + keys[key].offset);
		if (keys[key].is_signed && JBE_ISNUMERIC(values.entry))
			*sum = artery_decimal_double((Numeric) values.at);
		if (!keys[key].is_signed || !JBE_ISNUMERIC(values.entry) || !(fabs(*sum) <= MAX_LOGARITHM))
			*sum = read_number(&values, MAX_LOGARITHM, keys[key].name, ad_id);
	}
}

/* By length, then by bytes, as the keys of an object are in order. */
static int
compare_name(const JsonWalk *key, const char *name)
{
	uint32		length = strlen(name);

	if (key->length != length)
		return key->length < length ? -1 : 1;
	return memcmp(key->at, name, length);
}

static double
read_number(const JsonWalk *value, double largest, const char *name, const char *ad_id)
{
	char	   *what;
	double		number;

	if (JBE_ISNUMERIC(value->entry))
	{
		number = artery_decimal_double((Numeric) value->at);
		if (number >= 0 && number <= largest)
			return number;
	}
	what = psprintf("\"%s\" of ad \"%s\"", name, ad_id);
	if (!JBE_ISNUMERIC(value->entry))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is not a number", what),
				 errhint("Give a JSON number.")));
	number = artery_amount_double((Numeric) value->at, largest, what);
	pfree(what);
	return number;
}
