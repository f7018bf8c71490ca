/*
 * funnel.c
 *		What an ad's state says of the funnel behind the click.
 */
#include "artery.h"

#include "utils/builtins.h"

#include "decide/amount.h"
#include "decide/funnel.h"
#include "runtime/decimal.h"

#define MAX_SUM 1e15

typedef struct SumKey
{
	const char *name;
	size_t		offset;
} SumKey;

static const SumKey exposure_keys[] = {
	{"clicks", offsetof(Exposure, clicks)},
	{"impressions", offsetof(Exposure, impressions)},
	{"shown", offsetof(Exposure, shown)},
	{"shown_moment", offsetof(Exposure, shown_moment)},
	{"shown_square", offsetof(Exposure, shown_square)},
	{"clicks_moment", offsetof(Exposure, clicks_moment)},
	{"periods", offsetof(Exposure, periods)},
	{"log_spend", offsetof(Exposure, log_spend)},
	{"log_impressions", offsetof(Exposure, log_impressions)}
};

static const SumKey hop_keys[] = {
	{"entered", offsetof(Hop, entered)},
	{"reached", offsetof(Hop, reached)},
	{"duration", offsetof(Hop, duration)}
};

static void read_stages(Funnel *funnel, const JsonbValue *value, const char *ad_id);
static void read_hops(Funnel *funnel, const JsonbValue *value, const char *ad_id);
static void read_sums(void *sums, const SumKey *keys, int count, JsonbContainer *object, const char *ad_id);
static double read_number(const JsonbValue *value, double largest, const char *name, const char *ad_id);

bool
artery_funnel_key(const char *name)
{
	return strcmp(name, "stages") == 0 || strcmp(name, "won_value") == 0 || strcmp(name, "other_wins") == 0 ||
		strcmp(name, "exposure") == 0 || strcmp(name, "hops") == 0;
}

void
artery_funnel_read(Funnel *funnel, const char *name, const JsonbValue *value, const char *ad_id)
{
	if (strcmp(name, "won_value") == 0)
	{
		funnel->has_won_value = true;
		funnel->won_value = read_number(value, AMOUNT_MAX, name, ad_id);
	}
	else if (strcmp(name, "other_wins") == 0)
		funnel->other_wins = read_number(value, MAX_SUM, name, ad_id);
	else if (strcmp(name, "stages") == 0)
		read_stages(funnel, value, ad_id);
	else if (strcmp(name, "hops") == 0)
		read_hops(funnel, value, ad_id);
	else
	{
		if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"exposure\" of ad \"%s\" is not an object", ad_id)));
		read_sums(&funnel->exposure, exposure_keys, lengthof(exposure_keys), value->val.binary.data, ad_id);
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
		if (at >= 0 && strcmp(own.stages[at], model->stages[i]) == 0)
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
read_stages(Funnel *funnel, const JsonbValue *value, const char *ad_id)
{
	JsonbContainer *list;
	int			i;
	int			j;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"stages\" of ad \"%s\" is not an array", ad_id),
				 errhint("Give stages and counts in the order of the funnel: [[\"lead\", 12], [\"closed_won\", 1]].")));
	list = value->val.binary.data;
	if (JsonContainerSize(list) > DELAYED_MAX_HOPS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ad \"%s\" has too many stages", ad_id),
				 errdetail("There may be %d.", DELAYED_MAX_HOPS)));
	funnel->count = JsonContainerSize(list);
	for (i = 0; i < funnel->count; i++)
	{
		JsonbValue *pair = getIthJsonbValueFromContainer(list, i);
		JsonbValue *name = NULL;

		if (pair->type == jbvBinary && JsonContainerIsArray(pair->val.binary.data) &&
			JsonContainerSize(pair->val.binary.data) == 2)
			name = getIthJsonbValueFromContainer(pair->val.binary.data, 0);
		if (name == NULL || name->type != jbvString || name->val.string.len == 0 || name->val.string.len > ARTERY_MAX_ID)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("stage %d of ad \"%s\" is not a name with a count", i + 1, ad_id),
					 errhint("Give stages and counts in the order of the funnel: [[\"lead\", 12], [\"closed_won\", 1]].")));
		funnel->stages[i] = pnstrdup(name->val.string.val, name->val.string.len);
		funnel->reached[i] = read_number(getIthJsonbValueFromContainer(pair->val.binary.data, 1), MAX_SUM,
										 funnel->stages[i], ad_id);
		for (j = 0; j < i; j++)
			if (strcmp(funnel->stages[i], funnel->stages[j]) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("stage \"%s\" of ad \"%s\" is given more than once", funnel->stages[i], ad_id)));
	}
	/* who came further has been at every stage before */
	for (i = funnel->count - 2; i >= 0; i--)
		funnel->reached[i] = Max(funnel->reached[i], funnel->reached[i + 1]);
}

/* One object per stage: entered, reached, duration, and what is pending by the grid of means. */
static void
read_hops(Funnel *funnel, const JsonbValue *value, const char *ad_id)
{
	int			i;
	int			j;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data) ||
		JsonContainerSize(value->val.binary.data) > DELAYED_MAX_HOPS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"hops\" of ad \"%s\" is not an array of at most %d", ad_id, DELAYED_MAX_HOPS)));
	funnel->hops = JsonContainerSize(value->val.binary.data);
	funnel->hop = palloc0(Max(funnel->hops, 1) * sizeof(Hop));
	for (i = 0; i < funnel->hops; i++)
	{
		JsonbValue *hop = getIthJsonbValueFromContainer(value->val.binary.data, i);
		JsonbValue *pending;

		if (hop->type != jbvBinary || !JsonContainerIsObject(hop->val.binary.data))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("hop %d of ad \"%s\" is not an object", i + 1, ad_id)));
		read_sums(&funnel->hop[i], hop_keys, lengthof(hop_keys), hop->val.binary.data, ad_id);
		pending = getKeyJsonValueFromContainer(hop->val.binary.data, "pending", 7, NULL);
		if (pending == NULL || pending->type == jbvNull)
			continue;
		if (pending->type != jbvBinary || !JsonContainerIsArray(pending->val.binary.data) ||
			JsonContainerSize(pending->val.binary.data) != HOP_GRID)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"pending\" of hop %d of ad \"%s\" is not an array of %d numbers", i + 1, ad_id, HOP_GRID)));
		for (j = 0; j < HOP_GRID; j++)
			funnel->hop[i].pending[j] = Min(read_number(getIthJsonbValueFromContainer(pending->val.binary.data, j),
														MAX_SUM, "pending", ad_id), funnel->hop[i].entered);
	}
}

/* Sums by name; what is not given is 0. Logarithms may be negative. */
static void
read_sums(void *sums, const SumKey *keys, int count, JsonbContainer *object, const char *ad_id)
{
	int			i;

	for (i = 0; i < count; i++)
	{
		JsonbValue *value = getKeyJsonValueFromContainer(object, keys[i].name, strlen(keys[i].name), NULL);
		double		sign = 1;

		if (value == NULL || value->type == jbvNull)
			continue;
		if (strncmp(keys[i].name, "log_", 4) == 0 && value->type == jbvNumeric &&
			DatumGetBool(DirectFunctionCall2(numeric_lt, NumericGetDatum(value->val.numeric),
											 NumericGetDatum(int64_to_numeric(0)))))
		{
			value->val.numeric = DatumGetNumeric(DirectFunctionCall1(numeric_uminus, NumericGetDatum(value->val.numeric)));
			sign = -1;
		}
		*(double *) ((char *) sums + keys[i].offset) = sign * read_number(value, 1e30, keys[i].name, ad_id);
	}
}

static double
read_number(const JsonbValue *value, double largest, const char *name, const char *ad_id)
{
	char	   *what;
	double		number;

	if (value->type == jbvNumeric)
	{
		number = artery_decimal_double(value->val.numeric);
		if (number >= 0 && number <= largest)
			return number;
	}
	what = psprintf("\"%s\" of ad \"%s\"", name, ad_id);
	if (value->type != jbvNumeric)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is not a number", what),
				 errhint("Give a JSON number.")));
	number = artery_amount_double(value->val.numeric, largest, what);
	pfree(what);
	return number;
}
