#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"

/* How a finished transfer is told: its kind, its message, its counts. */

/* How long a failure's text may be that is shown to the user. */
#define MESSAGE_SIZE (CURL_ERROR_SIZE + 64)


/* Each code that can end a transfer, the kind it is told as, and whether another attempt is in vain. What
   is not listed is internal. */
static const struct {
  CURLcode code;
  sheaf_kind kind;
  bool permanent;
} meanings[] = {
  {CURLE_COULDNT_RESOLVE_PROXY, SHEAF_KIND_DNS, false},
  {CURLE_COULDNT_RESOLVE_HOST, SHEAF_KIND_DNS, false},
  {CURLE_COULDNT_CONNECT, SHEAF_KIND_CONNECT, false},
  {CURLE_INTERFACE_FAILED, SHEAF_KIND_CONNECT, true},
  {CURLE_PROXY, SHEAF_KIND_CONNECT, false},
  {CURLE_OPERATION_TIMEDOUT, SHEAF_KIND_TIMEOUT, false},
  {CURLE_SSL_CONNECT_ERROR, SHEAF_KIND_TLS, false},
  {CURLE_SSL_SHUTDOWN_FAILED, SHEAF_KIND_TLS, false},
  {CURLE_PEER_FAILED_VERIFICATION, SHEAF_KIND_TLS, true},
  {CURLE_SSL_CACERT_BADFILE, SHEAF_KIND_TLS, true},
  {CURLE_SSL_CERTPROBLEM, SHEAF_KIND_TLS, true},
  {CURLE_SSL_CIPHER, SHEAF_KIND_TLS, true},
  {CURLE_SSL_CRL_BADFILE, SHEAF_KIND_TLS, true},
  {CURLE_SSL_ISSUER_ERROR, SHEAF_KIND_TLS, true},
  {CURLE_SSL_PINNEDPUBKEYNOTMATCH, SHEAF_KIND_TLS, true},
  {CURLE_SSL_INVALIDCERTSTATUS, SHEAF_KIND_TLS, true},
  {CURLE_SSL_CLIENTCERT, SHEAF_KIND_TLS, true},
  {CURLE_SSL_ENGINE_INITFAILED, SHEAF_KIND_TLS, true},
  {CURLE_SSL_ENGINE_NOTFOUND, SHEAF_KIND_TLS, true},
  {CURLE_SSL_ENGINE_SETFAILED, SHEAF_KIND_TLS, true},
  {CURLE_USE_SSL_FAILED, SHEAF_KIND_TLS, true},
  {CURLE_SEND_ERROR, SHEAF_KIND_RESET, false},
  {CURLE_RECV_ERROR, SHEAF_KIND_RESET, false},
  {CURLE_GOT_NOTHING, SHEAF_KIND_RESET, false},
  {CURLE_PARTIAL_FILE, SHEAF_KIND_RESET, false},
  {CURLE_HTTP2, SHEAF_KIND_RESET, false},
  {CURLE_HTTP2_STREAM, SHEAF_KIND_RESET, false},
  {CURLE_WEIRD_SERVER_REPLY, SHEAF_KIND_PROTOCOL, false},
  {CURLE_BAD_CONTENT_ENCODING, SHEAF_KIND_PROTOCOL, false},
  {CURLE_UNSUPPORTED_PROTOCOL, SHEAF_KIND_PROTOCOL, true},
  {CURLE_URL_MALFORMAT, SHEAF_KIND_PROTOCOL, true},
  {CURLE_NOT_BUILT_IN, SHEAF_KIND_INTERNAL, true},
  {CURLE_FAILED_INIT, SHEAF_KIND_INTERNAL, true},
  {CURLE_BAD_FUNCTION_ARGUMENT, SHEAF_KIND_INTERNAL, true},
};


static sheaf_kind meaning(CURLcode code, bool *permanent) {
  for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++) {
    if (meanings[i].code == code) {
      *permanent = meanings[i].permanent;
      return meanings[i].kind;
    }
  }
  *permanent = false;
  return SHEAF_KIND_INTERNAL;
}


static void set_message(sheaf_answer *answer, const char *text) {
  free(answer->message);
  answer->message = strdup(text);  /* without memory the kind has to tell it alone */
}


/* The libcurl text, with what it leaves out. */
static void explain(sheaf_transfer *transfer, CURLcode code) {
  sheaf_answer *answer = &transfer->request->answer;
  char text[MESSAGE_SIZE];
  const char *said = transfer->error[0] != '\0' ? transfer->error : curl_easy_strerror(code);
  if (transfer->too_large)
    snprintf(text, sizeof text, "the answer is larger than max_body, %zu bytes",
             transfer->request->max_body);
  else if (transfer->long_head)
    snprintf(text, sizeof text, "the answer has more than %d headers, or %d bytes of them",
             SHEAF_MAX_HEAD_LINES, SHEAF_MAX_HEAD);
  else if (transfer->no_memory)
    snprintf(text, sizeof text, "not enough memory for the answer");
  else if (transfer->no_descriptor)
    snprintf(text, sizeof text, "too many open files (see ulimit -n)");
  else if (transfer->resent)
    snprintf(text, sizeof text, "a kept connection turned out to be closed");
  else
    snprintf(text, sizeof text, "%s", said);
  set_message(answer, text);
}


void sheaf_transfer_count(const sheaf_transfer *transfer) {
  sheaf_counters *counters = &transfer->request->batch->counters;
  long connects = 0, head_sent = 0, head_came = 0;
  curl_off_t came = 0, sent = 0;
  curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connects);
  curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &head_sent);
  curl_easy_getinfo(transfer->easy, CURLINFO_HEADER_SIZE, &head_came);
  curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_DOWNLOAD_T, &came);
  curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
  sheaf_count(&counters->opened, connects);
  if (connects == 0 && transfer->sent > 0)
    sheaf_count(&counters->reused, 1);
  sheaf_count(&counters->bytes_in, came + head_came);
  sheaf_count(&counters->bytes_out, sent + head_sent);
}


void sheaf_transfer_result(sheaf_transfer *transfer, CURLcode code, bool *permanent) {
  sheaf_answer *answer = &transfer->request->answer;
  long status = 0, version = 0;
  *permanent = false;
  curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
  answer->status = (int)status;
  if (code == CURLE_OK) {
    curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_VERSION, &version);
    transfer->host->protocol = version >= CURL_HTTP_VERSION_2_0 ? SHEAF_HTTP2 : SHEAF_HTTP1;
    answer->kind = SHEAF_KIND_NONE;
    return;
  }
  answer->kind = meaning(code, permanent);
  if (transfer->too_large || transfer->long_head)
    answer->kind = SHEAF_KIND_TOO_LARGE;
  else if (transfer->no_memory || transfer->no_descriptor)
    answer->kind = SHEAF_KIND_INTERNAL;
  else if (transfer->resent)
    answer->kind = SHEAF_KIND_RESET;
  explain(transfer, code);
}
