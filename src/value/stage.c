/*
 * stage.c
 *		What a stage of the funnel is worth.
 *
 * A tenant's own stage values lie over its template's, stage by stage and field
 * by field; its aliases are added to the template's. A name or alias that the
 * tenant uses itself is taken from the template's stage that had it as an alias:
 * what the tenant says about its own funnel wins.
 */
#include "artery.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "value/stage.h"

#define MAX_STAGE_VALUE INT64CONST(1000000000000)
#define KNOWN_KEYS "value, confidence, description, aliases, won"

PG_FUNCTION_INFO_V1(artery_check_stages);

static void overlay_stages(ArteryTenant *tenant, Jsonb *values);
static void parse_stage(ArteryStage *stage, JsonbValue *definition);
static void drop_incomplete(ArteryTenant *tenant);
static void check_complete(const ArteryTenant *tenant);
static void check_unique(const ArteryTenant *tenant);
static int	compare_stages(const void *left, const void *right);

void
artery_stages_build(ArteryTenant *tenant, Jsonb *template, Jsonb *own)
{
	tenant->nstages = 0;
	tenant->stages = NULL;
	if (template != NULL)
		overlay_stages(tenant, template);
	if (own != NULL)
		overlay_stages(tenant, own);
	drop_incomplete(tenant);
	if (tenant->nstages > 1)
		qsort(tenant->stages, tenant->nstages, sizeof(ArteryStage), compare_stages);
}

static bool
has_name(const ArteryStage *stage, const char *name, int (*compare) (const char *, const char *))
{
	int			i;

	if (compare(stage->name, name) == 0)
		return true;
	for (i = 0; i < stage->nalias; i++)
		if (compare(stage->alias[i], name) == 0)
			return true;
	return false;
}

/* Exactly first, so that a spelling can never hide another stage; then in any case. */
const ArteryStage *
artery_stage_find(const ArteryTenant *tenant, const char *name)
{
	int			i;

	for (i = 0; i < tenant->nstages; i++)
		if (has_name(&tenant->stages[i], name, strcmp))
			return &tenant->stages[i];
	for (i = 0; i < tenant->nstages; i++)
		if (has_name(&tenant->stages[i], name, pg_strcasecmp))
			return &tenant->stages[i];
	return NULL;
}

char *
artery_stage_names(const ArteryTenant *tenant)
{
	StringInfoData names;
	int			i;

	initStringInfo(&names);
	for (i = 0; i < tenant->nstages; i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", tenant->stages[i].name);
	return names.data;
}

const ArteryStage *
artery_stage_get(const ArteryTenant *tenant, const char *name)
{
	const ArteryStage *stage = artery_stage_find(tenant, name);

	if (stage == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown stage \"%.*s\" of tenant \"%s\"", pg_mbcliplen(name, strlen(name), ARTERY_MAX_ID), name,
						tenant->tenant_id),
				 tenant->nstages > 0 ? errdetail("Known stages: %s.", artery_stage_names(tenant))
				 : errdetail("The tenant has no stages yet."),
				 errhint("artery.set_stage_values() adds a stage, or an alias to a stage.")));
	return stage;
}

/*
 * artery.check_stages(template_values, own_values): error unless own_values are
 * valid stage values that together with the template's make complete stages.
 */
Datum
artery_check_stages(PG_FUNCTION_ARGS)
{
	ArteryTenant merged = {0};

	if (PG_ARGISNULL(1))
		PG_RETURN_VOID();
	if (!PG_ARGISNULL(0))
		overlay_stages(&merged, PG_GETARG_JSONB_P(0));
	overlay_stages(&merged, PG_GETARG_JSONB_P(1));
	check_complete(&merged);
	check_unique(&merged);
	PG_RETURN_VOID();
}

/* Smaller value first; among equals by name, so that the order never varies. */
static int
compare_stages(const void *left, const void *right)
{
	const ArteryStage *a = left;
	const ArteryStage *b = right;
	int			order = DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a->value),
														  NumericGetDatum(b->value)));

	return order != 0 ? order : strcmp(a->name, b->name);
}

static void
refuse_field(const char *stage, const char *field, const char *rule)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid %s of stage \"%s\"", field, stage),
			 errdetail("%s", rule),
			 errhint("A stage looks like {\"value\": 2250, \"confidence\": 0.60, \"description\": \"...\", "
					 "\"aliases\": [\"...\"], \"won\": false}.")));
}

/* The text of a name; error where it is empty or too long. */
static char *
take_name(const char *text, int length, const char *what)
{
	if (length == 0 || length > ARTERY_MAX_ID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s has 1 to %d bytes", what, ARTERY_MAX_ID),
				 errhint("Names of stages are the CRM's ids or names of your own.")));
	return pnstrdup(text, length);
}

static int
find_by_name(const ArteryTenant *tenant, const char *name)
{
	int			i;

	for (i = 0; i < tenant->nstages; i++)
		if (strcmp(tenant->stages[i].name, name) == 0)
			return i;
	return -1;
}

static void
remove_stage(ArteryTenant *tenant, int index)
{
	tenant->nstages--;
	memmove(&tenant->stages[index], &tenant->stages[index + 1],
			(tenant->nstages - index) * sizeof(ArteryStage));
}

/* Won by their name where nothing is said: the stages that end a sale. */
static bool
is_won_name(const char *name)
{
	return pg_strcasecmp(name, "closed_won") == 0 || pg_strcasecmp(name, "closedwon") == 0 ||
		pg_strcasecmp(name, "purchase") == 0;
}

static ArteryStage *
add_stage(ArteryTenant *tenant, char *name)
{
	ArteryStage *stage;

	if (tenant->stages == NULL)
		tenant->stages = palloc(sizeof(ArteryStage));
	else
		tenant->stages = repalloc(tenant->stages, (tenant->nstages + 1) * sizeof(ArteryStage));
	stage = &tenant->stages[tenant->nstages++];
	memset(stage, 0, sizeof(ArteryStage));
	stage->name = name;
	stage->won = is_won_name(name);
	return stage;
}

/* Take a name from the aliases of every stage but one. */
static void
release_alias(ArteryTenant *tenant, int keep, const char *name)
{
	int			i;
	int			j;

	for (i = 0; i < tenant->nstages; i++)
	{
		ArteryStage *stage = &tenant->stages[i];

		if (i == keep)
			continue;
		for (j = stage->nalias - 1; j >= 0; j--)
		{
			if (pg_strcasecmp(stage->alias[j], name) != 0)
				continue;
			stage->nalias--;
			memmove(&stage->alias[j], &stage->alias[j + 1], (stage->nalias - j) * sizeof(char *));
		}
	}
}

/* Free the names that a layer of values uses from the aliases of the layer below. */
static void
release_names(ArteryTenant *tenant, Jsonb *values)
{
	JsonbIterator *iterator = JsonbIteratorInit(&values->root);
	JsonbIteratorToken token;
	JsonbValue	item;
	int			keep = -1;
	int			depth = 0;

	/* Deeper than the definitions' aliases there is nothing in valid values. */
	while ((token = JsonbIteratorNext(&iterator, &item, false)) != WJB_DONE)
	{
		if (token == WJB_BEGIN_OBJECT || token == WJB_BEGIN_ARRAY)
			depth++;
		else if (token == WJB_END_OBJECT || token == WJB_END_ARRAY)
			depth--;
		else if (token == WJB_KEY && depth == 1)
		{
			char	   *name = pnstrdup(item.val.string.val, item.val.string.len);

			keep = find_by_name(tenant, name);
			release_alias(tenant, keep, name);
		}
		else if (token == WJB_ELEM && depth == 3 && item.type == jbvString)
			release_alias(tenant, keep, pnstrdup(item.val.string.val, item.val.string.len));
	}
}

/* Lay stage values over the stages there are; null takes a stage away. */
static void
overlay_stages(ArteryTenant *tenant, Jsonb *values)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	definition;

	if (!JB_ROOT_IS_OBJECT(values))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("stage values must be a JSON object"),
				 errhint("For example {\"lead\": {\"value\": 0, \"confidence\": 0.10}}.")));
	release_names(tenant, values);
	iterator = JsonbIteratorInit(&values->root);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		char	   *name;
		int			index;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &definition, true);
		name = take_name(key.val.string.val, key.val.string.len, "the name of a stage");
		index = find_by_name(tenant, name);
		if (definition.type == jbvNull)
		{
			if (index >= 0)
				remove_stage(tenant, index);
			continue;
		}
		if (definition.type != jbvBinary || !JsonContainerIsObject(definition.val.binary.data))
			refuse_field(name, "definition", "It must be an object, or null to take a stage of the template away.");
		parse_stage(index >= 0 ? &tenant->stages[index] : add_stage(tenant, name), &definition);
	}
}

/* A number between 0 and a maximum, in memory of its own. */
static Numeric
take_number(const ArteryStage *stage, const char *field, const JsonbValue *value, int64 maximum,
			const char *detail, const char *hint)
{
	Datum		number = NumericGetDatum(value->val.numeric);

	if (value->type != jbvNumeric)
		refuse_field(stage->name, field, "It must be a number.");
	if (DatumGetBool(DirectFunctionCall2(numeric_lt, number, NumericGetDatum(int64_to_numeric(0)))) ||
		DatumGetBool(DirectFunctionCall2(numeric_gt, number, NumericGetDatum(int64_to_numeric(maximum)))))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s %.40s is out of range for stage \"%s\"", field,
						DatumGetCString(DirectFunctionCall1(numeric_out, number)), stage->name),
				 errdetail("%s", detail),
				 errhint("%s", hint)));
	return DatumGetNumericCopy(number);
}

static void
add_aliases(ArteryStage *stage, const JsonbValue *value)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	item;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		refuse_field(stage->name, "aliases", "They must be an array of texts.");
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &item, true)) != WJB_DONE)
	{
		char	   *alias;

		if (token != WJB_ELEM)
			continue;
		if (item.type == jbvNumeric)	/* a stage id given as a number is understood */
			alias = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(item.val.numeric)));
		else if (item.type == jbvString)
			alias = take_name(item.val.string.val, item.val.string.len, "an alias of a stage");
		else
			refuse_field(stage->name, "aliases", "They must be an array of texts.");
		if (has_name(stage, alias, strcmp))
			continue;
		if (stage->alias == NULL)
			stage->alias = palloc(sizeof(char *));
		else
			stage->alias = repalloc(stage->alias, (stage->nalias + 1) * sizeof(char *));
		stage->alias[stage->nalias++] = alias;
	}
}

static bool
key_is(const JsonbValue *key, const char *name)
{
	return key->val.string.len == (int) strlen(name) && strncmp(key->val.string.val, name, key->val.string.len) == 0;
}

/* Take over the fields that a definition has; what it does not say stays. */
static void
parse_stage(ArteryStage *stage, JsonbValue *definition)
{
	JsonbIterator *iterator = JsonbIteratorInit(definition->val.binary.data);
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (key_is(&key, "value"))
			stage->value = take_number(stage, "value", &value, MAX_STAGE_VALUE,
									   "A value is an amount between 0 and 1e12 in the account's currency.",
									   "A lost deal is worth 0.");
		else if (key_is(&key, "confidence"))
			stage->confidence = take_number(stage, "confidence", &value, 1, "Confidence is a share between 0 and 1.",
											"For 60 percent, give 0.6.");
		else if (key_is(&key, "description"))
		{
			if (value.type != jbvNull && (value.type != jbvString || value.val.string.len > ARTERY_MAX_TEXT))
				refuse_field(stage->name, "description", "It must be a text.");
			stage->description = value.type == jbvNull ? NULL : pnstrdup(value.val.string.val, value.val.string.len);
		}
		else if (key_is(&key, "aliases"))
			add_aliases(stage, &value);
		else if (key_is(&key, "won"))
		{
			if (value.type != jbvBool)
				refuse_field(stage->name, "won", "It must be true or false.");
			stage->won = value.val.boolean;
		}
		else
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown key \"%s\" of stage \"%s\"",
							pnstrdup(key.val.string.val, Min(key.val.string.len, ARTERY_MAX_ID)), stage->name),
					 errhint("Known keys: %s.", KNOWN_KEYS)));
	}
}

/*
 * A stage without value or confidence cannot come from checked values, unless
 * an update of artery took it out of the template: then it is unknown, not 0.
 */
static void
drop_incomplete(ArteryTenant *tenant)
{
	int			i;

	for (i = tenant->nstages - 1; i >= 0; i--)
		if (tenant->stages[i].value == NULL || tenant->stages[i].confidence == NULL)
			remove_stage(tenant, i);
}

static void
check_complete(const ArteryTenant *tenant)
{
	int			i;

	for (i = 0; i < tenant->nstages; i++)
	{
		const ArteryStage *stage = &tenant->stages[i];

		if (stage->value == NULL)
			refuse_field(stage->name, "definition", "A stage that is not in the template needs a value.");
		if (stage->confidence == NULL)
			refuse_field(stage->name, "definition", "A stage that is not in the template needs a confidence.");
	}
}

/* No two stages may share a name or alias, in whatever case. */
static void
check_unique(const ArteryTenant *tenant)
{
	int			i;
	int			j;
	int			k;

	for (i = 0; i < tenant->nstages; i++)
	{
		const ArteryStage *stage = &tenant->stages[i];

		for (j = 0; j < tenant->nstages; j++)
		{
			if (i == j)
				continue;
			for (k = -1; k < stage->nalias; k++)
			{
				const char *name = k < 0 ? stage->name : stage->alias[k];

				if (has_name(&tenant->stages[j], name, pg_strcasecmp))
					ereport(ERROR,
							(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							 errmsg("\"%s\" names both stage \"%s\" and stage \"%s\"", name, stage->name,
									tenant->stages[j].name),
							 errdetail("Names and aliases of stages are unique within a tenant, in any case."),
							 errhint("Leave it out of one of them.")));
			}
		}
	}
}
