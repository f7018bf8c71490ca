/*
 * ad_case.c
 *		One ad to be decided on: read from JSON, assessed, explained.
 */
#include "artery.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "decide/ad_case.h"
#include "decide/amount.h"

#define MAX_COUNT 1e15
#define MAX_AGE_HOURS 1e7
#define SIGNIFICANT_PERCENT 20.0
#define EARLY_CTR_WEIGHT 0.7
#define HEAVY_FATIGUE 0.5

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
	{"dna_score", KIND_SHARE, false, offsetof(AdCase, input.dna_score), 1, AMOUNT_NEAREST},
	{"current_budget", KIND_MONEY, false, offsetof(AdCase, current), 0, AMOUNT_NEAREST},
	{"min_budget", KIND_MONEY, false, offsetof(AdCase, minimum), 0, AMOUNT_UP},
	{"max_budget", KIND_MONEY, false, offsetof(AdCase, maximum), 0, AMOUNT_DOWN},
};

static double clamped_share(Numeric value);
static void read_ad_id(JsonbContainer *state, AdCase *ad);
static void read_key(const JsonbValue *key, const JsonbValue *value, int digits, AdCase *ad, bool *seen);
static void check_complete(const AdCase *ad, const bool *seen);
static void fill_current(AdCase *ad, int digits);
static void check_repeated(AdCase *ads, int n);
static int	compare_ids(const void *left, const void *right);

AdCase *
artery_ad_cases_read(Jsonb *ad_states, int digits, int *n)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	element;
	AdCase	   *ads;
	int			count = 0;

	if (!JB_ROOT_IS_ARRAY(ad_states) || JB_ROOT_IS_SCALAR(ad_states))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ad_states must be a JSON array"),
				 errhint("Give one object per ad, for example [{\"ad_id\": \"a\", \"impressions\": 5000, ...}].")));
	ads = palloc_extended((JB_ROOT_COUNT(ad_states) + 1) * sizeof(AdCase), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	iterator = JsonbIteratorInit(&ad_states->root);
	(void) JsonbIteratorNext(&iterator, &element, false);
	while ((token = JsonbIteratorNext(&iterator, &element, true)) == WJB_ELEM)
	{
		CHECK_FOR_INTERRUPTS();
		if (element.type != jbvBinary || !JsonContainerIsObject(element.val.binary.data))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("element %d of ad_states is not an object", count + 1)));
		artery_ad_case_read(element.val.binary.data, digits, &ads[count]);
		count++;
	}
	check_repeated(ads, count);
	*n = count;
	return ads;
}

void
artery_ad_case_read(JsonbContainer *state, int digits, AdCase *ad)
{
	bool		seen[lengthof(state_keys)] = {false};
	JsonbIterator *iterator = JsonbIteratorInit(state);
	JsonbValue	key;
	JsonbValue	value;

	memset(ad, 0, sizeof(AdCase));
	ad->maximum = PG_INT64_MAX;
	read_ad_id(state, ad);
	(void) JsonbIteratorNext(&iterator, &key, false);
	while (JsonbIteratorNext(&iterator, &key, true) == WJB_KEY)
	{
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (value.type != jbvNull)
			read_key(&key, &value, digits, ad, seen);
	}
	check_complete(ad, seen);
	if (ad->funnel != NULL)
		artery_funnel_check(ad->funnel, ad->ad_id);
	fill_current(ad, digits);
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
	}
}

void
artery_ad_case_assess(AdCase *ad, double max_change)
{
	artery_blended_score(&ad->input, &ad->score);
	ad->confidence = artery_blended_confidence(&ad->input, &ad->score);
	ad->low = ad->minimum;
	ad->high = ad->maximum;
	if (max_change >= 0)
	{
		/* a hair of tolerance: 0.5 * 0.30 must not become 0.16 at the lower end */
		int64		least = (int64) ceil(Max(ad->current * (1.0 - max_change) - 1e-6, 0.0));
		int64		most = (int64) floor(Min(ad->current * (1.0 + max_change) + 1e-6, 1e17));

		ad->low = Min(Max(ad->low, least), most);
		ad->high = Max(Min(ad->high, most), least);
	}
}

bool
artery_ad_case_change(const AdCase *ad, double *percent)
{
	*percent = 0;
	if (ad->current == 0)
		return ad->budget == 0;
	*percent = 100.0 * (double) (ad->budget - ad->current) / (double) ad->current;
	return true;
}

char *
artery_ad_case_reason(const AdCase *ad)
{
	double		ctr = ad->score.ctr * 100.0;
	double		roas = ad->score.roas;
	double		change;

	if (!artery_ad_case_change(ad, &change))
		change = 100.0;			/* from nothing to something */
	if (change > 0)
	{
		if (ad->score.ctr_weight > EARLY_CTR_WEIGHT)
			return psprintf(change > SIGNIFICANT_PERCENT ?
							"Strong CTR (%.1f%%) in early phase (age: %.1fh). Scaling up." :
							"Fair CTR (%.1f%%) in early phase (age: %.1fh). Scaling gently.",
							ctr, ad->input.age_hours);
		if (roas < 1.0)
			return psprintf("Pipeline ROAS (%.2fx) below cost, yet its share is above its budget. Trying more.", roas);
		return psprintf(change > SIGNIFICANT_PERCENT ?
						"Strong Pipeline ROAS (%.2fx). Scaling up." :
						"Fair Pipeline ROAS (%.2fx). Scaling gently.", roas);
	}
	if (change < -SIGNIFICANT_PERCENT)
		return psprintf("Poor performance (CTR: %.1f%%, ROAS: %.2fx). Cutting budget.", ctr, roas);
	if (ad->score.decay < HEAVY_FATIGUE)
		return psprintf("Ad fatigue (decay: %.2f). Reallocating budget to fresher ads.", ad->score.decay);
	return pstrdup("Below-average performance. Reallocating budget to winners.");
}

/* Numbers in JSON are finite as numerics, but may be infinite as doubles. */
static double
clamped_share(Numeric value)
{
	double		share = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value)));

	return Min(Max(share, 0.0), 1.0);
}

static void
read_ad_id(JsonbContainer *state, AdCase *ad)
{
	JsonbValue *value = getKeyJsonValueFromContainer(state, "ad_id", 5, NULL);

	if (value == NULL || value->type != jbvString || value->val.string.len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an ad state has no ad_id"),
				 errdetail("\"ad_id\" must be a text that is not empty."),
				 errhint("For example {\"ad_id\": \"ad_123\", \"impressions\": 5000, ...}.")));
	if (value->val.string.len > ARTERY_MAX_ID)
		ereport(ERROR,
				(errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg("ad_id is too long"),
				 errdetail("It may have %d bytes.", ARTERY_MAX_ID)));
	ad->ad_id = pnstrdup(value->val.string.val, value->val.string.len);
	ad->ad_id_length = value->val.string.len;
}

static void
read_key(const JsonbValue *key, const JsonbValue *value, int digits, AdCase *ad, bool *seen)
{
	const char *name = key->val.string.val;
	int			length = key->val.string.len;
	char	   *what;
	int			i;

	if (length == 5 && strncmp(name, "ad_id", 5) == 0)
		return;
	for (i = 0; i < (int) lengthof(state_keys); i++)
		if ((int) strlen(state_keys[i].name) == length && strncmp(state_keys[i].name, name, length) == 0)
			break;
	if (i == lengthof(state_keys))
	{
		char	   *unknown = pnstrdup(name, length);

		if (artery_funnel_key(unknown))
		{
			if (ad->funnel == NULL)
				ad->funnel = palloc0(sizeof(Funnel));
			artery_funnel_read(ad->funnel, unknown, value, ad->ad_id);
			pfree(unknown);
			return;
		}
		ad->ignored = ad->ignored == NULL ? unknown : psprintf("%s, %s", ad->ignored, unknown);
		return;
	}
	seen[i] = true;
	if (value->type != jbvNumeric)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" of ad \"%s\" is not a number", state_keys[i].name, ad->ad_id),
				 errhint("Give a JSON number, or a number as text.")));
	what = psprintf("\"%s\" of ad \"%s\"", state_keys[i].name, ad->ad_id);
	if (state_keys[i].kind == KIND_NUMBER)
		*(double *) ((char *) ad + state_keys[i].offset) =
			artery_amount_double(value->val.numeric, state_keys[i].largest, what);
	else if (state_keys[i].kind == KIND_SHARE)
		*(double *) ((char *) ad + state_keys[i].offset) = clamped_share(value->val.numeric);
	else
		*(int64 *) ((char *) ad + state_keys[i].offset) =
			artery_amount_units(value->val.numeric, digits, state_keys[i].rounding, what);
	if (state_keys[i].offset == offsetof(AdCase, current))
		ad->has_current = true;
	pfree(what);
}

static void
check_complete(const AdCase *ad, const bool *seen)
{
	int			i;

	for (i = 0; i < (int) lengthof(state_keys); i++)
		if (state_keys[i].required && !seen[i])
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
	if (!ad->has_current)
		ad->current = (int64) rint(ad->input.spend / Max(ad->input.age_hours / 24.0, 1.0) * pow(10.0, digits));
}

static void
check_repeated(AdCase *ads, int n)
{
	AdCase	  **sorted = palloc_extended(Max(n, 1) * sizeof(AdCase *), MCXT_ALLOC_HUGE);
	int			i;

	for (i = 0; i < n; i++)
		sorted[i] = &ads[i];
	qsort(sorted, n, sizeof(AdCase *), compare_ids);
	for (i = 1; i < n; i++)
		if (compare_ids(&sorted[i - 1], &sorted[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("ad \"%s\" is given more than once", sorted[i]->ad_id),
					 errhint("Add the counts of an ad up before.")));
	pfree(sorted);
}

static int
compare_ids(const void *left, const void *right)
{
	const AdCase *a = *(AdCase *const *) left;
	const AdCase *b = *(AdCase *const *) right;

	return strcmp(a->ad_id, b->ad_id);
}
