/*
 * standalone.c
 *		What the pure parts of artery need of the server, for programs without one.
 */
#include "postgres.h"

#include <signal.h>
#include <stdlib.h>

#include "miscadmin.h"
#include "utils/palloc.h"

volatile sig_atomic_t InterruptPending = false;

void
ProcessInterrupts(void)
{
}

void *
palloc(Size size)
{
	return malloc(size);
}

void *
palloc_extended(Size size, int flags)
{
	return malloc(size);
}

bool
errstart(int level, const char *domain)
{
	abort();
}

bool
errstart_cold(int level, const char *domain)
{
	abort();
}

void
errfinish(const char *file, int line, const char *function)
{
	abort();
}

int
errcode(int code)
{
	return 0;
}

int
errmsg(const char *format,...)
{
	return 0;
}

void
pfree(void *pointer)
{
	free(pointer);
}
