/*
 * graph_error.c
 *		What an answer of the Graph API means: pure classification.
 *
 * The codes are from Meta's Marketing API error reference and its pages on rate
 * limiting. A wrong class costs: a write taken for not applied is sent twice,
 * one taken for failed is lost, a token error taken for transient gets an app
 * banned. So what is unknown is ambiguous for a write.
 */
#include "artery.h"

#include <math.h>

#include "mb/pg_wchar.h"

#include "deliver/graph_error.h"
#include "deliver/graph_json.h"

#define ANY 0					/* code of a rule that goes by the subcode alone */
#define MAX_MESSAGE 512
#define FIRST_SUBCODE_AS_CODE 1000000

typedef struct Rule
{
	int64		code;
	int64		subcode;
	GraphClass	read;
	GraphClass	write;
	GraphScope	scope;
	int			wait_seconds;
} Rule;

#define SAME(class) (class), (class)
#define UNSURE GRAPH_RETRY, GRAPH_AMBIGUOUS

/* Code and subcode together. */
static const Rule exact_rules[] = {
	{1, 99, UNSURE, SCOPE_CHANGE, 30},
	{2, 1504038, GRAPH_SHRINK, GRAPH_AMBIGUOUS, SCOPE_CHANGE, 30},
	{4, 1504022, SAME(GRAPH_THROTTLE), SCOPE_APP, 300},	/* insights */
	{4, 1504039, SAME(GRAPH_THROTTLE), SCOPE_APP, 300},
	{17, 1885172, SAME(GRAPH_THROTTLE_OBJECT), SCOPE_OBJECT, 86400},	/* 10 spend cap changes a day */
	{17, 2446079, SAME(GRAPH_THROTTLE), SCOPE_ACCOUNT, 300},
	{100, 33, SAME(GRAPH_PERMANENT), SCOPE_CHANGE, 0},
	{100, 1487007, SAME(GRAPH_PERMANENT), SCOPE_CHANGE, 0}, /* ended */
	{100, 1487056, SAME(GRAPH_PERMANENT), SCOPE_CHANGE, 0}, /* deleted */
	{100, 1487534, GRAPH_SHRINK, GRAPH_PERMANENT, SCOPE_CHANGE, 0},
	{100, 1487566, SAME(GRAPH_PERMANENT), SCOPE_CHANGE, 0},
	{100, 1487862, SAME(GRAPH_PERMANENT), SCOPE_CHANGE, 0}, /* archived */
	{100, 1487901, SAME(GRAPH_PERMANENT), SCOPE_CHANGE, 0}, /* below the minimum */
	{100, 1504018, GRAPH_SHRINK, GRAPH_PERMANENT, SCOPE_CHANGE, 0},
	{100, 1885261, SAME(GRAPH_PERMANENT), SCOPE_CHANGE, 0}, /* above the maximum */
	{100, 1885272, SAME(GRAPH_PERMANENT), SCOPE_CHANGE, 0}, /* below the minimum */
	{100, 1885621, SAME(GRAPH_PERMANENT), SCOPE_CHANGE, 0}, /* the campaign holds the budget */
	{100, 1885650, SAME(GRAPH_PERMANENT), SCOPE_CHANGE, 0}, /* below what was spent */
	{100, 2238055, SAME(GRAPH_PERMANENT), SCOPE_CHANGE, 0},
	{100, 3191001, SAME(GRAPH_PERMANENT), SCOPE_CHANGE, 0},
	{613, 1996, SAME(GRAPH_THROTTLE), SCOPE_APP, 3600}, /* anomalous volume */
	{613, 1487225, SAME(GRAPH_PERMANENT), SCOPE_CHANGE, 0}, /* creation of ads */
	{613, 1487632, SAME(GRAPH_THROTTLE_OBJECT), SCOPE_OBJECT, 3600},	/* 4 budget changes an hour */
	{613, 1487742, SAME(GRAPH_THROTTLE), SCOPE_ACCOUNT, 300},
	{613, 5044001, SAME(GRAPH_THROTTLE), SCOPE_ACCOUNT, 60},	/* 100 writes a second */
	{80004, 2446079, SAME(GRAPH_THROTTLE), SCOPE_ACCOUNT, 300},
};

/* Subcodes that mean the same under every code. */
static const Rule subcode_rules[] = {
	{ANY, 1390008, SAME(GRAPH_HUMAN), SCOPE_ACCOUNT, 0},
	{ANY, 1404078, SAME(GRAPH_HUMAN), SCOPE_ACCOUNT, 0},
	{ANY, 1404163, SAME(GRAPH_HUMAN), SCOPE_ACCOUNT, 0},
	{ANY, 2859015, SAME(GRAPH_HUMAN), SCOPE_ACCOUNT, 0},
	{ANY, 3910001, SAME(GRAPH_RETRY), SCOPE_CHANGE, 30},
};

static const Rule code_rules[] = {
	{-2, 0, UNSURE, SCOPE_CHANGE, 120}, /* a report that could not be made */
	{1, 0, UNSURE, SCOPE_CHANGE, 30},
	{2, 0, UNSURE, SCOPE_CHANGE, 30},
	{3, 0, SAME(GRAPH_PERMANENT), SCOPE_CHANGE, 0},
	{4, 0, SAME(GRAPH_THROTTLE), SCOPE_APP, 300},
	{10, 0, SAME(GRAPH_PERMANENT), SCOPE_CHANGE, 0},
	{17, 0, SAME(GRAPH_THROTTLE), SCOPE_ACCOUNT, 300},
	{32, 0, SAME(GRAPH_THROTTLE), SCOPE_ACCOUNT, 900},
	{100, 0, SAME(GRAPH_PERMANENT), SCOPE_CHANGE, 0},
	{102, 0, SAME(GRAPH_TOKEN), SCOPE_TENANT, 0},
	{104, 0, SAME(GRAPH_TOKEN), SCOPE_TENANT, 0},
	{190, 0, SAME(GRAPH_TOKEN), SCOPE_TENANT, 0},
	{294, 0, SAME(GRAPH_TOKEN), SCOPE_TENANT, 0},
	{341, 0, SAME(GRAPH_THROTTLE), SCOPE_APP, 900},
	{368, 0, SAME(GRAPH_HUMAN), SCOPE_ACCOUNT, 0},
	{613, 0, SAME(GRAPH_THROTTLE), SCOPE_ACCOUNT, 3600},
	{803, 0, SAME(GRAPH_PERMANENT), SCOPE_CHANGE, 0},
	{2635, 0, SAME(GRAPH_CONFIG), SCOPE_APP, 0},
	{80004, 0, SAME(GRAPH_THROTTLE), SCOPE_ACCOUNT, 300},
};

static const Rule permission_rule = {0, 0, SAME(GRAPH_PERMANENT), SCOPE_CHANGE, 0};
static const Rule business_use_rule = {0, 0, SAME(GRAPH_THROTTLE), SCOPE_ACCOUNT, 900};
static const Rule too_many_rule = {0, 0, SAME(GRAPH_THROTTLE), SCOPE_ACCOUNT, 300}; /* HTTP 429 */
static const Rule negative_rule = {0, 0, UNSURE, SCOPE_CHANGE, 120};
static const Rule unsure_rule = {0, 0, UNSURE, SCOPE_CHANGE, 30};
static const Rule not_sent_rule = {0, 0, SAME(GRAPH_RETRY), SCOPE_CHANGE, 0};
static const Rule untrusted_rule = {0, 0, SAME(GRAPH_CONFIG), SCOPE_APP, 0};
static const Rule accepted_rule = {0, 0, SAME(GRAPH_OK), SCOPE_CHANGE, 0};

static const char *const class_names[] = {
	"ok_verify", "retry_later", "throttle", "throttle_object", "token_stop_tenant", "permanent", "ambiguous",
	"shrink_and_retry", "stop_account_human", "config_stop_all"
};
static const char *const scope_names[] = {"change", "object", "account", "tenant", "app"};

static const Rule *choose_rule(const HttpAnswer *answer, JsonbContainer *root, GraphVerdict *verdict);
static void read_error(const JsonbValue *value, GraphVerdict *verdict);
static const Rule *rule_by_codes(const GraphVerdict *verdict);
static const Rule *find_rule(const Rule *rules, int count, int64 code, int64 subcode);
static const Rule *find_subcode(int64 subcode);
static void lengthen_wait(const HttpAnswer *answer, const char *account_id, GraphVerdict *verdict);
static int	quota_wait(const HttpAnswer *answer, const char *account_id, const GraphVerdict *verdict);

#define FIND(rules, code, subcode) find_rule((rules), lengthof(rules), (code), (subcode))

const char *
artery_graph_class_name(GraphClass class)
{
	return class_names[class];
}

const char *
artery_graph_scope_name(GraphScope scope)
{
	return scope_names[scope];
}

GraphVerdict
artery_graph_classify(const HttpAnswer *answer, GraphOperation operation, const Jsonb *parsed, const char *account_id)
{
	GraphVerdict verdict;
	const Rule *rule;

	memset(&verdict, 0, sizeof(verdict));
	rule = choose_rule(answer, artery_graph_root_object(parsed), &verdict);
	verdict.class = operation == GRAPH_READ ? rule->read : rule->write;
	verdict.scope = rule->scope;
	verdict.wait_seconds = rule->wait_seconds;
	if (verdict.class != GRAPH_OK)
		lengthen_wait(answer, account_id, &verdict);
	return verdict;
}

bool
artery_graph_refuses_insights(const GraphVerdict *verdict)
{
	return verdict->code == 80000 ||
		(verdict->code == 4 && (verdict->subcode == 1504022 || verdict->subcode == 1504039));
}

static const Rule *
choose_rule(const HttpAnswer *answer, JsonbContainer *root, GraphVerdict *verdict)
{
	JsonbValue *error = artery_graph_member(root, "error");
	JsonbValue *success = artery_graph_member(root, "success");

	switch (answer->transport)
	{
		case HTTP_ANSWERED:
			break;
		case HTTP_NOT_SENT:
			return &not_sent_rule;
		case HTTP_UNTRUSTED:
			return &untrusted_rule;
		default:
			return &unsure_rule;
	}
	if (error != NULL && error->type != jbvNull)
	{
		const Rule *rule;

		read_error(error, verdict);
		rule = rule_by_codes(verdict);
		if (rule != NULL)
			return rule;
		return answer->status == 429 ? &too_many_rule : &unsure_rule;
	}
	if (answer->status == 429)
		return &too_many_rule;
	if (answer->status < 200 || answer->status > 299 || root == NULL)
		return &unsure_rule;
	if (success != NULL && !(success->type == jbvBool && success->val.boolean))
		return &unsure_rule;
	return &accepted_rule;
}

static void
read_error(const JsonbValue *value, GraphVerdict *verdict)
{
	JsonbContainer *error = artery_graph_object(value);

	verdict->has_error = true;
	(void) artery_graph_int64(error, "code", &verdict->code);
	(void) artery_graph_int64(error, "error_subcode", &verdict->subcode);
	verdict->message = artery_graph_text(error, "error_user_msg");
	if (verdict->message == NULL)
		verdict->message = artery_graph_text(error, "message");
	if (verdict->message != NULL)
		verdict->message[pg_mbcliplen(verdict->message, strlen(verdict->message), MAX_MESSAGE)] = '\0';
	verdict->trace = artery_graph_text(error, "fbtrace_id");
	if (verdict->trace != NULL)
		verdict->trace[pg_mbcliplen(verdict->trace, strlen(verdict->trace), 64)] = '\0';
}

static const Rule *
rule_by_codes(const GraphVerdict *verdict)
{
	const Rule *rule = NULL;

	if (verdict->subcode != 0)
		rule = FIND(exact_rules, verdict->code, verdict->subcode);
	if (rule == NULL && verdict->code >= FIRST_SUBCODE_AS_CODE)
		rule = find_subcode(verdict->code);
	if (rule == NULL && verdict->subcode != 0)
		rule = FIND(subcode_rules, ANY, verdict->subcode);
	if (rule == NULL && verdict->code != 0)
		rule = FIND(code_rules, verdict->code, 0);
	if (rule != NULL)
		return rule;
	if (verdict->code >= 200 && verdict->code <= 299)
		return &permission_rule;
	if (verdict->code >= 80000 && verdict->code <= 80014)
		return &business_use_rule;
	if (verdict->code < 0)
		return &negative_rule;
	return NULL;
}

static const Rule *
find_rule(const Rule *rules, int count, int64 code, int64 subcode)
{
	int			i;

	for (i = 0; i < count; i++)
		if (rules[i].code == code && rules[i].subcode == subcode)
			return &rules[i];
	return NULL;
}

/* A subcode that came in the place of the code. */
static const Rule *
find_subcode(int64 subcode)
{
	int			i;

	for (i = 0; i < (int) lengthof(exact_rules); i++)
		if (exact_rules[i].subcode == subcode)
			return &exact_rules[i];
	return FIND(subcode_rules, ANY, subcode);
}

/* Retry-After counts always, the usage headers where a quota is the reason. */
static void
lengthen_wait(const HttpAnswer *answer, const char *account_id, GraphVerdict *verdict)
{
	const char *retry_after = answer->headers[HTTP_RETRY_AFTER];

	if (verdict->class == GRAPH_THROTTLE)
		verdict->wait_seconds = Max(verdict->wait_seconds, quota_wait(answer, account_id, verdict));
	if (retry_after != NULL && strlen(retry_after) <= 6 && strspn(retry_after, "0123456789") == strlen(retry_after))
		verdict->wait_seconds = Max(verdict->wait_seconds, atoi(retry_after));
}

/* When the quota that refused is free again. Those of other accounts and use cases may be full for much longer. */
static int
quota_wait(const HttpAnswer *answer, const char *account_id, const GraphVerdict *verdict)
{
	const char *use_case = USE_CASE_MANAGEMENT;
	GraphUsage	usage;

	if (artery_graph_refuses_insights(verdict))
		use_case = USE_CASE_INSIGHTS;
	else if (verdict->code == 0 || (verdict->code > 80000 && verdict->code <= 80014 && verdict->code != 80004))
		use_case = NULL;		/* not told, or one that is none of ours */
	usage = artery_graph_usage(answer->headers, account_id, use_case);
	if (account_id != NULL && !usage.names_account)
		usage = artery_graph_usage(answer->headers, NULL, use_case);
	return usage.pause_seconds;
}
