/* What there is once in a process: libcurl's start, and the stop of every I/O thread at exit. */
#ifndef SHEAF_PROCESS_H
#define SHEAF_PROCESS_H

#include <stdbool.h>

#pragma GCC visibility push(hidden)

struct sheaf_engine;

/* Before anything else, any number of times: keeps the shared object that holds this code in memory until
   the process ends, since a thread may still run in it when the last Lua state has let go of it; and
   has forks counted. */
void sheaf_process_enter(void);

/* Initialises libcurl and then registers the handler that stops all engines at exit, in this order, so
   that at exit the threads are gone before TLS is. Any number of times; returns 0, or an errno with
   *what naming what was refused. */
int sheaf_process_start(const char **what);

/* How many forks lie between the first process that entered and this one: two engines with different
   numbers are of different processes. Costs no system call. */
unsigned sheaf_process_generation(void);

/* Engines with a running thread. */
void sheaf_process_register(struct sheaf_engine *engine);

/* False where the process is exiting and has stopped the engine already. */
bool sheaf_process_unregister(struct sheaf_engine *engine);

/* In engine.c: stops and joins an engine's thread. */
void sheaf_engine_halt(struct sheaf_engine *engine, bool abandon);

#pragma GCC visibility pop

#endif
