/*
 * verdict.c
 *		From the probabilities of the calibrated model to an answer and its reasons.
 */
#include "artery.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/json.h"

#include "attribute/attribution.h"
#include "attribute/layered.h"
#include "attribute/verdict.h"
#include "runtime/decimal.h"

#define TOLD_CANDIDATES 5		/* that a trace keeps at most */
#define TOLD_ALWAYS 2			/* the answer and the runner-up, however improbable */
#define LEAST_TOLD 0.001		/* of the others */
#define LEAST_CREDIT 0.0005		/* of an ad to be kept */

typedef struct AdCredit
{
	Datum		ad;
	double		credit;
} AdCredit;

PG_FUNCTION_INFO_V1(artery_device_words);
PG_FUNCTION_INFO_V1(artery_network_words);

static void answer(const ArteryTenant *tenant, const Weighing *weighing, const Posterior *posterior,
				   Attribution *attribution);
static bool is_fingerprint(const CalibratedCandidate *view);
static bool is_network(const CalibratedCandidate *view);
static LayerResult weigh_layer(const Weighing *weighing, int column, bool (*agrees) (const CalibratedCandidate *),
							   double confidence, double threshold);
static const char *device_words(int device);
static const char *network_words(int network);
static char *explain(const Weighing *weighing, const Posterior *posterior, double threshold);
static char *list_credit(const Weighing *weighing, const Posterior *posterior, const Attribution *attribution);
static int	add_credits(const Weighing *weighing, AdCredit *ads);
static void append_code(StringInfo list, int code);
static void append_figures(StringInfo list, double number);
static char *list_candidates(const Weighing *weighing);

void
artery_verdict_answer(const ArteryTenant *tenant, const Weighing *weighing, Posterior *posterior,
					  Attribution *attribution)
{
	posterior->credit = list_credit(weighing, posterior, attribution);
	posterior->candidates = list_candidates(weighing);
	if (!posterior->by_id)
		answer(tenant, weighing, posterior, attribution);
}

static void
answer(const ArteryTenant *tenant, const Weighing *weighing, const Posterior *posterior, Attribution *attribution)
{
	const CalibratedVerdict *verdict = &posterior->verdict;
	double		threshold = tenant->settings.attribution_threshold;
	double		confidence = rint(verdict->confidence * 1e4) / 1e4; /* four digits, as everywhere */
	bool		by_device;

	attribution->candidates += weighing->count;
	attribution->layers[1] = weigh_layer(weighing, CONVERSION_FINGERPRINT_HASH, is_fingerprint, confidence, threshold);
	if (attribution->layers[1] == LAYER_NO_MATCH && weighing->conversion.counts.hash > CALIBRATED_COMMON_FINGERPRINT)
		attribution->layers[1] = LAYER_AMBIGUOUS;	/* not looked for */
	attribution->layers[2] = weigh_layer(weighing, CONVERSION_IP_ADDRESS, is_network, confidence, threshold);
	if (verdict->best < 0)
		return;
	attribution->best = weighing->clicks[verdict->best].click;
	attribution->best_confidence = confidence;
	attribution->reason = explain(weighing, posterior, threshold);
	if (confidence < threshold)
		return;
	by_device = is_fingerprint(&weighing->views[verdict->best]) && !is_network(&weighing->views[verdict->best]);
	attribution->success = true;
	attribution->confidence = confidence;
	attribution->method = by_device ? "fingerprint" : "probabilistic";
	attribution->layers[1] = by_device ? LAYER_SUCCESS : attribution->layers[1];
	attribution->layers[2] = by_device ? LAYER_NOT_ATTEMPTED : LAYER_SUCCESS;
}

/* Does the fingerprint agree? */
static bool
is_fingerprint(const CalibratedCandidate *view)
{
	return (view->device & ~(CALIBRATED_SAME_AGENT | CALIBRATED_SAME_HASH)) == 0;
}

/* Does the network agree? */
static bool
is_network(const CalibratedCandidate *view)
{
	return view->network == CALIBRATED_SAME_ADDRESS || view->network == CALIBRATED_SAME_BLOCK;
}

/*
 * What one kind of evidence alone came to: ambiguous if its candidates would
 * attribute together but none of them does.
 */
static LayerResult
weigh_layer(const Weighing *weighing, int column, bool (*agrees) (const CalibratedCandidate *), double confidence,
			double threshold)
{
	double		together = 0;
	int			candidates = 0;
	int			i;

	if (weighing->nulls[column])
		return LAYER_NO_PARAM;
	for (i = 0; i < weighing->count; i++)
	{
		if (!agrees(&weighing->views[i]))
			continue;
		candidates++;
		together += weighing->views[i].probability;
	}
	if (candidates == 0)
		return LAYER_NO_MATCH;
	return candidates > 1 && together >= threshold && confidence < threshold ? LAYER_AMBIGUOUS : LAYER_LOW_PROBABILITY;
}

static const char *
device_words(int device)
{
	switch (device)
	{
		case CALIBRATED_SAME_AGENT:
			return "same fingerprint and user agent";
		case CALIBRATED_SAME_HASH:
			return "same fingerprint, other user agent";
		case CALIBRATED_SAME_AGENT | CALIBRATED_SAME_HASH:
			return "same fingerprint";
		case CALIBRATED_SAME_HARDWARE:
			return "same screen, time zone and system, other browser";
		case CALIBRATED_OTHER_DEVICE:
			return "other device";
		case CALIBRATED_SAME_HARDWARE | CALIBRATED_OTHER_DEVICE:
			return "other fingerprint";
		default:
			return "device not known";
	}
}

static const char *
network_words(int network)
{
	switch (network)
	{
		case CALIBRATED_UNKNOWN_NETWORK:
			return "network not known";
		case CALIBRATED_SAME_ADDRESS:
			return "same IP address";
		case CALIBRATED_SAME_BLOCK:
			return "same network block";
		default:
			return "other network";
	}
}

/* artery.device_words(agreement), artery.network_words(agreement) */
Datum
artery_device_words(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(device_words(PG_GETARG_INT32(0))));
}

Datum
artery_network_words(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(network_words(PG_GETARG_INT32(0))));
}

/* One sentence on the best candidate, and what speaks against it. */
static char *
explain(const Weighing *weighing, const Posterior *posterior, double threshold)
{
	const CalibratedVerdict *verdict = &posterior->verdict;
	const CalibratedCandidate *best = &weighing->views[verdict->best];
	StringInfoData sentence;
	double		second = 0;
	int			i;

	for (i = 0; i < weighing->count; i++)
		if (i != verdict->best)
			second = Max(second, weighing->views[i].probability);
	initStringInfo(&sentence);
	appendStringInfo(&sentence, "Best of %d candidate%s: %s, %s, %.1f hours before; probability %.2f",
					 weighing->count, weighing->count == 1 ? "" : "s", device_words(best->device),
					 network_words(best->network), best->lag_hours, verdict->confidence);
	if (verdict->confidence < threshold)
		appendStringInfo(&sentence, ", below the threshold of %.2f", threshold);
	if (weighing->count > 1)
		appendStringInfo(&sentence, "; next candidate %.2f", second);
	appendStringInfo(&sentence, "; no click %.2f.", verdict->none);
	return sentence.data;
}

/* Probability per ad, as a JSON object. An id tells it for sure. */
static char *
list_credit(const Weighing *weighing, const Posterior *posterior, const Attribution *attribution)
{
	StringInfoData list;
	AdCredit	ads[WEIGHED_CLICKS];
	int			count = posterior->by_id ? 0 : add_credits(weighing, ads);
	int			i;

	initStringInfo(&list);
	appendStringInfoChar(&list, '{');
	if (posterior->by_id && !attribution->best.ad_null)
	{
		escape_json(&list, TextDatumGetCString(attribution->best.ad_id));
		appendStringInfoString(&list, ": 1");
	}
	for (i = 0; i < count; i++)
	{
		if (ads[i].credit < LEAST_CREDIT)
			continue;
		if (list.len > 1)
			appendStringInfoString(&list, ", ");
		escape_json(&list, TextDatumGetCString(ads[i].ad));
		appendStringInfoString(&list, ": ");
		artery_decimal_append(&list, ads[i].credit, 4);
	}
	appendStringInfoChar(&list, '}');
	return list.data;
}

/* The ads of the candidates, in the order of their newest clicks, each with its probability; returns how many. */
static int
add_credits(const Weighing *weighing, AdCredit *ads)
{
	int			count = 0;
	int			i;

	for (i = 0; i < weighing->count; i++)
	{
		const MatchedClick *click = &weighing->clicks[i].click;
		int			place = 0;

		if (click->ad_null)
			continue;
		while (place < count && !artery_verdict_same_text(ads[place].ad, click->ad_id))
			place++;
		if (place == count)
		{
			ads[count].ad = click->ad_id;
			ads[count++].credit = 0;
		}
		ads[place].credit += weighing->views[i].probability;
	}
	return count;
}

/* An agreement as an element of the list: one or two digits. */
static void
append_code(StringInfo list, int code)
{
	appendStringInfoString(list, ", ");
	artery_decimal_append(list, code, 0);
}

/* A number as an element of the list: its first four figures, and all before the point; small ones with more places. */
static void
append_figures(StringInfo list, double number)
{
	double		size = fabs(number);
	int			places = 3;

	appendStringInfoString(list, ", ");
	for (; places > 0 && size >= 10; size /= 10)
		places--;
	for (; places < 6 && size < 1 && size > 0; size *= 10)
		places++;
	if (size > 0 && size < 1)
		appendStringInfo(list, "%.4g", number);
	else
		artery_decimal_append(list, number, places);
}

/* The most probable candidates with what speaks for each, as a JSON array. */
static char *
list_candidates(const Weighing *weighing)
{
	StringInfoData list;
	bool		told[WEIGHED_CLICKS] = {false};
	int			n;

	initStringInfo(&list);
	appendStringInfoChar(&list, '[');
	for (n = 0; n < Min(weighing->count, TOLD_CANDIDATES); n++) /* as explain_attribution reads them */
	{
		const CalibratedCandidate *view;
		int			next = -1;
		int			i;

		for (i = 0; i < weighing->count; i++)
			if (!told[i] && (next < 0 || weighing->views[i].probability > weighing->views[next].probability))
				next = i;
		told[next] = true;
		view = &weighing->views[next];
		if (n >= TOLD_ALWAYS && view->probability < LEAST_TOLD)
			break;
		appendStringInfoString(&list, n > 0 ? ", [" : "[");
		escape_json(&list, TextDatumGetCString(weighing->clicks[next].click.click_id));
		appendStringInfoString(&list, ", ");
		if (weighing->clicks[next].click.ad_null)
			appendStringInfoString(&list, "null");
		else
			escape_json(&list, TextDatumGetCString(weighing->clicks[next].click.ad_id));
		append_figures(&list, view->lag_hours);
		appendStringInfoString(&list, ", ");
		artery_decimal_append(&list, view->probability, 6);
		append_code(&list, view->device);
		append_figures(&list, view->device_ratio);
		append_code(&list, view->network);
		append_figures(&list, view->network_ratio);
		append_figures(&list, view->rate);
		appendStringInfoString(&list, ", ");
		artery_decimal_append(&list, view->weight > 0 ? view->inherited / view->weight : 0, 2);
		appendStringInfoChar(&list, ']');
	}
	appendStringInfoChar(&list, ']');
	return list.data;
}
