#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../../src/headers.h"

/* Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110. */
#define EXAMPLE 784111777.0

/* 2026-11-22 07:00:00 GMT: the present of these tests. */
#define WALL 1795330800.0

#define IMF "Sun, 06 Nov 1994 08:49:37 GMT"
#define RFC850 "Sunday, 06-Nov-94 08:49:37 GMT"
#define ASCTIME "Sun Nov  6 08:49:37 1994"


/* A copy of exactly that size and without a NUL, so that a sanitizer sees a read beyond it. */
static char *exact(const char *text, size_t length) {
  char *copy = malloc(length);
  assert_true(copy != NULL || length == 0);
  if (length > 0)
    memcpy(copy, text, length);
  return copy;
}


static bool finds(const char *block, const char *name, const char *wanted) {
  size_t length = strlen(block);
  char *copy = exact(block, length);
  const char *value;
  size_t size;
  bool found = sheaf_header_find(copy, length, name, &value, &size);
  bool same = found && wanted != NULL && size == strlen(wanted) && memcmp(value, wanted, size) == 0;
  free(copy);
  return wanted != NULL ? same : !found;
}


/* The date, or NAN. */
static double date(const char *text, size_t length, double wall) {
  char *copy = exact(text, length);
  double epoch = NAN;
  if (!sheaf_parse_http_date(copy, length, wall, &epoch))
    assert_true(isnan(epoch));
  free(copy);
  return epoch;
}


static double date_of(const char *text) {
  return date(text, strlen(text), WALL);
}


/* The number, or NAN. */
static double seconds_of(const char *text) {
  size_t length = strlen(text);
  char *copy = exact(text, length);
  double seconds = NAN;
  if (!sheaf_parse_seconds(copy, length, &seconds))
    assert_true(isnan(seconds));
  free(copy);
  return seconds;
}


static double retry_after(const char *block) {
  size_t length = strlen(block);
  char *copy = exact(block, length);
  double seconds = sheaf_retry_after(copy, length, WALL);
  free(copy);
  return seconds;
}


static int should_retry(const char *block) {
  size_t length = strlen(block);
  char *copy = exact(block, length);
  int told = sheaf_should_retry(copy, length);
  free(copy);
  return told;
}


static bool tells_quota(const char *body, size_t length) {
  char *copy = exact(body, length);
  bool told = sheaf_body_tells_quota(copy, length);
  free(copy);
  return told;
}


static bool quota(const char *body) {
  return tells_quota(body, strlen(body));
}


static void a_field_is_found_by_its_name_in_any_case(void **state) {
  (void)state;
  const char *block = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-A: 1\r\nX-AB: 2\r\n\r\n";
  assert_true(finds(block, "content-type", "text/plain"));
  assert_true(finds(block, "CONTENT-TYPE", "text/plain"));
  assert_true(finds(block, "x-a", "1"));
  assert_true(finds(block, "x-ab", "2"));
  assert_true(finds("AZ: 1\r\n", "az", "1"));
  assert_true(finds(block, "x-abc", NULL));
  assert_true(finds(block, "x", NULL));
  assert_true(finds(block, "HTTP/1.1 200 OK", NULL));
}


static void a_value_is_trimmed_and_may_be_empty(void **state) {
  (void)state;
  assert_true(finds("a:  \t b c \t\r\n", "a", "b c"));
  assert_true(finds("a:b\r\n", "a", "b"));
  assert_true(finds("a:\r\nb: 1\r\n", "a", ""));
  assert_true(finds("a: \t\r\n", "a", ""));
  assert_true(finds("a:", "a", ""));
  assert_true(finds("a:b:c", "a", "b:c"));
}


static void lines_end_in_lf_or_crlf_or_with_the_block(void **state) {
  (void)state;
  assert_true(finds("HTTP/1.1 200 OK\nA: 1\nB: 2\n\n", "b", "2"));
  assert_true(finds("HTTP/1.1 200 OK\nA: 1\r\nB: 2", "a", "1"));
  assert_true(finds("HTTP/1.1 200 OK\nA: 1\r\nB: 2", "b", "2"));
  assert_true(finds("A: 1\r", "a", "1"));
  assert_true(finds("A: 1\rB: 2\r\n", "b", NULL));
}


static void the_first_of_repeated_fields_counts(void **state) {
  (void)state;
  assert_true(finds("A: 1\r\na: 2\r\nA: 3\r\n\r\n", "a", "1"));
}


static void the_last_head_counts(void **state) {
  (void)state;
  const char *block = "HTTP/1.1 200 Connection established\r\nVia: proxy\r\nA: 0\r\n\r\n"
                      "HTTP/1.1 100 Continue\r\nA: 1\r\n\r\n"
                      "HTTP/2 429\r\nA: 2\r\n\r\n";
  assert_true(finds(block, "a", "2"));
  assert_true(finds(block, "via", NULL));
}


static void trailers_do_not_count(void **state) {
  (void)state;
  const char *block = "HTTP/1.1 200 OK\r\nA: 1\r\n\r\nRetry-After: 5\r\nA: 2\r\n";
  assert_true(finds(block, "a", "1"));
  assert_true(finds(block, "retry-after", NULL));
}


static void a_malformed_line_is_passed_over(void **state) {
  (void)state;
  assert_true(finds("A\r\n: x\r\nA : 1\r\n A: 2\r\n\tA: 3\r\nA: 4\r\n", "a", "4"));
  assert_true(finds("B: 1\r\n A: 2\r\n", "a", NULL));
  assert_true(finds("B: 1\r\n A: 2\r\n", "b", "1"));
  assert_true(finds("", "a", NULL));
  assert_true(finds("\r\n", "a", NULL));
  assert_true(finds("A", "a", NULL));
}


static void each_form_of_a_date_is_read(void **state) {
  (void)state;
  assert_true(date_of(IMF) == EXAMPLE);
  assert_true(date_of(RFC850) == EXAMPLE);
  assert_true(date_of(ASCTIME) == EXAMPLE);
  assert_true(date_of("Thu, 01 Jan 1970 00:00:00 GMT") == 0);
  assert_true(date_of("Wed, 31 Dec 1969 23:59:59 GMT") == -1);
  assert_true(date_of("Sat Jan 10 00:00:01 1970") == 9 * 86400 + 1);
  assert_true(date_of("Fri, 31 Dec 9999 23:59:59 GMT") == 253402300799.0);
  assert_true(date_of("Sat, 01 Jan 0000 00:00:00 GMT") == -62167219200.0);
  assert_true(date_of("Sat, 31 Dec 2016 23:59:60 GMT") == 1483228800.0);
}


static void every_day_agrees_with_the_c_library(void **state) {
  (void)state;
  for (time_t when = -3000000000; when < 60000000000; when += 86399) {
    static const char *const formats[] = { "%a, %d %b %Y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y",
                                           "%A, %d-%b-%y %H:%M:%S GMT" };
    struct tm parts;
    char text[64];
    assert_non_null(gmtime_r(&when, &parts));
    size_t last = labs((long)when - (long)WALL) < 49L * 365 * 86400 ? 3 : 2;
    for (size_t i = 0; i < last; i++) {
      size_t length = strftime(text, sizeof text, formats[i], &parts);
      double epoch = NAN;
      assert_true(sheaf_parse_http_date(text, length, WALL, &epoch));
      assert_true(epoch == (double)when);
    }
  }
}


static int year_of_two_digits(int year, double wall) {
  char text[] = "Sunday, 06-Nov-yy 08:49:37 GMT";
  text[15] = (char)('0' + year / 10);
  text[16] = (char)('0' + year % 10);
  double epoch = date(text, sizeof text - 1, wall);
  assert_true(!isnan(epoch));
  time_t when = (time_t)epoch;
  struct tm parts;
  assert_non_null(gmtime_r(&when, &parts));
  return parts.tm_year + 1900;
}


static void two_digits_of_a_year_are_at_most_fifty_years_ahead(void **state) {
  (void)state;
  assert_int_equal(year_of_two_digits(26, WALL), 2026);
  assert_int_equal(year_of_two_digits(0, WALL), 2000);
  assert_int_equal(year_of_two_digits(76, WALL), 2076);
  assert_int_equal(year_of_two_digits(77, WALL), 1977);
  assert_int_equal(year_of_two_digits(99, WALL), 1999);
  assert_true(date_of("Sunday, 06-Dec-76 08:49:37 GMT") == 218710177.0); /* 2076: two weeks too far */
  assert_int_equal(year_of_two_digits(1, 946080000.0), 2001);            /* in December 1999 */
  assert_int_equal(year_of_two_digits(94, 0), 1994);
  assert_int_equal(year_of_two_digits(30, 0), 1930);
  assert_int_equal(year_of_two_digits(94, NAN), 1994);
  assert_int_equal(year_of_two_digits(94, -1e300), 1994);
  assert_int_equal(year_of_two_digits(94, 1e300), 9994);
  assert_int_equal(year_of_two_digits(94, INFINITY), 9994);
}


static void a_leap_day_is_one_only_in_leap_years(void **state) {
  (void)state;
  assert_true(date_of("Thu, 29 Feb 2024 00:00:00 GMT") == 1709164800.0);
  assert_true(date_of("Tue, 29 Feb 2000 00:00:00 GMT") == 951782400.0);
  assert_true(isnan(date_of("Wed, 29 Feb 2023 00:00:00 GMT")));
  assert_true(isnan(date_of("Mon, 29 Feb 2100 00:00:00 GMT")));
  assert_true(date_of("Thursday, 29-Feb-24 00:00:00 GMT") == 1709164800.0);
  assert_true(isnan(date_of("Thursday, 29-Feb-25 00:00:00 GMT")));
}


static void a_date_out_of_range_is_refused(void **state) {
  (void)state;
  static const char *const texts[] = {
    "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 31 Nov 1994 08:49:37 GMT", "Sun, 32 Dec 1994 08:49:37 GMT",
    "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:37 GMT",
    "Sun, 06 Nov 1994 08:49:61 GMT", "Sunday, 99-Nov-94 08:49:37 GMT", "Sun Nov  0 08:49:37 1994",
    "Sun Nov 31 08:49:37 1994",
    "Sun, 32 Jan 1994 00:00:00 GMT", "Sun, 30 Feb 2024 00:00:00 GMT", "Sun, 32 Mar 1994 00:00:00 GMT",
    "Sun, 31 Apr 1994 00:00:00 GMT", "Sun, 32 May 1994 00:00:00 GMT", "Sun, 31 Jun 1994 00:00:00 GMT",
    "Sun, 32 Jul 1994 00:00:00 GMT", "Sun, 32 Aug 1994 00:00:00 GMT", "Sun, 31 Sep 1994 00:00:00 GMT",
    "Sun, 32 Oct 1994 00:00:00 GMT",
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    assert_true(isnan(date_of(texts[i])));
}


static void what_is_no_date_is_refused(void **state) {
  (void)state;
  static const char *const texts[] = {
    "", " ", "10", "now", "Sun", "Sun,", "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 94 08:49:37 GMT",
    "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 +0100", "Sun, 06 Nov 1994 08:49:37 GMT ",
    " " IMF, IMF "x", "Xxx, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Xxx 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 8:49:37 GMT", "Sun, 06 Nov -994 08:49:37 GMT", "Sun, +6 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 08.49.37 GMT", "Sun, 06-Nov-94 08:49:37 GMT", "Sunday, 06-Nov-1994 08:49:37 GMT",
    "Sun Nov 6 08:49:37 1994", "Sun Nov  6 08:49:37 94", "1994-11-06T08:49:37Z",
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    assert_true(isnan(date_of(texts[i])));
}


static void a_date_cut_or_damaged_at_any_byte_is_refused_without_reading_on(void **state) {
  (void)state;
  static const char *const texts[] = { IMF, RFC850, ASCTIME };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    for (size_t length = 0; length < strlen(texts[i]); length++) {
      char damaged[64];
      assert_true(isnan(date(texts[i], length, WALL)));
      memcpy(damaged, texts[i], strlen(texts[i]));
      damaged[length] = '\0';
      assert_true(isnan(date(damaged, strlen(texts[i]), WALL)));
    }
  }
}


static void decimal_seconds_are_read(void **state) {
  (void)state;
  assert_true(seconds_of("0") == 0);
  assert_true(seconds_of("10") == 10);
  assert_true(seconds_of("007") == 7);
  assert_true(seconds_of("0.5") == 0.5);
  assert_true(seconds_of(".5") == 0.5);
  assert_true(seconds_of("2.") == 2);
  assert_true(seconds_of("0.3") == 0.3);
  assert_true(seconds_of("59.999") == 59.999);
  assert_true(seconds_of("1e2") == 100);
  assert_true(seconds_of("1.5E+1") == 15);
  assert_true(seconds_of("25e-1") == 2.5);
  assert_true(seconds_of("1e-9999999999") == 0);
  assert_true(seconds_of("0.00000000000000000000000000000000000000001e41") == 1);
}


static void negative_seconds_are_zero(void **state) {
  (void)state;
  assert_true(seconds_of("-1") == 0);
  assert_true(seconds_of("-0.5") == 0);
  assert_true(!signbit(seconds_of("-0")));
  assert_true(!signbit(seconds_of("-3")));
}


static void what_is_no_number_of_seconds_is_refused(void **state) {
  (void)state;
  static const char *const texts[] = {
    "", " ", ".", "-", "-.", "e", "e5", ".e5", "1e", "1e+", "1e-", "+1", "--1", " 1", "1 ", "1s", "1,5",
    "1_000", "1.2.3", "0x10", "inf", "-inf", "infinity", "nan", "1e309", "-1e309", "9e9999999999",
    "1e1.5", "\xd9\xa1",
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    assert_true(isnan(seconds_of(texts[i])));
  double seconds = -7;
  assert_false(sheaf_parse_seconds("1\0", 2, &seconds));
  assert_true(seconds == -7);
}


static void an_overlong_number_is_refused(void **state) {
  (void)state;
  char digits[10241];
  memset(digits, '0', sizeof digits);
  double seconds;
  assert_true(sheaf_parse_seconds(digits, 64, &seconds));
  assert_false(sheaf_parse_seconds(digits, 65, &seconds));
  digits[sizeof digits - 1] = '\0';
  assert_true(isnan(seconds_of(digits)));
}


static void retry_after_is_told_in_seconds_milliseconds_or_by_date(void **state) {
  (void)state;
  assert_true(retry_after("HTTP/1.1 429 Too Many\r\nRetry-After: 10\r\n\r\n") == 10);
  assert_true(retry_after("Retry-After: 0.25\r\n") == 0.25);
  assert_true(retry_after("Retry-After: 0\r\n") == 0);
  assert_true(retry_after("retry-after-ms: 37\r\n") == 0.037);
  assert_true(retry_after("Retry-After: Sun, 22 Nov 2026 07:00:30 GMT\r\n") == 30);
  assert_true(retry_after("Retry-After: Sunday, 22-Nov-26 07:00:30 GMT\r\n") == 30);
  assert_true(retry_after("Retry-After: Sun Nov 22 07:00:30 2026\r\n") == 30);
  assert_true(retry_after("HTTP/1.1 429 Too Many\r\nA: 1\r\n\r\n") == -1);
  assert_true(retry_after("") == -1);
}


static void milliseconds_go_before_seconds_if_they_can_be_read(void **state) {
  (void)state;
  assert_true(retry_after("Retry-After: 10\r\nretry-after-ms: 500\r\n") == 0.5);
  assert_true(retry_after("retry-after-ms: soon\r\nRetry-After: 10\r\n") == 10);
  assert_true(retry_after("retry-after-ms: \r\nRetry-After: 10\r\n") == 10);
  assert_true(retry_after("retry-after-ms: soon\r\n") == -1);
}


static void a_date_is_counted_from_the_servers_own_clock(void **state) {
  (void)state;
  assert_true(retry_after("Date: " IMF "\r\nRetry-After: Sun, 06 Nov 1994 08:50:37 GMT\r\n") == 60);
  assert_true(retry_after("Retry-After: Sun Nov  6 08:49:47 1994\r\nDate: " RFC850 "\r\n") == 10);
  assert_true(retry_after("Date: Sun, 22 Nov 2026 09:00:00 GMT\r\n"
                          "Retry-After: Sun, 22 Nov 2026 09:00:05 GMT\r\n") == 5);
  assert_true(retry_after("Date: whenever\r\nRetry-After: Sun, 22 Nov 2026 07:00:30 GMT\r\n") == 30);
  assert_true(retry_after("Date: " IMF "\r\nRetry-After: 7\r\n") == 7);
}


static void a_past_or_negative_wait_is_zero(void **state) {
  (void)state;
  assert_true(retry_after("Retry-After: -5\r\n") == 0);
  assert_true(retry_after("retry-after-ms: -5\r\n") == 0);
  assert_true(retry_after("Retry-After: " IMF "\r\n") == 0);
  assert_true(retry_after("Date: Sun, 22 Nov 2026 09:00:00 GMT\r\n"
                          "Retry-After: Sun, 22 Nov 2026 08:59:59 GMT\r\n") == 0);
}


static void a_wait_is_clamped(void **state) {
  (void)state;
  assert_true(retry_after("Retry-After: 1e300\r\n") == SHEAF_RETRY_AFTER_MAX);
  assert_true(retry_after("retry-after-ms: 1e300\r\n") == SHEAF_RETRY_AFTER_MAX);
  assert_true(retry_after("Retry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n") == SHEAF_RETRY_AFTER_MAX);
}


static void an_unreadable_retry_after_is_absent(void **state) {
  (void)state;
  assert_true(retry_after("Retry-After: soon\r\n") == -1);
  assert_true(retry_after("Retry-After:\r\n") == -1);
  assert_true(retry_after("Retry-After: 5, 10\r\n") == -1);
  assert_true(retry_after("Retry-After: 1e309\r\n") == -1);
  assert_true(retry_after("Retry-After: Sun, 31 Nov 2026 07:00:30 GMT\r\n") == -1);
}


static void should_retry_is_true_false_or_not_told(void **state) {
  (void)state;
  assert_int_equal(should_retry("x-should-retry: true\r\n"), 1);
  assert_int_equal(should_retry("X-Should-Retry:FALSE\r\n"), 0);
  assert_int_equal(should_retry("x-should-retry: yes\r\n"), -1);
  assert_int_equal(should_retry("x-should-retry: tru"), -1);
  assert_int_equal(should_retry("x-should-retry:\r\n"), -1);
  assert_int_equal(should_retry("HTTP/1.1 500 Oops\r\n\r\n"), -1);
}


static void a_quota_error_is_known_by_its_code_or_type(void **state) {
  (void)state;
  static const char *const words[] = {
    "insufficient_quota", "billing_hard_limit_reached", "billing_not_active",
    "credit_balance_exhausted", "project_spend_limit_exceeded", "organization_spend_limit_exceeded",
    "organization_usage_limit_exceeded", "exceeded_current_quota_error", "billing_error",
  };
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    char body[256];
    int length = snprintf(body, sizeof body,
                          "{\"error\":{\"message\":\"no\",\"type\":\"x\",\"code\":\"%s\"}}", words[i]);
    assert_true(tells_quota(body, (size_t)length));
    length = snprintf(body, sizeof body, "{\"type\" :\r\n\t \"%s\"}", words[i]);
    assert_true(tells_quota(body, (size_t)length));
  }
}


static void other_errors_are_no_quota_errors(void **state) {
  (void)state;
  static const char *const bodies[] = {
    "", "insufficient_quota", "\"insufficient_quota\"", "<html>insufficient_quota</html>",
    "{\"error\":{\"code\":\"rate_limit_exceeded\",\"type\":\"requests\"}}",
    "{\"error\":{\"code\":429,\"status\":\"RESOURCE_EXHAUSTED\"}}",
    "{\"status\":\"insufficient_quota\"}",
    "{\"message\":\"insufficient_quota\"}",
    "{\"message\":\"code: insufficient_quota\"}",
    "{\"message\":\"{\\\"code\\\":\\\"insufficient_quota\\\"}\"}",
    "{\"message\":\"\\\\\\\"code\\\":\\\"insufficient_quota\"}",
    "{\"code\":\"insufficient_quota_soon\"}", "{\"code\":\"insufficient\"}", "{\"code\":\"\"}",
    "{\"codes\":\"insufficient_quota\"}", "{\"my code\":\"insufficient_quota\"}",
    "{\"code\":[\"insufficient_quota\"]}", "{\"code\",\"insufficient_quota\"}",
    "{\"code\" \"insufficient_quota\"}",
    "{\"insufficient_quota\":\"code\"}", "{\"code\":null,\"x\":\"insufficient_quota\"}",
    "{\"code\":\"insufficient_quota", "{\"code\"", "{\"code\":", "{\"code", "\"", "\"\\", "\"\\\"",
  };
  for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
    assert_false(quota(bodies[i]));
}


static void the_search_goes_on_behind_what_is_no_match(void **state) {
  (void)state;
  assert_true(quota("{\"code\":7,\"code\":{\"type\":\"insufficient_quota\"}}"));
  assert_true(quota("[\"code\",{\"code\":\"x\",\"type\":\"billing_not_active\"}]"));
  assert_true(quota("{\"message\":\"a \\\"quoted\\\" word\\\\\",\"code\":\"insufficient_quota\"}"));
}


static void only_the_first_16_kib_of_a_body_are_read(void **state) {
  (void)state;
  static const char error[] = "{\"code\":\"insufficient_quota\"}";
  const size_t limit = 16384, needed = sizeof error - 2; /* without the closing brace */
  char *body = malloc(2 * limit);
  assert_non_null(body);
  memset(body, ' ', 2 * limit);
  memcpy(body + limit - needed, error, needed);
  assert_true(tells_quota(body, 2 * limit));
  memset(body, ' ', 2 * limit);
  memcpy(body + limit - needed + 1, error, needed);
  assert_false(tells_quota(body, 2 * limit));
  free(body);
}


static void nothing_at_all_may_be_null(void **state) {
  (void)state;
  const char *value;
  size_t size;
  double number;
  assert_false(sheaf_header_find(NULL, 0, "a", &value, &size));
  assert_false(sheaf_parse_http_date(NULL, 0, WALL, &number));
  assert_false(sheaf_parse_seconds(NULL, 0, &number));
  assert_true(sheaf_retry_after(NULL, 0, WALL) == -1);
  assert_int_equal(sheaf_should_retry(NULL, 0), -1);
  assert_false(sheaf_body_tells_quota(NULL, 0));
}


/* Cuts and damages valid input at random; the sanitizers judge. */
static void no_input_makes_it_read_outside(void **state) {
  (void)state;
  static const char *const seeds[] = {
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Too Many\r\nDate: " IMF "\r\nRetry-After: " RFC850
    "\r\nx-should-retry: true\r\nretry-after-ms: -1.5e3\r\n\r\n",
    "Retry-After: " ASCTIME "\nDate: " RFC850 "\n", IMF, RFC850, ASCTIME, "-12.5e+17",
    "{\"error\":{\"message\":\"\\\"\\\\\",\"type\" : \"x\",\"code\":\"insufficient_quota\"}}",
  };
  static const char bytes[] = "\r\n \t:\"\\.-e09aSG,\0\x80\xff";
  srand(11);
  for (int round = 0; round < 60000; round++) {
    const char *seed = seeds[rand() % (int)(sizeof seeds / sizeof *seeds)];
    size_t length = (size_t)rand() % (strlen(seed) + 1);
    if (rand() % 2 == 0)
      length = strlen(seed);
    char *text = exact(seed, length);
    for (int changes = rand() % 4; changes > 0 && length > 0; changes--)
      text[(size_t)rand() % length] = bytes[(size_t)rand() % sizeof bytes];
    double number = 0, wait = sheaf_retry_after(text, length, WALL);
    assert_true(wait == -1 || (wait >= 0 && wait <= SHEAF_RETRY_AFTER_MAX));
    if (sheaf_parse_seconds(text, length, &number))
      assert_true(number >= 0 && isfinite(number));
    if (sheaf_parse_http_date(text, length, WALL, &number))
      assert_true(isfinite(number));
    int told = sheaf_should_retry(text, length);
    assert_true(told >= -1 && told <= 1);
    (void)sheaf_body_tells_quota(text, length);
    free(text);
  }
}


int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_field_is_found_by_its_name_in_any_case),
    cmocka_unit_test(a_value_is_trimmed_and_may_be_empty),
    cmocka_unit_test(lines_end_in_lf_or_crlf_or_with_the_block),
    cmocka_unit_test(the_first_of_repeated_fields_counts),
    cmocka_unit_test(the_last_head_counts),
    cmocka_unit_test(trailers_do_not_count),
    cmocka_unit_test(a_malformed_line_is_passed_over),
    cmocka_unit_test(each_form_of_a_date_is_read),
    cmocka_unit_test(every_day_agrees_with_the_c_library),
    cmocka_unit_test(two_digits_of_a_year_are_at_most_fifty_years_ahead),
    cmocka_unit_test(a_leap_day_is_one_only_in_leap_years),
    cmocka_unit_test(a_date_out_of_range_is_refused),
    cmocka_unit_test(what_is_no_date_is_refused),
    cmocka_unit_test(a_date_cut_or_damaged_at_any_byte_is_refused_without_reading_on),
    cmocka_unit_test(decimal_seconds_are_read),
    cmocka_unit_test(negative_seconds_are_zero),
    cmocka_unit_test(what_is_no_number_of_seconds_is_refused),
    cmocka_unit_test(an_overlong_number_is_refused),
    cmocka_unit_test(retry_after_is_told_in_seconds_milliseconds_or_by_date),
    cmocka_unit_test(milliseconds_go_before_seconds_if_they_can_be_read),
    cmocka_unit_test(a_date_is_counted_from_the_servers_own_clock),
    cmocka_unit_test(a_past_or_negative_wait_is_zero),
    cmocka_unit_test(a_wait_is_clamped),
    cmocka_unit_test(an_unreadable_retry_after_is_absent),
    cmocka_unit_test(should_retry_is_true_false_or_not_told),
    cmocka_unit_test(a_quota_error_is_known_by_its_code_or_type),
    cmocka_unit_test(other_errors_are_no_quota_errors),
    cmocka_unit_test(the_search_goes_on_behind_what_is_no_match),
    cmocka_unit_test(only_the_first_16_kib_of_a_body_are_read),
    cmocka_unit_test(nothing_at_all_may_be_null),
    cmocka_unit_test(no_input_makes_it_read_outside),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
