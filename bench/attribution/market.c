/*
 * market.c
 *		A market of people with known truth: homes and offices behind NAT,
 *		carriers with 250 subscribers an address, relays, in-app browsers that are
 *		left for the system's, user agents that update, bots, repeat clicks,
 *		other devices, ids lost on the way.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "market.h"

#define WINDOW_DAYS 7.0
#define NADS 20

typedef struct Device
{
	uint8_t		os;
	uint8_t		browser;		/* the system's */
	uint16_t	screen;
	uint16_t	zone;
	uint16_t	model;			/* what in-app agents tell */
	uint32_t	version_seed;
} Device;

typedef struct Person
{
	uint32_t	home;			/* household */
	uint32_t	office;			/* 0: none */
	uint8_t		carrier;
	bool		relay;
	Device		device[2];		/* the second for the few who change over */
} Person;

const Habits market_usual = {
	.ids_lost = 0.4,.organic = 0.2,.neighbours = 0.08,.in_app = 0.75,.stay_in_app = 2.5,.lag_median = 3,.lag_sigma = 1.9,
	.cross_device = 0.04,.repeats = 0.22,.bots = 0.06,.relays = 0.12,.conversions = 0.03,.night = 0.82
};

static Habits habits;
static uint64_t state[2];
static double population;		/* households the tenant's market holds */

static uint64_t
next_random(void)
{
	uint64_t	a = state[0];
	uint64_t	b = state[1];

	state[0] = b;
	a ^= a << 23;
	state[1] = a ^ b ^ (a >> 17) ^ (b >> 26);
	return state[1] + b;
}

static double
uniform(void)
{
	return ((next_random() >> 11) + 0.5) / 9007199254740992.0;
}

static double
normal(void)
{
	return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform());
}

static double
exponential(double mean)
{
	return -mean * log(uniform());
}

static bool
chance(double p)
{
	return uniform() < p;
}

/* Rank 0..n-1 of a heavy-tailed choice. */
static int
zipf(int n, double s)
{
	double		u = uniform();

	if (fabs(s - 1) < 1e-6)
		return (int) (pow(n + 1.0, u) - 1);
	return (int) fmin(n - 1, pow(u * (pow(n + 1.0, 1 - s) - 1) + 1, 1 / (1 - s)) - 1);
}

/* Hash that turns a tuple into the number of a string. */
static uint32_t
name_of(uint64_t a, uint64_t b, uint64_t c)
{
	uint64_t	h = a * 0x9e3779b97f4a7c15ULL ^ (b + 0x7f4a7c15) * 0xc2b2ae3d27d4eb4fULL ^ (c + 0x165667b1) * 0x165667b19e3779f9ULL;

	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9ULL;
	h ^= h >> 32;
	return (uint32_t) h;
}

static void
make_device(Device *device, bool desktop)
{
	double		u = uniform();

	if (desktop)
		device->os = u < 0.77 ? OS_WINDOWS : OS_MAC;
	else
		device->os = u < 0.54 ? OS_IOS : u < 0.87 ? OS_ANDROID : u < 0.97 ? OS_WINDOWS : OS_MAC;
	u = uniform();
	switch (device->os)
	{
		case OS_IOS:
			device->screen = zipf(9, 0.7);
			device->browser = u < 0.86 ? BROWSER_SAFARI : BROWSER_CHROME;
			device->model = device->screen * 3 + zipf(3, 1);
			break;
		case OS_ANDROID:
			device->screen = 100 + zipf(45, 1.0);
			device->browser = u < 0.8 ? BROWSER_CHROME : u < 0.98 ? BROWSER_SAMSUNG : BROWSER_FIREFOX;
			device->model = device->screen * 20 + zipf(20, 1.0);
			break;
		case OS_WINDOWS:
			device->screen = 200 + zipf(14, 1.1);
			device->browser = u < 0.65 ? BROWSER_CHROME : u < 0.9 ? BROWSER_EDGE : BROWSER_FIREFOX;
			device->model = 0;
			break;
		default:
			device->screen = 300 + zipf(9, 0.9);
			device->browser = u < 0.5 ? BROWSER_SAFARI : u < 0.95 ? BROWSER_CHROME : BROWSER_FIREFOX;
			device->model = 0;
			break;
	}
	u = uniform();
	device->zone = u < 0.62 ? 0 : u < 0.88 ? 1 : u < 0.97 ? 2 : 3;
	device->version_seed = (uint32_t) next_random();
}

static void
make_person(Person *person)
{
	person->home = (uint32_t) (uniform() * population);
	person->office = chance(0.45) ? 1 + zipf((int) fmax(20, population / 60), 1.05) : 0;
	person->carrier = zipf(4, 0.8);
	person->relay = chance(habits.relays);
	make_device(&person->device[0], false);
	make_device(&person->device[1], person->device[0].os <= OS_ANDROID);
	person->device[1].zone = person->device[0].zone;
}

/* The agent string of a browser at a time: versions roll on, not for all at once. */
static uint32_t
agent_of(const Device *device, uint8_t browser, bool in_app, double at)
{
	double		lateness = (device->version_seed % 1000) / 1000.0;
	int			epoch = (int) floor((at + 400) / 28 - lateness * lateness * 2.2);
	int			os_version = (device->version_seed >> 10) % 100;
	int			os_class = os_version < 60 ? 0 : os_version < 80 ? 1 : os_version < 92 ? 2 : 3;
	int			app_epoch = (int) floor((at + 400) / 9 - lateness * lateness * 3);

	if (in_app)
		return name_of(1000 + browser, device->model * 8 + os_class, app_epoch);
	switch (device->os)
	{
		case OS_IOS:
			return name_of(10 + browser, os_class, browser == BROWSER_CHROME ? epoch : 0);
		case OS_ANDROID:
			return name_of(30 + browser, 0, epoch);
		default:
			return name_of(50 + browser, device->os, epoch);
	}
}

/* Where the person is online: 0 home, 1 office, 2 cell. */
static int
place_of(const Person *person, const Device *device, double at)
{
	double		hour = (at - floor(at)) * 24;
	bool		at_work = person->office != 0 && hour > 9 && hour < 17 && ((int) at % 7) < 5;
	double		u = uniform();

	if (device->os >= OS_WINDOWS)
		return at_work ? 1 : 0;
	if (at_work)
		return u < 0.45 ? 1 : u < 0.9 ? 2 : 0;
	return u < 0.68 ? 0 : 2;
}

static void
set_address(Sight *sight, const Person *person, int place, bool relayed, double at, uint32_t cell_session)
{
	uint64_t	block;
	uint32_t	host;

	if (relayed)
	{
		int			pool = (int) fmax(8, population / 2500);

		host = name_of(7, cell_session, person->home) % pool;
		block = 3000000000ULL + host / 64;
	}
	else if (place == 1)
	{
		block = 1000000000ULL + person->office / 8;
		host = person->office % 8;
	}
	else if (place == 2)
	{
		int			pool = (int) fmax(4, population * 1.6 / 250 / 4);

		host = name_of(person->carrier, cell_session, person->home) % pool;
		block = 2000000000ULL + person->carrier * 10000000ULL + host / 200;
		host %= 200;
	}
	else
	{
		/* a lease of two weeks or so for half of the homes, of months for the others */
		int			lease = person->home % 2 ? (int) floor((at + person->home % 14) / 14) : 0;

		block = person->home / 180;
		host = (person->home % 180) + 1000 * lease;
		/* a new lease moves within the provider's few blocks */
		if (lease > 0)
			block += name_of(3, person->home, lease) % 3;
	}
	sight->block = name_of(90, block, 0);
	sight->ip = name_of(91, block, host);
}

static void
see(Sight *sight, const Person *person, int device_index, int place, bool in_app, uint8_t app, double at,
	uint32_t cell_session)
{
	const Device *device = &person->device[device_index];
	bool		relayed = person->relay && device->os == OS_IOS && !in_app && device->browser == BROWSER_SAFARI;

	sight->os = device->os;
	sight->in_app = in_app;
	sight->browser = in_app ? app : device->browser;
	sight->screen = device->screen;
	sight->zone = device->zone;
	sight->agent = agent_of(device, sight->browser, in_app, at);
	set_address(sight, person, place, relayed, at, cell_session);
}

typedef struct Visit
{
	int			place;
	bool		in_app;
	uint8_t		app;
	uint32_t	cell_session;
} Visit;

static double
random_time(int days)
{
	for (;;)
	{
		double		at = uniform() * days;
		double		hour = (at - floor(at)) * 24;

		if (chance((1 - habits.night * cos((hour - 3.5) / 24 * 6.283)) / 2))
			return at;
	}
}

static void
click_visit(Click *click, const Person *person, Visit *visit)
{
	const Device *device = &person->device[0];

	visit->place = place_of(person, device, click->at);
	visit->in_app = device->os <= OS_ANDROID && chance(habits.in_app);
	visit->app = chance(0.6) ? BROWSER_FACEBOOK : BROWSER_INSTAGRAM;
	visit->cell_session = (uint32_t) next_random();
	see(&click->sight, person, 0, visit->place, visit->in_app, visit->app, click->at, visit->cell_session);
}

/* The visit on which somebody who clicked converts, a lag later. */
static void
conversion_visit(Conversion *conversion, const Person *person, const Visit *click, double lag)
{
	int			device_index = chance(habits.cross_device) ? 1 : 0;
	const Device *device = &person->device[device_index];
	Visit		visit = *click;
	double		hours = lag * 24;
	double		lost = 0.2 + (habits.ids_lost - market_usual.ids_lost);

	if (device_index == 1 || !chance(exp(-hours / 3)))
		visit.place = place_of(person, device, conversion->at);
	if (visit.place != click->place || !chance(exp(-hours / 1.5)))
		visit.cell_session = (uint32_t) next_random();
	if (device_index == 1 || !chance(0.9 * exp(-hours / habits.stay_in_app) + 0.12))
		visit.in_app = false;
	see(&conversion->sight, person, device_index, visit.place, visit.in_app, visit.app, conversion->at,
		visit.cell_session);
	if (visit.in_app != click->in_app)
		lost += 0.3;
	if (device->os == OS_IOS)
		lost += 0.1;
	if (hours > 24)
		lost += 0.15;
	conversion->has_id = device_index == 0 && !chance(lost);
}

static int
by_click_time(const void *a, const void *b)
{
	double		d = ((const Click *) a)->at - ((const Click *) b)->at;

	return d < 0 ? -1 : d > 0;
}

static int
by_conversion_time(const void *a, const void *b)
{
	double		d = ((const Conversion *) a)->at - ((const Conversion *) b)->at;

	return d < 0 ? -1 : d > 0;
}

static void
make_bot(Click *click)
{
	Device		device;

	make_device(&device, chance(0.5));
	click->sight.os = device.os;
	click->sight.browser = device.browser;
	click->sight.in_app = false;
	click->sight.screen = device.screen;
	click->sight.zone = device.zone;
	click->sight.agent = name_of(77, (uint64_t) zipf(30, 1), 0);
	click->sight.block = name_of(95, (uint64_t) zipf(40, 1), 0);
	click->sight.ip = name_of(96, click->sight.block, next_random() % 50);
}

/* Truth: the person's last click within the window before the conversion. */
static void
find_truth(Market *market, int people)
{
	int		   *last = malloc(sizeof(int) * people);
	int			click = 0;
	int			i;

	memset(last, -1, sizeof(int) * people);
	for (i = 0; i < market->nconversions; i++)
	{
		Conversion *conversion = &market->conversions[i];

		for (; click < market->nclicks && market->clicks[click].at <= conversion->at; click++)
			if (market->clicks[click].person >= 0)
				last[market->clicks[click].person] = click;
		conversion->truth = -1;
		if (!conversion->organic && last[conversion->person] >= 0 &&
			conversion->at - market->clicks[last[conversion->person]].at <= WINDOW_DAYS)
			conversion->truth = last[conversion->person];
	}
	free(last);
}

/* Start the random numbers; like seeds lead to unlike numbers. */
static void
seed_random(uint64_t seed)
{
	int			i;

	state[0] = seed * 0x9e3779b97f4a7c15ULL + 1;
	state[1] = seed ^ 0xd1342543de82ef95ULL;
	for (i = 0; i < 20; i++)
		next_random();
}

static double
between(double low, double high)
{
	return low + (high - low) * uniform();
}

Habits
market_varied(uint64_t seed)
{
	Habits		varied = market_usual;

	seed_random(seed + 0x5eed);
	varied.ids_lost = between(0.25, 0.6);
	varied.organic = between(0.1, 0.4);
	varied.neighbours = between(0.04, 0.12);
	varied.in_app = between(0.4, 0.85);
	varied.stay_in_app = between(1, 6);
	varied.lag_median = exp(between(log(1), log(12)));
	varied.lag_sigma = between(1.4, 2.2);
	varied.cross_device = between(0.02, 0.1);
	varied.repeats = between(0.1, 0.35);
	varied.bots = between(0, 0.15);
	varied.relays = between(0.05, 0.35);
	varied.conversions = exp(between(log(0.01), log(0.06)));
	varied.night = between(0.3, 0.95);
	return varied;
}

Market *
market_simulate(int clicks_per_day, int days, uint64_t seed, const Habits *of_people)
{
	Market	   *market = calloc(1, sizeof(Market));
	int			total = clicks_per_day * days;
	Person	   *people = malloc(sizeof(Person) * (total + 1));
	Visit	   *visits = malloc(sizeof(Visit) * (total + 1));
	int			npeople = 0;
	int			capacity = (int) (total * of_people->conversions * 2.5) + 1000;
	double		rate[NADS];
	int			click_driven = 0;
	int			i;

	habits = *of_people;
	seed_random(seed);
	population = 60000.0 * pow(clicks_per_day / 50.0, 0.85);
	market->nads = NADS;
	for (i = 0; i < NADS; i++)
		rate[i] = habits.conversions * exp(0.5 * normal() - 0.125);
	market->clicks = malloc(sizeof(Click) * total);
	market->conversions = malloc(sizeof(Conversion) * capacity);

	while (market->nclicks < total)
	{
		Click	   *click = &market->clicks[market->nclicks++];

		click->ad = zipf(NADS, 0.8);
		click->at = random_time(days);
		if (chance(habits.bots))
		{
			click->person = -1;
			make_bot(click);
			continue;
		}
		if (npeople > 0 && chance(habits.repeats))
		{
			/* comes again, some days after an earlier click */
			Click	   *earlier = &market->clicks[next_random() % (market->nclicks - 1)];

			if (earlier->person >= 0 && earlier->at + 0.01 < days)
			{
				click->person = earlier->person;
				click->at = fmin(days - 0.001, earlier->at + exponential(2.0));
				if (chance(0.5))
					click->ad = earlier->ad;
			}
			else
				click->person = -1;
		}
		else
			click->person = -1;
		if (click->person < 0)
		{
			make_person(&people[npeople]);
			click->person = npeople++;
		}
		click_visit(click, &people[click->person], &visits[market->nclicks - 1]);
		if (chance(rate[click->ad]) && market->nconversions < capacity - 1)
		{
			double		lag = exp(log(habits.lag_median / 24) + habits.lag_sigma * normal());
			Conversion *conversion = &market->conversions[market->nconversions];

			if (lag > WINDOW_DAYS || click->at + lag > days)
				continue;
			market->nconversions++;
			click_driven++;
			conversion->at = click->at + lag;
			conversion->person = click->person;
			conversion->organic = false;
			conversion_visit(conversion, &people[click->person], &visits[market->nclicks - 1], lag);
		}
	}
	for (i = 0; i < click_driven * habits.organic / (1 - habits.organic) && market->nconversions < capacity; i++)
	{
		Conversion *conversion = &market->conversions[market->nconversions++];
		Person		person;
		bool		in_app;

		make_person(&person);
		if (chance(habits.neighbours))
			person.home = people[next_random() % npeople].home;
		conversion->at = random_time(days);
		conversion->person = -1;
		conversion->organic = true;
		conversion->has_id = false;
		in_app = person.device[0].os <= OS_ANDROID && chance(0.05);
		see(&conversion->sight, &person, 0, place_of(&person, &person.device[0], conversion->at), in_app,
			BROWSER_FACEBOOK, conversion->at, (uint32_t) next_random());
	}
	qsort(market->clicks, market->nclicks, sizeof(Click), by_click_time);
	qsort(market->conversions, market->nconversions, sizeof(Conversion), by_conversion_time);
	find_truth(market, npeople);
	free(people);
	free(visits);
	return market;
}

void
market_free(Market *market)
{
	free(market->clicks);
	free(market->conversions);
	free(market);
}
