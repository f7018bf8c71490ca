/*
 * merge.c
 *		Contacts and deals that the CRM made one.
 *
 * A merge may make a new record, which takes after one of the old ones, or keep
 * one of them. Old ids of contacts are remembered, for what comes in late. Old
 * deals are not: what comes of them late is put in its place, before the moment
 * at which they were lost to the survivor, and so the value of the merged deals
 * is counted once.
 */
#include "artery.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "capture/merge.h"
#include "runtime/dbtx.h"
#include "value/stage.h"

static ArteryStatement merge_contacts = {
	"SELECT artery.merge_contacts($1, $2, $3)", 3, {TEXTOID, TEXTOID, TEXTARRAYOID}, NULL
};
static ArteryStatement lock_deals = {
	"SELECT d.deal_id, d.deal_id = $2, d.stage, d.deal_value, d.crm_contact_id FROM artery.deal d "
	" WHERE d.tenant_id = $1 AND d.deal_id = ANY ($3 || $2) ORDER BY d.deal_id FOR UPDATE",
	3, {TEXTOID, TEXTOID, TEXTARRAYOID}, NULL
};
static ArteryStatement move_evidence = {
	"UPDATE artery.contact_evidence e SET crm_deal_id = $2 WHERE e.tenant_id = $1 AND e.crm_deal_id = ANY ($3)",
	3, {TEXTOID, TEXTOID, TEXTARRAYOID}, NULL
};
static ArteryStatement attribute_deal = {
	"SELECT artery.attribute_deal($1, $2)", 2, {TEXTOID, TEXTOID}, NULL
};

/* The deals of a merge that are known. */
typedef struct KnownDeals
{
	int			count;
	char	  **gone;			/* in the order of their ids */
	bool		survivor_known;
	bool		survivor_staged;
	char	   *survivor_contact;
	char	   *contact;		/* of the primary, else of the first that has one */
	char	   *stage;			/* the primary's; NULL if none */
	Numeric		deal_value;
} KnownDeals;

static void find_deals(const CrmMerge *merge, Datum *keys, KnownDeals *known);
static void carry_over(const ArteryTenant *tenant, const CrmMerge *merge, Datum *keys, const KnownDeals *known, DealMove *move,
					   TimestampTz received_at, DealResult *result);

static void
check_ids(const CrmMerge *merge, const char *what)
{
	int			i;

	artery_deal_check_id(merge->survivor, what);
	for (i = 0; i < merge->count; i++)
		artery_deal_check_id(merge->gone[i], what);
}

static void
make_keys(const ArteryTenant *tenant, const CrmMerge *merge, Datum *keys)
{
	Datum	   *gone = palloc(Max(merge->count, 1) * sizeof(Datum));
	int			i;

	for (i = 0; i < merge->count; i++)
		gone[i] = CStringGetTextDatum(merge->gone[i]);
	keys[0] = CStringGetTextDatum(tenant->tenant_id);
	keys[1] = CStringGetTextDatum(merge->survivor);
	keys[2] = PointerGetDatum(construct_array(gone, merge->count, TEXTOID, -1, false, TYPALIGN_INT));
}

void
artery_merge_contacts(const ArteryTenant *tenant, const CrmMerge *merge)
{
	Datum		keys[3];

	check_ids(merge, "crm_contact_id");
	make_keys(tenant, merge, keys);
	(void) artery_execute(&merge_contacts, keys, NULL, false, 0);
}

void
artery_merge_deals(const ArteryTenant *tenant, const CrmMerge *merge, const ArteryStage *lost, const char *event_id,
				   TimestampTz occurred_at, TimestampTz received_at, DealResult *result)
{
	DealMove	move = {.occurred_at = occurred_at,.event_id = event_id};
	KnownDeals	known;
	Datum		keys[3];
	int			i;

	memset(result, 0, sizeof(DealResult));
	check_ids(merge, "deal_id");
	make_keys(tenant, merge, keys);
	find_deals(merge, keys, &known);
	(void) artery_execute(&move_evidence, keys, NULL, false, 0);
	carry_over(tenant, merge, keys, &known, &move, received_at, result);
	move.stage = lost;
	move.deal_value = NULL;
	move.contact_id = NULL;
	for (i = 0; i < known.count; i++)
	{
		DealResult	ignored;

		move.deal_id = known.gone[i];
		artery_deal_record(tenant, &move, received_at, &ignored);
	}
}

/* Lock the deals' rows and read them. */
static void
find_deals(const CrmMerge *merge, Datum *keys, KnownDeals *known)
{
	uint64		rows = artery_execute(&lock_deals, keys, NULL, false, 0);
	uint64		row;

	memset(known, 0, sizeof(KnownDeals));
	known->gone = palloc((rows + 1) * sizeof(char *));
	for (row = 0; row < rows; row++)
	{
		char	   *deal_id = artery_field_text(row, 1);
		char	   *contact = artery_field_text(row, 5);
		bool		is_primary = strcmp(deal_id, merge->primary) == 0;

		if (contact != NULL && (known->contact == NULL || is_primary))
			known->contact = contact;
		if (artery_field_bool(row, 2))
		{
			known->survivor_known = true;
			known->survivor_staged = !artery_field_null(row, 3);
			known->survivor_contact = contact;
			continue;
		}
		known->gone[known->count++] = deal_id;
		if (is_primary && !artery_field_null(row, 3))
		{
			bool		isnull;
			Datum		value = artery_field(row, 4, &isnull);

			known->stage = artery_field_text(row, 3);
			known->deal_value = isnull ? NULL : DatumGetNumericCopy(value);
		}
	}
}

/* What the survivor takes over: the primary's stage if it is new, a contact if it has none, and what evidence then tells. */
static void
carry_over(const ArteryTenant *tenant, const CrmMerge *merge, Datum *keys, const KnownDeals *known, DealMove *move,
		   TimestampTz received_at, DealResult *result)
{
	move->deal_id = merge->survivor;
	if (!known->survivor_staged && known->stage != NULL)
	{
		/* a stage that the tenant no longer has is not taken over */
		move->stage = artery_stage_find(tenant, known->stage);
		move->deal_value = known->deal_value;
		move->contact_id = known->survivor_contact ? known->survivor_contact : known->contact;
		if (move->stage != NULL)
			artery_deal_record(tenant, move, received_at, result);
	}
	else if (known->survivor_known && known->survivor_contact == NULL && known->contact != NULL)
		artery_deal_set_contact(tenant, merge->survivor, known->contact, false);
	else if (known->survivor_staged)
		(void) artery_execute(&attribute_deal, keys, NULL, false, 0);
}
