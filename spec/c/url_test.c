#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <string.h>

#include "../../src/url.h"

#define NO_SCHEME "it does not begin with http:// or https://"
#define NO_PORT "its port is no number from 1 to 65535"
#define NO_HOST "it names no host"
#define MALFORMED "it is malformed"


static sheaf_url *parse(const char *text) {
  const char *why = NULL;
  sheaf_url *url = sheaf_url_new(text, &why);
  if (url == NULL)
    fail_msg("%s: %s", text, why);
  return url;
}


static void assert_parsed(const char *text, const char *origin, const char *shown) {
  sheaf_url *url = parse(text);
  assert_string_equal(url->origin, origin);
  assert_string_equal(url->shown, shown);
  assert_string_equal(url->text, text);
  assert_int_equal(url->secure, strncmp(origin, "https:", 6) == 0);
  sheaf_url_drop(url);
}


static void assert_refused(const char *text, const char *reason) {
  const char *why = "";
  sheaf_url *url = sheaf_url_new(text, &why);
  if (url != NULL)
    fail_msg("'%s' was taken for %s", text, url->origin);
  if (strcmp(why, reason) != 0)
    fail_msg("'%s': %s, not: %s", text, why, reason);
}


/* Where the location leads from the base, or why it leads nowhere. */
static void assert_leads(const char *base, const char *location, const char *to, const char *origin) {
  const char *why = "";
  char *whole = NULL;
  sheaf_url *from = parse(base);
  sheaf_url *url = sheaf_url_follow(from, location, &why);
  if (url == NULL)
    fail_msg("%s: %s", location, why);
  assert_int_equal(curl_url_get(url->handle, CURLUPART_URL, &whole, 0), CURLUE_OK);
  assert_string_equal(whole, to);
  assert_string_equal(url->origin, origin);
  curl_free(whole);
  sheaf_url_drop(url);
  sheaf_url_drop(from);
}


static void an_origin_is_scheme_host_and_port_in_lower_case(void **state) {
  (void)state;
  assert_parsed("http://example.com/a", "http://example.com:80", "example.com/a");
  assert_parsed("HTTPS://Example.COM/Path", "https://example.com:443", "Example.COM/Path");
  assert_parsed("http://example.com:8080/a/b", "http://example.com:8080", "example.com:8080/a/b");
  assert_parsed("http://example.com", "http://example.com:80", "example.com/");
}


static void a_port_is_shown_where_it_is_not_the_usual_one(void **state) {
  (void)state;
  assert_parsed("http://h:80/", "http://h:80", "h/");
  assert_parsed("https://h:443/", "https://h:443", "h/");
  assert_parsed("http://h:443/", "http://h:443", "h:443/");
  assert_parsed("https://h:80/", "https://h:80", "h:80/");
}


static void an_ipv6_address_keeps_its_brackets(void **state) {
  (void)state;
  assert_parsed("http://[::1]/x", "http://[::1]:80", "[::1]/x");
  assert_parsed("https://[2001:db8::1]:8443/x", "https://[2001:db8::1]:8443", "[2001:db8::1]:8443/x");
}


static void credentials_and_query_are_never_shown(void **state) {
  (void)state;
  assert_parsed("http://user:secret@h/p?key=secret#secret", "http://h:80", "h/p");
  assert_parsed("http://user@h?key=secret", "http://h:80", "h/");
  const char *why;
  sheaf_url *base = parse("http://user:secret@h/p");
  sheaf_url *next = sheaf_url_follow(base, "/q?key=secret", &why);
  assert_non_null(next);
  assert_string_equal(next->shown, "h/q");
  assert_string_equal(next->origin, "http://h:80");
  sheaf_url_drop(next);
  sheaf_url_drop(base);
}


static void what_is_no_http_address_is_refused_with_the_reason(void **state) {
  (void)state;
  assert_refused("", NO_SCHEME);
  assert_refused("example.com/x", NO_SCHEME);
  assert_refused("/v1/models", NO_SCHEME);
  assert_refused("localhost:8080/x", NO_SCHEME);
  assert_refused("ftp://h/x", NO_SCHEME);
  assert_refused("file:///etc/passwd", NO_SCHEME);
  assert_refused("http://", NO_HOST);
  assert_refused("http://h:70000/", NO_PORT);
  assert_refused("http://h:99999999999999999999/", NO_PORT);
  assert_refused("http://h:abc/", NO_PORT);
  assert_refused("http://h:-1/", NO_PORT);
  assert_refused("http://h:0/", NO_PORT);
  assert_refused("http://a b/", MALFORMED);
  assert_refused("http://h/a b", MALFORMED);
  assert_refused("http://h/\r\nx: y", MALFORMED);
  assert_refused("http://[::1", MALFORMED);
}


static void a_relative_location_is_read_from_where_it_was_said(void **state) {
  (void)state;
  assert_leads("http://h:81/a/b?q=1", "c", "http://h:81/a/c", "http://h:81");
  assert_leads("http://h:81/a/b?q=1", "/c?r=2", "http://h:81/c?r=2", "http://h:81");
  assert_leads("http://h:81/a/b?q=1", "?r=2", "http://h:81/a/b?r=2", "http://h:81");
  assert_leads("http://h:81/a/b/c", "../d", "http://h:81/a/d", "http://h:81");
  assert_leads("https://h/a", "//other/d", "https://other/d", "https://other:443");
}


static void an_absolute_location_has_its_own_origin(void **state) {
  (void)state;
  assert_leads("http://h:81/a", "http://h:81/b", "http://h:81/b", "http://h:81");
  assert_leads("http://h:81/a", "HTTP://H:81/b", "http://H:81/b", "http://h:81");
  assert_leads("http://h/a", "https://h/b", "https://h/b", "https://h:443");
  assert_leads("http://h/a", "http://h:80/b", "http://h:80/b", "http://h:80");
  assert_leads("http://user:secret@h/a", "http://other/b", "http://other/b", "http://other:80");
}


static void a_location_that_is_no_http_address_leads_nowhere(void **state) {
  const char *why = "";
  (void)state;
  sheaf_url *base = parse("http://h/a");
  assert_null(sheaf_url_follow(base, "ftp://h/b", &why));
  assert_string_equal(why, NO_SCHEME);
  assert_null(sheaf_url_follow(base, "http://", &why));
  assert_string_equal(why, NO_HOST);
  assert_null(sheaf_url_follow(base, "http://h:70000/", &why));
  assert_string_equal(why, NO_PORT);
  sheaf_url_drop(base);
}


static void it_lives_until_the_last_reference_is_dropped(void **state) {
  (void)state;
  sheaf_url *url = parse("http://h/a");
  assert_ptr_equal(sheaf_url_keep(url), url);
  sheaf_url_drop(url);
  assert_string_equal(url->shown, "h/a");
  sheaf_url_drop(url);
}


int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(an_origin_is_scheme_host_and_port_in_lower_case),
    cmocka_unit_test(a_port_is_shown_where_it_is_not_the_usual_one),
    cmocka_unit_test(an_ipv6_address_keeps_its_brackets),
    cmocka_unit_test(credentials_and_query_are_never_shown),
    cmocka_unit_test(what_is_no_http_address_is_refused_with_the_reason),
    cmocka_unit_test(a_relative_location_is_read_from_where_it_was_said),
    cmocka_unit_test(an_absolute_location_has_its_own_origin),
    cmocka_unit_test(a_location_that_is_no_http_address_leads_nowhere),
    cmocka_unit_test(it_lives_until_the_last_reference_is_dropped),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
