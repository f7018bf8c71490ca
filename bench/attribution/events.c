/*
 * events.c
 *		Prints a simulated market as CSV, in the order of time: what landing pages
 *		see of clicks and conversions, and, for the judge only, the truth.
 *
 * Arguments: clicks a day, days, seed, "usual" or "varied" habits.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "market.h"

static const char *const systems[] = {"iOS", "Android", "Windows", "macOS"};
static const char *const browsers[] = {"Safari", "Chrome", "Edge", "Firefox", "Samsung Internet", "Facebook", "Instagram"};

static void
print_sight(const Sight *sight)
{
	/* addresses with one block in their first three bytes; numbers of screens, zones and agents as texts */
	printf(",%u.%u.%u.%u", 1 + sight->block % 220, sight->block / 220 % 256, sight->block / 56320 % 256,
		   1 + sight->ip % 254);
	printf(",agent %u,%s,%s,%u,%u,Zone/%u\n", sight->agent, systems[sight->os], browsers[sight->browser],
		   300 + sight->screen, 600 + sight->screen % 7, sight->zone);
}

int
main(int argc, char **argv)
{
	uint64_t	seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
	Habits		habits = argc > 4 && strcmp(argv[4], "varied") == 0 ? market_varied(seed) : market_usual;
	Market	   *market = market_simulate(argc > 1 ? atoi(argv[1]) : 50, argc > 2 ? atoi(argv[2]) : 30, seed, &habits);
	int			click = 0;
	int			conversion = 0;

	/* seq at kind number ad truth has_id, then what is seen */
	while (click < market->nclicks || conversion < market->nconversions)
	{
		const Click *c = &market->clicks[click];
		const Conversion *v = &market->conversions[conversion];

		if (conversion == market->nconversions || (click < market->nclicks && c->at <= v->at))
		{
			printf("%d,%.8f,click,%d,%d,,", click + conversion, c->at, click, c->ad);
			print_sight(&c->sight);
			click++;
			continue;
		}
		printf("%d,%.8f,conversion,%d,,", click + conversion, v->at, conversion);
		if (v->truth >= 0)
			printf("%d", v->truth);
		printf(",%s", v->has_id ? "t" : "f");
		print_sight(&v->sight);
		conversion++;
	}
	market_free(market);
	return 0;
}
