#include "process.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "io.h"

/* The process's running engines. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sheaf_engine *engines;   /* guarded by lock */
static pthread_once_t entered = PTHREAD_ONCE_INIT, started = PTHREAD_ONCE_INIT;
static int start_error;         /* 0, or the errno of the attempt; written once */
static unsigned generation;     /* changed only by a child's only thread */


/* Under the lock, so that a state that is closed meanwhile waits for the end of its thread, which takes no
   lock of ours. */
static void halt_all(void) {
  pthread_mutex_lock(&lock);
  while (engines != NULL) {
    sheaf_engine *engine = engines;
    engines = engine->registered_next;
    sheaf_engine_halt(engine, true);
  }
  pthread_mutex_unlock(&lock);
}


/* A forked child has none of the threads, and the lock may have been held when it was forked. */
static void begin_child(void) {
  pthread_mutex_init(&lock, NULL);
  engines = NULL;
  generation++;
}


static void enter(void) {
  Dl_info info;
  if (dladdr((void *)&entered, &info) != 0 && info.dli_fname != NULL)
    (void)dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
  if (pthread_atfork(NULL, NULL, begin_child) != 0)
    start_error = ENOMEM;
}


static void start(void) {
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || atexit(halt_all) != 0)
    start_error = ENOMEM;
}


void sheaf_process_enter(void) {
  pthread_once(&entered, enter);
}


int sheaf_process_start(const char **what) {
  pthread_once(&started, start);
  *what = "libcurl's initialisation";
  return start_error;
}


unsigned sheaf_process_generation(void) {
  return generation;
}


void sheaf_process_register(sheaf_engine *engine) {
  pthread_mutex_lock(&lock);
  engine->registered_next = engines;
  engines = engine;
  pthread_mutex_unlock(&lock);
}


bool sheaf_process_unregister(sheaf_engine *engine) {
  bool found = false;
  pthread_mutex_lock(&lock);
  for (sheaf_engine **place = &engines; *place != NULL; place = &(*place)->registered_next) {
    if (*place == engine) {
      *place = engine->registered_next;
      found = true;
      break;
    }
  }
  pthread_mutex_unlock(&lock);
  return found;
}
