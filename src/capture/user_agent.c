/*
 * user_agent.c
 *		What a user agent says of browser, system and device, by the patterns of
 *		uap-core.
 *
 * The patterns are those that the package uap-core ships (regexes.yaml), read by
 * libyaml and run by PCRE2 with its JIT compiler: of each section the first
 * pattern that matches counts. They are compiled when first needed, unless the
 * postmaster did it for all sessions. An agent is whatever a stranger sent: it is
 * matched as bytes, cut, and under limits of work, and what goes beyond them
 * does not match.
 */
#include "artery.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <yaml.h>

#include "mb/pg_wchar.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "capture/user_agent.h"
#include "runtime/guc.h"

#define MATCH_LIMIT 20000		/* of one pattern; those that match need a few hundred */
#define HEAP_LIMIT_KB 1024
#define JIT_STACK_LEAST 32768
#define JIT_STACK_MOST 262144
#define MOST_REPLACEMENTS 5

typedef struct Pattern
{
	char	   *regex;
	bool		caseless;
	bool		is_broken;		/* PCRE2 does not take it */
	char	   *replacements[MOST_REPLACEMENTS];	/* NULL: the group's own text */
	pcre2_code *code;			/* NULL: not compiled yet */
} Pattern;

typedef struct Section
{
	const char *name;
	const char *keys[MOST_REPLACEMENTS];
	int			groups[MOST_REPLACEMENTS];	/* the group that counts without a replacement; 0 is none */
	Pattern    *patterns;
	int			count;
} Section;

typedef enum SectionPlace
{
	BROWSERS,
	SYSTEMS,
	DEVICES,
	SECTIONS
} SectionPlace;

static Section sections[SECTIONS] = {
	{"user_agent_parsers", {"family_replacement", "v1_replacement", "v2_replacement", "v3_replacement"}, {1, 2, 3, 4},
	NULL, 0},
	{"os_parsers", {"os_replacement", "os_v1_replacement", "os_v2_replacement", "os_v3_replacement",
	"os_v4_replacement"}, {1, 2, 3, 4, 5}, NULL, 0},
	{"device_parsers", {"device_replacement", "brand_replacement", "model_replacement"}, {1, 0, 1}, NULL, 0},
};

static enum {NOT_TRIED, LOADED, MISSING} patterns_state = NOT_TRIED;
static pcre2_match_context *match_context;
static pcre2_match_data *match_data;
static int	matched_groups;		/* of the last match: those in match_data that it set */

static bool have_patterns(void);
static bool load(const char *path, MemoryContext context);
static void read_document(yaml_document_t *document);
static void read_section(yaml_document_t *document, yaml_node_t *list, Section *section);
static void read_pattern(yaml_document_t *document, yaml_node_t *mapping, Section *section, Pattern *pattern);
static const char *scalar(yaml_node_t *node);
static bool prepare(Pattern *pattern);
static bool matches(Pattern *pattern, const char *agent, int length);
static Pattern *first_match(Section *section, const char *agent, int length);
static void take_part(const Section *section, const Pattern *pattern, int place, const char *agent, char *part);
static void take_version(const Section *section, const Pattern *pattern, const char *agent, char *version);
static bool is_spider(const Pattern *pattern);
static bool looks_like_bot(const char *agent, int length, bool system_known);

bool
artery_user_agent_read(const char *agent, int length, bool with_device, UserAgent *parts)
{
	Pattern    *pattern;

	memset(parts, 0, sizeof(UserAgent));
	if (!have_patterns())
		return false;
	if (length > USER_AGENT_LOOKED_AT)
		length = pg_mbcliplen(agent, length, USER_AGENT_LOOKED_AT);
	pattern = first_match(&sections[BROWSERS], agent, length);
	if (pattern != NULL)
	{
		take_part(&sections[BROWSERS], pattern, 0, agent, parts->browser);
		take_version(&sections[BROWSERS], pattern, agent, parts->browser_version);
	}
	pattern = first_match(&sections[SYSTEMS], agent, length);
	if (pattern != NULL)
	{
		take_part(&sections[SYSTEMS], pattern, 0, agent, parts->os);
		take_version(&sections[SYSTEMS], pattern, agent, parts->os_version);
	}
	parts->is_bot = looks_like_bot(agent, length, pattern != NULL);
	pattern = with_device ? first_match(&sections[DEVICES], agent, length) : NULL;
	if (pattern != NULL)
	{
		take_part(&sections[DEVICES], pattern, 0, agent, parts->device);
		take_part(&sections[DEVICES], pattern, 1, agent, parts->brand);
		take_part(&sections[DEVICES], pattern, 2, agent, parts->model);
	}
	return true;
}

void
artery_user_agent_preload(void)
{
	int			place;
	int			i;

	if (!have_patterns())
		return;
	for (place = 0; place < SECTIONS; place++)
		for (i = 0; i < sections[place].count; i++)
			if (place != DEVICES || is_spider(&sections[place].patterns[i]))
				(void) prepare(&sections[place].patterns[i]);
}

static bool
have_patterns(void)
{
	MemoryContext context;

	if (patterns_state != NOT_TRIED)
		return patterns_state == LOADED;
	patterns_state = MISSING;
	if (artery_settings.user_agent_patterns[0] == '\0')
		return false;
	context = AllocSetContextCreate(TopMemoryContext, "artery user agents", ALLOCSET_DEFAULT_SIZES);
	match_context = pcre2_match_context_create(NULL);
	match_data = pcre2_match_data_create(10, NULL);	/* what $0 to $9 may refer to */
	if (match_context != NULL && match_data != NULL && load(artery_settings.user_agent_patterns, context))
	{
		pcre2_jit_stack *stack = pcre2_jit_stack_create(JIT_STACK_LEAST, JIT_STACK_MOST, NULL);

		pcre2_set_match_limit(match_context, MATCH_LIMIT);
		pcre2_set_heap_limit(match_context, HEAP_LIMIT_KB);
		if (stack != NULL)
			pcre2_jit_stack_assign(match_context, NULL, stack);
		patterns_state = LOADED;
		return true;
	}
	MemoryContextDelete(context);
	ereport(LOG,
			(errmsg("could not read patterns of user agents from \"%s\"", artery_settings.user_agent_patterns),
			 errdetail("System and browser are told by a few words instead."),
			 errhint("Install uap-core, or name its regexes.yaml in artery.user_agent_patterns.")));
	return false;
}

static bool
load(const char *path, MemoryContext context)
{
	FILE	   *file = AllocateFile(path, PG_BINARY_R);
	MemoryContext before = MemoryContextSwitchTo(context);
	yaml_parser_t parser;
	yaml_document_t document;
	bool		loaded = false;

	if (file != NULL && yaml_parser_initialize(&parser))
	{
		yaml_parser_set_input_file(&parser, file);
		if (yaml_parser_load(&parser, &document))
		{
			read_document(&document);
			yaml_document_delete(&document);
			loaded = sections[BROWSERS].count > 0 && sections[SYSTEMS].count > 0;
		}
		yaml_parser_delete(&parser);
	}
	if (file != NULL)
		FreeFile(file);
	MemoryContextSwitchTo(before);
	return loaded;
}

static void
read_document(yaml_document_t *document)
{
	yaml_node_t *root = yaml_document_get_root_node(document);
	yaml_node_pair_t *pair;
	int			place;

	for (place = 0; place < SECTIONS; place++)
		sections[place].count = 0;
	if (root == NULL || root->type != YAML_MAPPING_NODE)
		return;
	for (pair = root->data.mapping.pairs.start; pair < root->data.mapping.pairs.top; pair++)
	{
		const char *name = scalar(yaml_document_get_node(document, pair->key));
		yaml_node_t *list = yaml_document_get_node(document, pair->value);

		for (place = 0; place < SECTIONS; place++)
			if (name != NULL && strcmp(name, sections[place].name) == 0 && list->type == YAML_SEQUENCE_NODE)
				read_section(document, list, &sections[place]);
	}
}

static void
read_section(yaml_document_t *document, yaml_node_t *list, Section *section)
{
	yaml_node_item_t *item;

	section->patterns = palloc0((list->data.sequence.items.top - list->data.sequence.items.start + 1) * sizeof(Pattern));
	for (item = list->data.sequence.items.start; item < list->data.sequence.items.top; item++)
	{
		yaml_node_t *mapping = yaml_document_get_node(document, *item);
		Pattern    *pattern = &section->patterns[section->count];

		if (mapping == NULL || mapping->type != YAML_MAPPING_NODE)
			continue;
		read_pattern(document, mapping, section, pattern);
		section->count += pattern->regex != NULL;
	}
}

static void
read_pattern(yaml_document_t *document, yaml_node_t *mapping, Section *section, Pattern *pattern)
{
	yaml_node_pair_t *pair;
	int			i;

	memset(pattern, 0, sizeof(Pattern));
	for (pair = mapping->data.mapping.pairs.start; pair < mapping->data.mapping.pairs.top; pair++)
	{
		const char *key = scalar(yaml_document_get_node(document, pair->key));
		const char *value = scalar(yaml_document_get_node(document, pair->value));

		if (key == NULL || value == NULL)
			continue;
		if (strcmp(key, "regex") == 0)
			pattern->regex = pstrdup(value);
		else if (strcmp(key, "regex_flag") == 0)
			pattern->caseless = strchr(value, 'i') != NULL;
		for (i = 0; i < MOST_REPLACEMENTS; i++)
			if (section->keys[i] != NULL && strcmp(key, section->keys[i]) == 0)
				pattern->replacements[i] = pstrdup(value);
	}
}

static const char *
scalar(yaml_node_t *node)
{
	return node != NULL && node->type == YAML_SCALAR_NODE ? (const char *) node->data.scalar.value : NULL;
}

/* Compile it, once; without JIT, where that is not to be had, it is slower. */
static bool
prepare(Pattern *pattern)
{
	int			error;
	PCRE2_SIZE	offset;

	if (pattern->code != NULL || pattern->is_broken)
		return !pattern->is_broken;
	pattern->code = pcre2_compile((PCRE2_SPTR) pattern->regex, PCRE2_ZERO_TERMINATED,
								  pattern->caseless ? PCRE2_CASELESS : 0, &error, &offset, NULL);
	pattern->is_broken = pattern->code == NULL;
	if (!pattern->is_broken)
		(void) pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE);
	return !pattern->is_broken;
}

/* A match leaves its groups in match_data. */
static bool
matches(Pattern *pattern, const char *agent, int length)
{
	if (!prepare(pattern))
		return false;
	matched_groups = pcre2_match(pattern->code, (PCRE2_SPTR) agent, length, 0, 0, match_data, match_context);
	if (matched_groups == 0)	/* more than there is room for */
		matched_groups = pcre2_get_ovector_count(match_data);
	return matched_groups > 0;
}

static Pattern *
first_match(Section *section, const char *agent, int length)
{
	int			i;

	for (i = 0; i < section->count; i++)
		if (matches(&section->patterns[i], agent, length))
			return &section->patterns[i];
	return NULL;
}

/* One part of what matched last: the group's text, or its replacement with $1 to $9 filled in. */
static void
take_part(const Section *section, const Pattern *pattern, int place, const char *agent, char *part)
{
	const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(match_data);
	char		own[3] = {'$', '0' + section->groups[place], '\0'};
	const char *from = pattern->replacements[place];
	int			length = 0;

	if (from == NULL)
		from = section->groups[place] > 0 ? own : "";
	for (; *from != '\0' && length < USER_AGENT_PART - 1; from++)
	{
		int			group = from[1] - '0';

		if (from[0] != '$' || from[1] < '1' || from[1] > '9')
		{
			part[length++] = *from;
			continue;
		}
		from++;
		if (group < matched_groups && ends[2 * group] != PCRE2_UNSET)
		{
			PCRE2_SIZE	bytes = Min(ends[2 * group + 1] - ends[2 * group], (PCRE2_SIZE) (USER_AGENT_PART - 1 - length));

			memcpy(part + length, agent + ends[2 * group], bytes);
			length += bytes;
		}
	}
	length = pg_mbcliplen(part, length, length);	/* no half character */
	while (length > 0 && part[length - 1] == ' ')
		length--;
	part[length] = '\0';
	memmove(part, part + strspn(part, " "), length + 1 - strspn(part, " "));
	if (strcmp(part, "Other") == 0)	/* the patterns' word for not known */
		part[0] = '\0';
}

/* The parts of the version that are told, joined. */
static void
take_version(const Section *section, const Pattern *pattern, const char *agent, char *version)
{
	char		part[USER_AGENT_PART];
	int			length = 0;
	int			i;

	version[0] = '\0';
	for (i = 1; i < MOST_REPLACEMENTS && section->keys[i] != NULL; i++)
	{
		take_part(section, pattern, i, agent, part);
		if (part[0] == '\0' || length + strlen(part) + 2 > USER_AGENT_PART)
			break;
		length += sprintf(version + length, "%s%s", i > 1 ? "." : "", part);
	}
}

static bool
is_spider(const Pattern *pattern)
{
	return pattern->replacements[0] != NULL && strcmp(pattern->replacements[0], "Spider") == 0;
}

/*
 * Robots that pass for a device have the first patterns of devices. The words of
 * the others occur in people's agents too, but not in those without a system.
 */
static bool
looks_like_bot(const char *agent, int length, bool system_known)
{
	Section    *devices = &sections[DEVICES];
	bool		is_first = true;
	int			i;

	for (i = 0; i < devices->count; i++)
	{
		bool		spider = is_spider(&devices->patterns[i]);

		is_first &= spider;
		if (spider && (is_first || !system_known) && matches(&devices->patterns[i], agent, length))
			return true;
	}
	return false;
}
