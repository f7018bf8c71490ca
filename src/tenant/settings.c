/*
 * settings.c
 *		The settings of a tenant: names, types, ranges, defaults, in one list.
 *
 * The list below is the only place that knows them: configure_tenant checks
 * against it, v_tenant_settings shows it, and C reads the filled struct.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"

#include "deliver/currency.h"
#include "tenant/settings.h"

typedef enum SettingType
{
	SETTING_BOOLEAN,
	SETTING_INTEGER,
	SETTING_NUMBER,
	SETTING_MONEY,				/* decimal, exact */
	SETTING_TEXT,
	SETTING_CHOICE,
	SETTING_IDS					/* array of positive integers */
} SettingType;

typedef struct SettingDefinition
{
	const char *name;
	SettingType type;
	const char *boot;			/* default as JSON */
	double		minimum;
	double		maximum;
	const char *choices;		/* separated by | */
	const char *unit;
	size_t		offset;			/* in TenantSettings; NO_FIELD: read by SQL only */
	const char *description;
} SettingDefinition;

#define FIELD(name) offsetof(TenantSettings, name)
#define NO_FIELD ((size_t) -1)
#define MAX_MONEY 1e12

static const SettingDefinition definitions[] = {
	{"attribution_model", SETTING_CHOICE, "\"calibrated\"", 0, 0, "calibrated|layered", NULL, FIELD(attribution_model),
	"how a conversion finds its click"},
	{"attribution_threshold", SETTING_NUMBER, "0.5", 0, 1, NULL, NULL, FIELD(attribution_threshold),
	"least confidence at which a conversion counts as attributed (calibrated model)"},
	{"auto_approve_confidence", SETTING_NUMBER, "0.7", 0, 1, NULL, NULL, FIELD(auto_approve_confidence),
	"least confidence of a change approved without a person"},
	{"auto_approve_percent", SETTING_NUMBER, "0", 0, 100, NULL, "percent", FIELD(auto_approve_percent),
	"largest change approved without a person; 0 is none"},
	{"click_window_days", SETTING_NUMBER, "7", 0.01, 90, NULL, "days", FIELD(click_window_days),
	"attribution window"},
	{"consent_required", SETTING_BOOLEAN, "false", 0, 0, NULL, NULL, FIELD(consent_required),
	"keep device data of a click only with consent"},
	{"cooldown_hours", SETTING_NUMBER, "5", 0, 168, NULL, "hours", NO_FIELD,
	"after a change of a budget owner, or a person's no to one, allocations ask for no other of it for so long"},
	{"currency", SETTING_TEXT, "\"USD\"", 0, 0, NULL, NULL, FIELD(currency),
	"currency of the ad account"},
	{"daily_budget", SETTING_MONEY, NULL, 0, MAX_MONEY, NULL, "account currency a day", FIELD(daily_budget),
	"what the tenant spends a day; more than this and its tolerance is never set in sum"},
	{"daily_budget_tolerance_percent", SETTING_NUMBER, "5", 0, 100, NULL, "percent",
		FIELD(daily_budget_tolerance_percent),
	"how far the sum of the budgets may exceed daily_budget"},
	{"dry_run", SETTING_BOOLEAN, "true", 0, 0, NULL, NULL, FIELD(dry_run),
	"go through everything and send nothing"},
	{"dry_run_validate", SETTING_BOOLEAN, "false", 0, 0, NULL, NULL, FIELD(dry_run_validate),
	"in a dry run, let Meta check what would be sent (validate_only)"},
	{"enabled", SETTING_BOOLEAN, "true", 0, 0, NULL, NULL, FIELD(enabled),
	"off stops all sending for the tenant"},
	{"exploration_days", SETTING_NUMBER, "7", 0, 365, NULL, "days", NO_FIELD,
	"until this age an ad is new; it is so too until 100 is spent on it"},
	{"exploration_percent", SETTING_NUMBER, "0", 0, 100, NULL, "percent", NO_FIELD,
	"least share of the total that allocations give to new ads together"},
	{"fuzz_percent", SETTING_NUMBER, "3", 0, 10, NULL, "percent", FIELD(fuzz_percent),
	"random deviation drawn when a budget is proposed; 0 is none"},
	{"high_value", SETTING_MONEY, "1000", 0, MAX_MONEY, NULL, "account currency", FIELD(high_value),
	"incremental value above which a conversion asks for a budget decision at once"},
	{"high_value_confidence", SETTING_NUMBER, "0.5", 0, 1, NULL, NULL, FIELD(high_value_confidence),
	"least confidence of such a conversion"},
	{"hold_while_learning", SETTING_BOOLEAN, "true", 0, 0, NULL, NULL, FIELD(hold_while_learning),
	"raise no budget of an ad set in Meta's learning phase; allocations hold it"},
	{"hubspot_allow_v1", SETTING_BOOLEAN, "false", 0, 0, NULL, NULL, FIELD(hubspot_allow_v1),
	"accept HubSpot signatures v1 and v2, which can be replayed"},
	{"hubspot_click_id_property", SETTING_TEXT, "\"artery_click_id\"", 0, 0, NULL, NULL, FIELD(hubspot_click_id_property),
	"property of HubSpot's contacts that holds the click_id, filled by a hidden field of the form"},
	{"hubspot_portal_ids", SETTING_IDS, "[]", 1, 9e15, NULL, NULL, NO_FIELD,
	"HubSpot portals of the tenant"},
	{"hubspot_webhook_url", SETTING_TEXT, NULL, 0, 0, NULL, NULL, FIELD(hubspot_webhook_url),
	"address that HubSpot calls, as it signs it"},
	{"id_window_days", SETTING_NUMBER, NULL, 0.01, 90, NULL, "days", FIELD(id_window_days),
	"attribution window where the click id survived; click_window_days when not set"},
	{"jitter_ms_max", SETTING_INTEGER, "18000", 0, 3600000, NULL, "milliseconds", FIELD(jitter_ms_max),
	"longest random delay before a change is sent"},
	{"jitter_ms_min", SETTING_INTEGER, "3000", 0, 3600000, NULL, "milliseconds", FIELD(jitter_ms_min),
	"shortest random delay before a change is sent"},
	{"max_budget", SETTING_MONEY, NULL, 0, MAX_MONEY, NULL, "account currency a day", FIELD(max_budget),
	"most a budget owner may have"},
	{"max_step_percent", SETTING_NUMBER, NULL, 0, 1000, NULL, "percent", NO_FIELD,
	"most by which an allocation may change the budget of an owner; without it larger changes ramp"},
	{"meta_ad_account_id", SETTING_TEXT, NULL, 0, 0, NULL, NULL, FIELD(meta_ad_account_id),
	"ad account, digits with or without act_"},
	{"meta_app_id", SETTING_TEXT, NULL, 0, 0, NULL, NULL, FIELD(meta_app_id),
	"Meta app whose quota is used"},
	{"min_budget", SETTING_MONEY, NULL, 0, MAX_MONEY, NULL, "account currency a day", FIELD(min_budget),
	"least a budget owner may have"},
	{"mode", SETTING_CHOICE, "\"pipeline\"", 0, 0, "pipeline|direct", NULL, FIELD(mode),
	"decide by the value of the pipeline or by cash revenue"},
	{"owner_changes_per_hour", SETTING_INTEGER, "4", 1, 4, NULL, "changes", FIELD(owner_changes_per_hour),
	"budget changes per budget owner in any 60 minutes; Meta allows 4"},
	{"rate_limit_per_hour", SETTING_INTEGER, "15", 0, 1000, NULL, "actions", FIELD(rate_limit_per_hour),
	"actions per campaign in any 60 minutes"},
	{"shadow", SETTING_BOOLEAN, "false", 0, 0, NULL, NULL, NO_FIELD,
	"allocations propose nothing; what they would have done is kept and compared (v_shadow_performance)"},
	{"time_zone", SETTING_TEXT, "\"UTC\"", 0, 0, NULL, NULL, FIELD(time_zone),
	"time zone of the ad account: where its days begin"},
	{"velocity_percent", SETTING_NUMBER, "20", 0.1, 100, NULL, "percent", FIELD(velocity_percent),
	"largest distance from any budget in force within the velocity window"},
	{"velocity_window_hours", SETTING_NUMBER, "6", 0.001, 168, NULL, "hours", FIELD(velocity_window_hours),
	"length of the velocity window"},
};

static const char *const type_names[] = {"boolean", "integer", "number", "money", "text", "choice", "ids"};

PG_FUNCTION_INFO_V1(artery_check_settings);
PG_FUNCTION_INFO_V1(artery_setting_definitions);

static const SettingDefinition *find_definition(const char *name, int length);
static void check_value(const SettingDefinition *definition, JsonbValue *value);
static void check_text(const SettingDefinition *definition, JsonbValue *value);
static void store_field(TenantSettings *settings, const SettingDefinition *definition, JsonbValue *value);
static void refuse(const SettingDefinition *definition, const char *rule) pg_attribute_noreturn();

static double
numeric_to_double(Numeric value)
{
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(value)));
}

static char *
known_keys(void)
{
	StringInfoData buffer;
	int			i;

	initStringInfo(&buffer);
	for (i = 0; i < (int) lengthof(definitions); i++)
		appendStringInfo(&buffer, "%s%s", i > 0 ? ", " : "", definitions[i].name);
	return buffer.data;
}

/*
 * artery.check_settings(jsonb): error on an unknown key or a value out of
 * range; returns the object without nulls and with ids in their plain form.
 */
Datum
artery_check_settings(PG_FUNCTION_ARGS)
{
	Jsonb	   *settings = PG_GETARG_JSONB_P(0);
	JsonbParseState *state = NULL;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;
	TenantSettings filled;
	Jsonb	   *result;

	if (!JB_ROOT_IS_OBJECT(settings))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("settings must be a JSON object"),
				 errhint("For example {\"daily_budget\": 500, \"dry_run\": true}.")));

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	iterator = JsonbIteratorInit(&settings->root);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		const SettingDefinition *definition;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		definition = find_definition(key.val.string.val, key.val.string.len);
		if (definition == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown setting \"%s\"", pnstrdup(key.val.string.val, key.val.string.len)),
					 errhint("Known settings: %s.", known_keys())));
		if (value.type == jbvNull)
			continue;
		check_value(definition, &value);
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	result = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));

	artery_settings_fill(&filled, result);
	if (filled.jitter_ms_min > filled.jitter_ms_max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("jitter_ms_min %d is above jitter_ms_max %d", filled.jitter_ms_min, filled.jitter_ms_max),
				 errhint("Set both at once.")));
	if (filled.min_budget != NULL && filled.max_budget != NULL &&
		numeric_to_double(filled.min_budget) > numeric_to_double(filled.max_budget))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("min_budget is above max_budget"),
				 errhint("Set both at once; null takes a bound away.")));
	PG_RETURN_JSONB_P(result);
}

/* artery.setting_definitions(): the list above as rows */
Datum
artery_setting_definitions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			i;

	artery_begin_rows(fcinfo);
	for (i = 0; i < (int) lengthof(definitions); i++)
	{
		const SettingDefinition *definition = &definitions[i];
		bool		has_range = definition->maximum > definition->minimum;
		Datum		values[8];
		bool		nulls[8] = {false};

		values[0] = CStringGetTextDatum(definition->name);
		values[1] = CStringGetTextDatum(type_names[definition->type]);
		nulls[2] = definition->boot == NULL;
		if (!nulls[2])
			values[2] = DirectFunctionCall1(jsonb_in, CStringGetDatum(definition->boot));
		nulls[3] = nulls[4] = !has_range;
		values[3] = Float8GetDatum(definition->minimum);
		values[4] = Float8GetDatum(definition->maximum);
		nulls[5] = definition->choices == NULL;
		if (!nulls[5])
			values[5] = CStringGetTextDatum(definition->choices);
		nulls[6] = definition->unit == NULL;
		if (!nulls[6])
			values[6] = CStringGetTextDatum(definition->unit);
		values[7] = CStringGetTextDatum(definition->description);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

void
artery_settings_fill(TenantSettings *settings, Jsonb *own)
{
	int			i;

	memset(settings, 0, sizeof(TenantSettings));
	for (i = 0; i < (int) lengthof(definitions); i++)
	{
		const SettingDefinition *definition = &definitions[i];
		JsonbValue *value = NULL;

		if (definition->offset == NO_FIELD)
			continue;
		if (own != NULL)
			value = getKeyJsonValueFromContainer(&own->root, definition->name, strlen(definition->name), NULL);
		if (value == NULL && definition->boot != NULL)
		{
			Jsonb	   *boot = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(definition->boot)));

			value = getIthJsonbValueFromContainer(&boot->root, 0);
		}
		if (value != NULL)
			store_field(settings, definition, value);
	}
	if (settings->id_window_days == 0)
		settings->id_window_days = settings->click_window_days;
}

static const SettingDefinition *
find_definition(const char *name, int length)
{
	int			i;

	for (i = 0; i < (int) lengthof(definitions); i++)
		if ((int) strlen(definitions[i].name) == length && strncmp(definitions[i].name, name, length) == 0)
			return &definitions[i];
	return NULL;
}

static int
choice_index(const char *choices, const char *text, int length)
{
	int			index = 0;

	while (choices != NULL)
	{
		const char *end = strchr(choices, '|');
		int			size = end ? (int) (end - choices) : (int) strlen(choices);

		if (size == length && strncmp(choices, text, size) == 0)
			return index;
		choices = end ? end + 1 : NULL;
		index++;
	}
	return -1;
}

static void
refuse(const SettingDefinition *definition, const char *rule)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for setting \"%s\"", definition->name),
			 errdetail("%s", rule),
			 errhint("It is: %s.", definition->description)));
}

static void
check_range(const SettingDefinition *definition, Numeric number)
{
	double		value;

	if (numeric_is_nan(number) || numeric_is_inf(number))
		refuse(definition, "It must be a finite number.");
	value = numeric_to_double(number);
	if (value < definition->minimum || value > definition->maximum)
		refuse(definition, psprintf("It must be between %g and %g%s%s.", definition->minimum, definition->maximum,
									definition->unit ? " " : "", definition->unit ? definition->unit : ""));
	if (definition->type == SETTING_INTEGER || definition->type == SETTING_IDS)
	{
		if (value != (double) (int64) value)
			refuse(definition, "It must be a whole number.");
	}
}

static void
check_ids(const SettingDefinition *definition, JsonbValue *value)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	element;

	if (value->type != jbvBinary || !JsonContainerIsArray(value->val.binary.data))
		refuse(definition, "It must be an array of positive whole numbers.");
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (element.type != jbvNumeric)
			refuse(definition, "It must be an array of positive whole numbers.");
		check_range(definition, element.val.numeric);
	}
}

static void
check_value(const SettingDefinition *definition, JsonbValue *value)
{
	switch (definition->type)
	{
		case SETTING_BOOLEAN:
			if (value->type != jbvBool)
				refuse(definition, "It must be true or false.");
			break;
		case SETTING_INTEGER:
		case SETTING_NUMBER:
		case SETTING_MONEY:
			if (value->type != jbvNumeric)
				refuse(definition, "It must be a number.");
			check_range(definition, value->val.numeric);
			break;
		case SETTING_CHOICE:
			if (value->type != jbvString ||
				choice_index(definition->choices, value->val.string.val, value->val.string.len) < 0)
				refuse(definition, psprintf("It must be one of %s.", definition->choices));
			break;
		case SETTING_TEXT:
			check_text(definition, value);
			break;
		case SETTING_IDS:
			check_ids(definition, value);
			break;
	}
}

/* Texts have each their own rule; an ad account loses its act_ prefix. */
static void
check_text(const SettingDefinition *definition, JsonbValue *value)
{
	char	   *text;

	/* an id given as a number is understood */
	if (value->type == jbvNumeric && strncmp(definition->name, "meta_", 5) == 0)
	{
		text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		value->type = jbvString;
		value->val.string.val = text;
		value->val.string.len = strlen(text);
	}
	if (value->type != jbvString || value->val.string.len == 0 || value->val.string.len > 2048)
		refuse(definition, "It must be a text of 1 to 2048 characters.");
	text = pnstrdup(value->val.string.val, value->val.string.len);

	if (strncmp(definition->name, "meta_", 5) == 0)
	{
		if (strncmp(text, "act_", 4) == 0)
		{
			value->val.string.val += 4;
			value->val.string.len -= 4;
			text += 4;
		}
		if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text) || strlen(text) > 30)
			refuse(definition, "It must consist of digits.");
	}
	else if (strcmp(definition->name, "currency") == 0)
	{
		if (artery_currency_offset(text) == 0)
			refuse(definition, "It must be a currency code that Meta knows, such as USD.");
	}
	else if (strcmp(definition->name, "time_zone") == 0)
	{
		if (pg_tzset(text) == NULL)
			refuse(definition, "It must be a time zone name such as America/New_York.");
	}
	else if (strcmp(definition->name, "hubspot_click_id_property") == 0)
	{
		if (strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(text) || strlen(text) > 100)
			refuse(definition, "It must be the internal name: at most 100 small letters, digits and underscores.");
	}
	else if (strcmp(definition->name, "hubspot_webhook_url") == 0)
	{
		if (strncmp(text, "https://", 8) != 0 && strncmp(text, "http://", 7) != 0)
			refuse(definition, "It must be the full address, beginning with https://.");
	}
}

static void
store_field(TenantSettings *settings, const SettingDefinition *definition, JsonbValue *value)
{
	char	   *field = (char *) settings + definition->offset;

	switch (definition->type)
	{
		case SETTING_BOOLEAN:
			*(bool *) field = value->val.boolean;
			break;
		case SETTING_INTEGER:
			*(int *) field = (int) numeric_to_double(value->val.numeric);
			break;
		case SETTING_NUMBER:
			*(double *) field = numeric_to_double(value->val.numeric);
			break;
		case SETTING_MONEY:
			*(Numeric *) field = DatumGetNumericCopy(NumericGetDatum(value->val.numeric));
			break;
		case SETTING_TEXT:
			*(char **) field = pnstrdup(value->val.string.val, value->val.string.len);
			break;
		case SETTING_CHOICE:
			*(int *) field = choice_index(definition->choices, value->val.string.val, value->val.string.len);
			break;
		case SETTING_IDS:
			break;
	}
}
