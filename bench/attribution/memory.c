/*
 * memory.c
 *		A tenant's clicks in memory.
 *
 * The same ranges, counts and half-lives as the tables have (see
 * src/attribute/posterior.c), but counted at once and not some seconds later.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

enum
{
	KEY_IP, KEY_HASH, KEY_HARDWARE, KEY_BLOCK, KEY_HASH_AGENT, KEY_CLASS, KEYS
};

#define RANGES 3				/* of the keys, those that candidates come from */
/* As in src/attribute/posterior.c. */
#define ADDRESS_LIMIT 8
#define FINGERPRINT_LIMIT 6
#define HARDWARE_LIMIT 4
#define WINDOW_DAYS 7.0
#define LN_2 0.69314718055994531

/* How often a value occurred, and its clicks from the newest on. */
typedef struct Slot
{
	uint64_t	key;
	int			head;			/* newest click + 1 */
	double		count;			/* faded */
	double		at;
} Slot;

struct Table
{
	uint64_t	mask;
	Slot	   *slots;
	int		   *older[RANGES];	/* per click: the click before of the same value, + 1 */
};

static uint64_t
mix(uint64_t a, uint64_t b)
{
	uint64_t	h = (a + 0x9e3779b97f4a7c15ULL) * 0xbf58476d1ce4e5b9ULL ^ (b + 0x94d049bb133111ebULL) * 0xff51afd7ed558ccdULL;

	h ^= h >> 31;
	return h * 0x9e3779b97f4a7c15ULL | 1;
}

static uint64_t
hardware_of(const Sight *sight)
{
	return mix(sight->screen * 1000 + sight->zone, sight->os);
}

static uint64_t
hash_of(const Sight *sight)
{
	return mix(hardware_of(sight), sight->browser);
}

static int
class_of(const Sight *sight)
{
	return artery_calibrated_class(sight->os, sight->in_app);
}

static uint64_t
key_of(const Sight *sight, int kind)
{
	switch (kind)
	{
		case KEY_IP:
			return mix(sight->ip, kind);
		case KEY_HASH:
			return mix(hash_of(sight), kind);
		case KEY_HARDWARE:
			return mix(hardware_of(sight), kind);
		case KEY_BLOCK:
			return mix(sight->block, kind);
		case KEY_HASH_AGENT:
			return mix(hash_of(sight) ^ sight->agent, kind);
		default:
			return mix(class_of(sight), kind);
	}
}

static Slot *
slot_of(const Memory *memory, uint64_t key)
{
	Slot	   *slots = memory->table->slots;
	uint64_t	i = (key >> 7) & memory->table->mask;

	while (slots[i].key != 0 && slots[i].key != key)
		i = (i + 1) & memory->table->mask;
	slots[i].key = key;
	return &slots[i];
}

/* A week's clicks with a value, from its faded sum. */
static double
count_of(const Memory *memory, uint64_t key, double at)
{
	const Slot *slot = slot_of(memory, key);

	return slot->count * exp2(-(at - slot->at) / CALIBRATED_COUNT_HALF_LIFE_DAYS) * LN_2;
}

Memory *
memory_open(const Market *market)
{
	Memory	   *memory = calloc(1, sizeof(Memory));
	uint64_t	size = 1024;
	int			k;

	while (size < (uint64_t) market->nclicks * 14)
		size *= 2;
	memory->market = market;
	memory->table = calloc(1, sizeof(struct Table));
	memory->table->mask = size - 1;
	memory->table->slots = calloc(size, sizeof(Slot));
	for (k = 0; k < RANGES; k++)
		memory->table->older[k] = calloc(market->nclicks + 1, sizeof(int));
	artery_calibrated_init(&memory->state);
	return memory;
}

void
memory_close(Memory *memory)
{
	int			k;

	for (k = 0; k < RANGES; k++)
		free(memory->table->older[k]);
	free(memory->table->slots);
	free(memory->table);
	free(memory);
}

/* What was learnt fades, the factory's priors do not. */
static void
fade(CalibratedState *state, double days)
{
	double		keep = exp2(-days / CALIBRATED_HALF_LIFE_DAYS);
	CalibratedState factory;
	int			i;

	artery_calibrated_init(&factory);
	for (i = 0; i < CALIBRATED_NUMBERS; i++)
	{
		double		prior = ((double *) &factory)[i];

		((double *) state)[i] = prior + (((double *) state)[i] - prior) * keep;
	}
}

static void
add_click(Memory *memory, int index)
{
	const Click *click = &memory->market->clicks[index];
	int			kind;

	for (kind = 0; kind < KEYS; kind++)
	{
		Slot	   *slot = slot_of(memory, key_of(&click->sight, kind));

		slot->count = slot->count * exp2(-(click->at - slot->at) / CALIBRATED_COUNT_HALF_LIFE_DAYS) + 1;
		slot->at = click->at;
		if (kind < RANGES)
			memory->table->older[kind][index] = slot->head;
		slot->head = index + 1;
	}
	memory->state.clicks[class_of(&click->sight)] += 1;
	memory->state.click_hours[(int) ((click->at - floor(click->at)) * CALIBRATED_HOURS)] += 1;
}

void
memory_advance(Memory *memory, double at)
{
	const Market *market = memory->market;

	while (memory->seen < market->nclicks && market->clicks[memory->seen].at <= at)
		add_click(memory, memory->seen++);
	if (at - memory->faded_at > 0.25)
	{
		fade(&memory->state, at - memory->faded_at);
		memory->faded_at = at;
	}
}

static int
device_agreement(const Sight *a, const Sight *b)
{
	if (hash_of(a) == hash_of(b))
		return a->agent == b->agent ? CALIBRATED_SAME_AGENT : CALIBRATED_SAME_HASH;
	return hardware_of(a) == hardware_of(b) ? CALIBRATED_SAME_HARDWARE : CALIBRATED_OTHER_DEVICE;
}

static void
view_candidate(Memory *memory, const Conversion *conversion, int index, CalibratedCandidate *view)
{
	const Click *click = &memory->market->clicks[index];
	const Sight *a = &click->sight;
	const Sight *b = &conversion->sight;

	memset(view, 0, sizeof(*view));
	view->lag_hours = (conversion->at - click->at) * 24;
	view->click_class = class_of(a);
	view->browser = a->browser;
	view->block_clicks = count_of(memory, key_of(a, KEY_BLOCK), conversion->at);
	view->shared = artery_calibrated_shared(view->block_clicks);
	view->device = device_agreement(a, b);
	view->network = a->ip == b->ip ? CALIBRATED_SAME_ADDRESS : a->block == b->block ? CALIBRATED_SAME_BLOCK :
		CALIBRATED_OTHER_BLOCK + memory->conversion.shared;
}

/* Insert it where its number belongs, newest first, unless it is there. */
static void
add_candidate(Memory *memory, int index)
{
	int			place = memory->count;

	while (place > 0 && memory->clicks[place - 1] < index)
		place--;
	if (place > 0 && memory->clicks[place - 1] == index)
		return;
	memmove(&memory->clicks[place + 1], &memory->clicks[place], (memory->count - place) * sizeof(int));
	memory->clicks[place] = index;
	memory->count++;
}

/* The newest clicks of a value; returns how many hours back they are all there. */
static double
read_range(Memory *memory, const Conversion *conversion, int kind, int limit)
{
	const Click *clicks = memory->market->clicks;
	int			index = slot_of(memory, key_of(&conversion->sight, kind))->head - 1;
	int			taken = 0;

	for (; index >= 0; index = memory->table->older[kind][index] - 1)
	{
		double		age = conversion->at - clicks[index].at;

		if (age > WINDOW_DAYS)
			break;
		add_candidate(memory, index);
		if (++taken == limit)
			return age * 24;
	}
	return WINDOW_DAYS * 24;
}

static void
count_same_device(Memory *memory)
{
	int			i,
				j;

	for (i = 0; i < memory->count; i++)
	{
		uint64_t	mine = hardware_of(&memory->market->clicks[memory->clicks[i]].sight);

		for (j = 0; j < memory->count; j++)
		{
			if (mine != hardware_of(&memory->market->clicks[memory->clicks[j]].sight))
				continue;
			memory->views[i].ip_same_device += memory->views[j].network == CALIBRATED_SAME_ADDRESS;
			memory->views[i].block_same_device += memory->views[j].network <= CALIBRATED_SAME_BLOCK;
		}
	}
}

static void
describe(Memory *memory, const Conversion *conversion)
{
	CalibratedConversion *told = &memory->conversion;
	CalibratedCounts *n = &told->counts;
	const Sight *sight = &conversion->sight;
	int			c;

	memset(told, 0, sizeof(*told));
	told->os = sight->os;
	told->browser = sight->browser;
	told->days = conversion->at;
	told->hour = (conversion->at - floor(conversion->at)) * 24;
	for (c = 0; c < CALIBRATED_CLASSES; c++)
		n->window += n->clicks_class[c] = count_of(memory, mix(c, KEY_CLASS), conversion->at);
	n->ip = count_of(memory, key_of(sight, KEY_IP), conversion->at);
	n->block = count_of(memory, key_of(sight, KEY_BLOCK), conversion->at);
	n->hash = count_of(memory, key_of(sight, KEY_HASH), conversion->at);
	n->hash_agent = count_of(memory, key_of(sight, KEY_HASH_AGENT), conversion->at);
	n->hardware = count_of(memory, key_of(sight, KEY_HARDWARE), conversion->at);
	told->shared = artery_calibrated_shared(n->block);
}

static void
compare(void *arg, int newer, int older, int *device, int *network)
{
	const Memory *memory = arg;
	const Sight *y = &memory->market->clicks[memory->clicks[newer]].sight;
	const Sight *x = &memory->market->clicks[memory->clicks[older]].sight;

	*device = device_agreement(x, y);
	*network = x->ip == y->ip ? CALIBRATED_SAME_ADDRESS : x->block == y->block ? CALIBRATED_SAME_BLOCK :
		CALIBRATED_OTHER_BLOCK;
}

CalibratedVerdict
memory_weigh(Memory *memory, const Conversion *conversion)
{
	int			i;

	describe(memory, conversion);
	memory->count = 0;
	(void) read_range(memory, conversion, KEY_IP, ADDRESS_LIMIT);
	if (memory->conversion.counts.hash <= CALIBRATED_COMMON_FINGERPRINT)
	{
		memory->conversion.hash_reach = read_range(memory, conversion, KEY_HASH, FINGERPRINT_LIMIT);
		if (memory->conversion.counts.hardware <= CALIBRATED_COMMON_HARDWARE)
			memory->conversion.hardware_reach = read_range(memory, conversion, KEY_HARDWARE, HARDWARE_LIMIT);
	}
	for (i = 0; i < memory->count; i++)
		view_candidate(memory, conversion, memory->clicks[i], &memory->views[i]);
	count_same_device(memory);
	return artery_calibrated_score(&memory->state, &memory->conversion, memory->views, memory->count, compare, memory);
}

void
memory_learn(Memory *memory, const Conversion *conversion, const CalibratedVerdict *verdict)
{
	CalibratedState learnt;
	int			i;

	memset(&learnt, 0, sizeof(learnt));
	if (conversion->has_id && conversion->truth >= 0)
	{
		CalibratedCandidate truth;
		int			place = -1;

		for (i = 0; i < memory->count; i++)
			if (memory->clicks[i] == conversion->truth)
				place = i;
		view_candidate(memory, conversion, conversion->truth, &truth);
		artery_calibrated_learn_labelled(&memory->state, verdict, place, &truth, &learnt);
	}
	else if (!conversion->has_id)
		artery_calibrated_learn_unlabelled(&memory->state, &memory->conversion, memory->views, memory->count, verdict,
										   &learnt);
	for (i = 0; i < CALIBRATED_NUMBERS; i++)
		((double *) &memory->state)[i] += ((const double *) &learnt)[i];
}

int
memory_by_fingerprint(Memory *memory, const Conversion *conversion)
{
	int			index = slot_of(memory, key_of(&conversion->sight, KEY_HASH))->head - 1;

	return index >= 0 && conversion->at - memory->market->clicks[index].at <= WINDOW_DAYS ? index : -1;
}

int
memory_by_address(Memory *memory, const Conversion *conversion)
{
	const Click *clicks = memory->market->clicks;
	int			index = slot_of(memory, key_of(&conversion->sight, KEY_IP))->head - 1;

	for (; index >= 0 && conversion->at - clicks[index].at <= 1; index = memory->table->older[KEY_IP][index] - 1)
		if (clicks[index].sight.agent == conversion->sight.agent)
			return index;
	return -1;
}
