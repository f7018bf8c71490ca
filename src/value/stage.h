/*
 * stage.h
 *		What a stage of the funnel is worth.
 */
#ifndef ARTERY_VALUE_STAGE_H
#define ARTERY_VALUE_STAGE_H

#include "postgres.h"

#include "tenant/tenant.h"
#include "utils/jsonb.h"

/*
 * Fill tenant->stages from the template's stage values with the tenant's own
 * laid over them, stage by stage (own null removes a stage); either may be
 * NULL. Allocates in the current context; both objects were checked before.
 */
extern void artery_stages_build(ArteryTenant *tenant, Jsonb *template, Jsonb *own);

/* The stage of that name or alias, or NULL. */
extern const ArteryStage *artery_stage_find(const ArteryTenant *tenant, const char *name);

/* Names of the tenant's stages by value, separated by commas, palloc'd. */
extern char *artery_stage_names(const ArteryTenant *tenant);

/* The same as find; error 22023 that names the known stages. */
extern const ArteryStage *artery_stage_get(const ArteryTenant *tenant, const char *name);

#endif							/* ARTERY_VALUE_STAGE_H */
