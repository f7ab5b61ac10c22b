/* Reading what a response says beside its answer: headers, dates, and whether an error means that the
   money is gone. All of it comes from outside: every function takes a pointer and a length, reads
   nothing beyond, needs no NUL at the end, and calls malformed input absent. */
#ifndef SHEAF_HEADERS_H
#define SHEAF_HEADERS_H

#include <stdbool.h>
#include <stddef.h>

#pragma GCC visibility push(hidden)

/* What sheaf_retry_after tells at most, in seconds: thirty years, more than any caller waits, and still
   safe to add to a clock. */
#define SHEAF_RETRY_AFTER_MAX 1e9

/* Finds the first field called `name` (any case) in a raw header block with CRLF or LF line ends. Where
   the block has several heads (100 Continue, a proxy's answer to CONNECT), the last one counts; trailers
   don't. The value is trimmed of spaces and tabs, may be empty, and points into the block. A line that
   continues a field (obsolete folding, RFC 9112 §5.2) is passed over. */
bool sheaf_header_find(const char *block, size_t length, const char *name,
                       const char **value, size_t *value_length);

/* Reads an HTTP date (RFC 9110 §5.6.7: IMF-fixdate, RFC 850, asctime) into seconds since 1970. `wall` is
   the present in the same seconds; it settles the century of RFC 850's two digits: the latest year that
   is not over 50 years ahead. The name of the weekday must be one, but isn't checked against the date.
   False, leaving *epoch alone, for anything else, also around a valid date. */
bool sheaf_parse_http_date(const char *text, size_t length, double wall, double *epoch);

/* Reads a decimal number of seconds, in any locale: "10", "0.5", ".5", "2.", "1e2". Negative ones are
   0. False, leaving *seconds alone, for what isn't finite ("1e309", "inf"), what has over 64 bytes, and
   all that is no such number, also spaces or a unit around one. */
bool sheaf_parse_seconds(const char *text, size_t length, double *seconds);

/* The seconds that a response with this header block asks to wait, 0 to SHEAF_RETRY_AFTER_MAX, or -1 if
   it doesn't. In this order (WIRE.md): retry-after-ms; Retry-After in seconds; Retry-After as a date,
   counted from the response's own Date, so that a skewed clock on either side does no harm, or without
   one from `wall`, the present in seconds since 1970. What can't be read is as if it were absent. */
double sheaf_retry_after(const char *block, size_t length, double wall);

/* x-should-retry: 1 for true, 0 for false, -1 if absent or anything else. */
int sheaf_should_retry(const char *block, size_t length);

/* True if the body of an error says that no money or quota is left, so that no retry can help: a key
   "code" or "type", at any depth, whose string value is one of those known (WIRE.md). Reads the first
   16 KiB only. A message that merely mentions such words doesn't count. */
bool sheaf_body_tells_quota(const char *body, size_t length);

#pragma GCC visibility pop

#endif
