/*
 * market.h
 *		A market of people with known truth, to judge attribution by.
 *
 * People live in homes, work in offices, move in carriers' networks; they click
 * on ads with the browser inside an app, come back later with another one, on
 * another network, some with another device. The simulator knows which
 * conversion came from which click; a model sees only what a landing page sees.
 */
#ifndef ARTERY_BENCH_MARKET_H
#define ARTERY_BENCH_MARKET_H

#include <stdbool.h>
#include <stdint.h>

typedef enum Os
{
	OS_IOS, OS_ANDROID, OS_WINDOWS, OS_MAC, OS_COUNT
} Os;

/* What a page sees of a visit. Numbers stand for strings; equal number, equal string. */
typedef struct Sight
{
	uint32_t	ip;				/* address */
	uint32_t	block;			/* its /24 */
	uint8_t		os;				/* Os */
	uint8_t		browser;		/* family; see BROWSER_* */
	bool		in_app;
	uint16_t	screen;			/* screen size class */
	uint16_t	zone;			/* time zone */
	uint32_t	agent;			/* the user agent string */
} Sight;

enum
{
	BROWSER_SAFARI, BROWSER_CHROME, BROWSER_EDGE, BROWSER_FIREFOX, BROWSER_SAMSUNG, BROWSER_FACEBOOK,
	BROWSER_INSTAGRAM, BROWSER_COUNT
};

typedef struct Click
{
	double		at;				/* days since the start */
	int32_t		person;			/* -1: a bot */
	int32_t		ad;
	Sight		sight;
} Click;

typedef struct Conversion
{
	double		at;
	int32_t		person;
	int32_t		truth;			/* index of the click that earned it, -1: none */
	bool		has_id;			/* the click's id survived */
	bool		organic;
	Sight		sight;
} Conversion;

typedef struct Market
{
	int			nclicks;
	Click	   *clicks;			/* by time */
	int			nconversions;
	Conversion *conversions;	/* by time */
	int			nads;
} Market;

/* What people of a market do, as shares unless said otherwise. */
typedef struct Habits
{
	double		ids_lost;		/* of the conversions that clicks lead to, about */
	double		organic;		/* of all conversions */
	double		neighbours;		/* of the organic ones, living with somebody who clicked */
	double		in_app;			/* of the clicks on phones */
	double		stay_in_app;	/* hours after which most have left the app's browser */
	double		lag_median;		/* hours from click to conversion */
	double		lag_sigma;
	double		cross_device;	/* of the conversions that clicks lead to */
	double		repeats;		/* of the clicks, by people who clicked before */
	double		bots;			/* of the clicks */
	double		relays;			/* of people who browse with Safari on iOS */
	double		conversions;	/* per click */
	double		night;			/* how quiet nights are: 0 as busy as days, 1 silent */
} Habits;

extern const Habits market_usual;

/* The usual habits, each drawn anew within what markets show. */
extern Habits market_varied(uint64_t seed);

/* clicks_per_day 50, 2000, 50000 are the three tenants; days of history; seed. */
extern Market *market_simulate(int clicks_per_day, int days, uint64_t seed, const Habits *habits);
extern void market_free(Market *market);

#endif							/* ARTERY_BENCH_MARKET_H */
