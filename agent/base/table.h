/* uthash's tables. One that cannot grow for want of memory ends the process, like a crash: half of the
 * bookkeeping would be worse, and the next process has it all again. */
#ifndef OSH_BASE_TABLE_H
#define OSH_BASE_TABLE_H

#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

static inline _Noreturn void osh_table_ran_out(void)
{
	osh_error("out of memory: a table cannot grow");
	_exit(EXIT_FAILURE);
}

#define uthash_fatal(text) osh_table_ran_out()
#include <uthash.h>

#endif
