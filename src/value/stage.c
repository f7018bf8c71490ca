/*
 * stage.c
 *		What a stage of the funnel is worth.
 */
#include "artery.h"

#include "value/stage.h"

void
artery_stages_build(ArteryTenant *tenant, Jsonb *template, Jsonb *own)
{
	tenant->nstages = 0;
	tenant->stages = NULL;
}
