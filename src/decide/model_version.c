/*
 * model_version.c
 *		The version of a model's mathematics, for SQL.
 */
#include "artery.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "decide/model_version.h"

PG_FUNCTION_INFO_V1(artery_model_version);

/* artery.model_version(model) */
Datum
artery_model_version(PG_FUNCTION_ARGS)
{
	char	   *model = text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (strcmp(model, "blended") == 0)
		PG_RETURN_INT32(BLENDED_VERSION);
	if (strcmp(model, "delayed") == 0)
		PG_RETURN_INT32(DELAYED_VERSION);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown model \"%s\"", model),
			 errhint("Known models: blended, delayed.")));
}
