/*
 * launcher.c
 *		Keeps one worker alive per listed database.
 */
#include "artery.h"

#include "runtime/launcher.h"

void
artery_launcher_init(void)
{
}
