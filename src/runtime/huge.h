/*
 * huge.h
 *		Memory for as many rows as there are.
 *
 * Where the system has huge pages but leaves it to programs to ask for them (as most
 * Linux does), arrays of many megabytes are better there: 512 times less pages to
 * make present, and to look up when they are read here and there.
 */
#ifndef ARTERY_RUNTIME_HUGE_H
#define ARTERY_RUNTIME_HUGE_H

#include "postgres.h"

#include <sys/mman.h>
#include <unistd.h>

#include "utils/palloc.h"

#define HUGE_PAGE ((Size) 2 * 1024 * 1024)
#define HUGE_LEAST (2 * HUGE_PAGE)	/* what is smaller hardly has a whole one to itself */

/* Room for the heads of malloc and palloc, so that what the system maps is whole huge pages, which it then aligns. */
#define HUGE_HEAD ((Size) 4096)

/* Like palloc_extended: as much memory as there is; at least a byte. */
static inline void *
artery_huge_alloc(Size size, int flags)
{
	Size		whole = size < HUGE_LEAST ? Max(size, 1) : (size + HUGE_HEAD + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE - HUGE_HEAD;
	char	   *memory = (char *) palloc_extended(whole, (flags & ~MCXT_ALLOC_ZERO) | MCXT_ALLOC_HUGE);

#ifdef MADV_HUGEPAGE
	if (size >= HUGE_LEAST)
	{
		Size		page = sysconf(_SC_PAGESIZE);
		char	   *first = (char *) ((uintptr_t) memory & ~(uintptr_t) (page - 1));

		/* advice, so that it does not matter whether it is taken */
		(void) madvise(first, (memory + whole - first) & ~(page - 1), MADV_HUGEPAGE);
	}
#endif
	if (flags & MCXT_ALLOC_ZERO)
		memset(memory, 0, size);
	return memory;
}

#endif							/* ARTERY_RUNTIME_HUGE_H */
