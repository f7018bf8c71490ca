/*
 * public.c
 *		The model `delayed` at work in a server.
 *
 * Days are those of UTC; an account begins at 2024-01-01. A deal's first event
 * comes with a click of the ad that gets the credit, whose id the form sends (identify);
 * deals without credit have none.
 */
#include "postgres.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libpq-fe.h"

#include "public.h"

#define BEGINNING 1704067200	/* 2024-01-01 as Unix time */
#define DAY 86400.0

static const struct
{
	const char *kind;
	const char *template;
	const char *stages[MARKET_HOPS];
}			templates[] = {
	{"service", "service_business", {"lead", "appointment_scheduled", "show_up", "closed_won"}},
	{"e-commerce", "ecommerce", {"add_to_cart", "checkout_initiated", "purchase"}},
	{"SaaS", "b2b_saas", {"mql", "sql", "demo", "proposal", "closed_won"}}
};

static PGconn *connection;
static char tenant[64];
static int	template;

/* Of each ad on the day at hand. */
static double impressions[MARKET_ADS];
static double clicks[MARKET_ADS];
static double spend[MARKET_ADS];
static int	ads_known;

static PGresult *ask(const char *format,...) pg_attribute_printf(1, 2);
static void move_clock(double days);
static void register_launched(const Market *market);
static void tell_days(const Market *market, const double *budget);
static void tell_deals(const Market *market);

void
public_open(const Market *market)
{
	const MarketKind *kind = market->account->kind;

	if (connection == NULL)
	{
		connection = PQconnectdb("");
		if (PQstatus(connection) != CONNECTION_OK)
		{
			fprintf(stderr, "judge: %s", PQerrorMessage(connection));
			exit(1);
		}
		PQclear(ask("SET client_min_messages = warning"));
	}
	for (template = 0; strcmp(templates[template].kind, kind->name) != 0;)
		template++;
	snprintf(tenant, sizeof(tenant), "judge_%s_" UINT64_FORMAT "_%d", kind->name, market->account->seed, (int) getpid());
	memset(impressions, 0, sizeof(impressions));
	memset(clicks, 0, sizeof(clicks));
	memset(spend, 0, sizeof(spend));
	ads_known = 0;
	move_clock(0);
	PQclear(ask("SELECT artery.add_tenant('%s', '%s')", tenant, templates[template].template));
	register_launched(market);
}

void
public_learn(const Market *market, const double *budget)
{
	move_clock(market->step * MARKET_STEP);
	PQclear(ask("BEGIN"));
	tell_days(market, budget);
	tell_deals(market);
	PQclear(ask("COMMIT"));
}

void
public_weigh(const Market *market, const int *live, const double *current, int count, double *weight)
{
	double		now = market->step * MARKET_STEP;
	PGresult   *result;
	int			i;

	move_clock(now);
	register_launched(market);
	PQclear(ask("BEGIN"));
	for (i = 0; i < count; i++)
		PQclear(ask("SELECT artery.observe_budget('%s', 'set_%d', %.2f, to_timestamp(%.3f))", tenant, live[i], current[i],
					BEGINNING + now * DAY));
	result = ask("SELECT ad_id, recommended_budget FROM artery.allocate_budget('%s', %.2f, %d, to_timestamp(%.3f), false)",
				 tenant, market->account->budget, market->step, BEGINNING + now * DAY);
	if (PQntuples(result) != count)
	{
		fprintf(stderr, "judge: %d budgets for %d ads\n", PQntuples(result), count);
		exit(1);
	}
	for (i = 0; i < count; i++)
	{
		char		ad[16];
		int			row = 0;

		snprintf(ad, sizeof(ad), "ad_%d", live[i]);
		while (strcmp(PQgetvalue(result, row, 0), ad) != 0)
			row++;
		weight[i] = atof(PQgetvalue(result, row, 1)) + 1e-9;
	}
	PQclear(result);
	PQclear(ask("COMMIT"));
}

/* Run a statement; anything but an answer ends the program. */
static PGresult *
ask(const char *format,...)
{
	char		statement[4096];
	PGresult   *result;
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(statement, sizeof(statement), format, arguments);
	va_end(arguments);
	result = PQexec(connection, statement);
	if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
	{
		fprintf(stderr, "judge: %s in \"%s\"\n", PQerrorMessage(connection), statement);
		exit(1);
	}
	return result;
}

/* artery's clock, a second after that moment, for what is stated of it. */
static void
move_clock(double days)
{
	PQclear(ask("SELECT set_config('artery.clock_offset', (%.3f - extract(epoch FROM clock_timestamp()))::text, false)",
				BEGINNING + days * DAY + 1));
}

/* Each ad has an ad set of its own, with the budget. */
static void
register_launched(const Market *market)
{
	int			ad;

	for (ad = 0; ad < MARKET_ADS; ad++)
		if (market_is_live(market, ad) && !(ads_known & 1 << ad))
		{
			PQclear(ask("SELECT artery.register_ad('%s', 'ad_%d', 'campaign', 'set_%d', 'set_%d', to_timestamp(%.3f))",
						tenant, ad, ad, ad, BEGINNING + market->step * MARKET_STEP * DAY));
			ads_known |= 1 << ad;
		}
}

/* The day's facts so far; a new day begins with nothing. */
static void
tell_days(const Market *market, const double *budget)
{
	int			day = (int) ((market->step - 1) * MARKET_STEP);
	int			ad;

	for (ad = 0; ad < MARKET_ADS; ad++)
	{
		if ((market->step - 1) * MARKET_STEP == day)
			impressions[ad] = clicks[ad] = spend[ad] = 0;
		if (market->impressions[ad] <= 0)
			continue;
		impressions[ad] += market->impressions[ad];
		clicks[ad] += market->clicks[ad];
		spend[ad] += budget[ad] * MARKET_STEP;
		PQclear(ask("SELECT artery.record_ad_day('%s', 'ad_%d', '2024-01-01'::date + %d, %.0f, %.0f, %.2f)",
					tenant, ad, day, impressions[ad], clicks[ad], spend[ad]));
	}
}

static void
tell_deals(const Market *market)
{
	const MarketEvents *events = market_events(market);
	int			i;

	for (i = 0; i < events->count; i++)
	{
		const MarketEvent *event = &events->list[i];
		double		at = BEGINNING + event->reached * DAY;

		if (event->hop == 0 && event->credit >= 0)
			PQclear(ask("SELECT artery.track_click('%s', 'campaign', 'ad_%d', 'click_" INT64_FORMAT "', click_timestamp => to_timestamp(%.3f)), "
						"artery.identify('%s', crm_deal_id => 'deal_" INT64_FORMAT "', click_id => 'click_" INT64_FORMAT "', seen_at => to_timestamp(%.3f))",
						tenant, event->credit, event->deal, BEGINNING + event->entered * DAY,
						tenant, event->deal, event->deal, at));
		PQclear(ask("SELECT artery.record_stage('%s', 'deal_" INT64_FORMAT "', '%s', to_timestamp(%.3f))",
					tenant, event->deal, templates[template].stages[event->hop], at));
	}
}
