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
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int prepared;            /* 0, or the errno of the attempt; written once */


static void halt_all(void) {
  for (;;) {
    pthread_mutex_lock(&lock);
    sheaf_engine *engine = engines;
    if (engine != NULL)
      engines = engine->registered_next;
    pthread_mutex_unlock(&lock);
    if (engine == NULL)
      return;
    sheaf_engine_halt(engine, true);
  }
}


/* A forked child has none of the threads, and the lock may have been held when it was forked. */
static void forget_all(void) {
  pthread_mutex_init(&lock, NULL);
  engines = NULL;
}


static void prepare(void) {
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || atexit(halt_all) != 0 ||
      pthread_atfork(NULL, NULL, forget_all) != 0)
    prepared = ENOMEM;
}


int sheaf_process_prepare(const char **what) {
  pthread_once(&once, prepare);
  *what = "libcurl's initialisation";
  return prepared;
}


void sheaf_process_register(sheaf_engine *engine) {
  pthread_mutex_lock(&lock);
  engine->registered_next = engines;
  engines = engine;
  pthread_mutex_unlock(&lock);
}


void sheaf_process_unregister(sheaf_engine *engine) {
  pthread_mutex_lock(&lock);
  for (sheaf_engine **place = &engines; *place != NULL; place = &(*place)->registered_next) {
    if (*place == engine) {
      *place = engine->registered_next;
      break;
    }
  }
  pthread_mutex_unlock(&lock);
}


void sheaf_process_pin(void) {
  Dl_info info;
  if (dladdr((void *)&once, &info) != 0 && info.dli_fname != NULL)
    (void)dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}
