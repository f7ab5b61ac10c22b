#include "headers.h"

#include <math.h>
#include <string.h>

/* Longer than any number a server sends; bounds the work on garbage. */
#define NUMBER_MAX 64

/* A larger decimal exponent makes any number infinite or 0, so it need not be counted on. */
#define EXPONENT_MAX 9999

#define SECONDS_PER_DAY 86400

/* The mean year of the Gregorian calendar. */
#define SECONDS_PER_YEAR (365.2425 * SECONDS_PER_DAY)

/* RFC 9110 §5.6.7: a two-digit year that seems further ahead than this is in the past. */
#define YEARS_AHEAD 50

/* The end of the year 9999, the last that a date can name. */
#define WALL_MAX 253402300799.0

/* An error object stands at the start of the body; an HTML page isn't worth reading to its end. */
#define QUOTA_SCAN_MAX 16384

/* Unread text. at never passes end. */
typedef struct reader {
  const char *at, *end;
} reader;


/* The C library's tolower and strncasecmp depend on the locale. */
static char lower(char c) {
  return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}


static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}


static bool is_blank(char c) {
  return c == ' ' || c == '\t';
}


/* Compares in any case with a word that ends in NUL. */
static bool is_word(const char *text, size_t length, const char *word) {
  if (length != strlen(word))
    return false;
  for (size_t i = 0; i < length; i++)
    if (lower(text[i]) != lower(word[i]))
      return false;
  return true;
}


static bool take_char(reader *in, char c) {
  if (in->at == in->end || *in->at != c)
    return false;
  in->at++;
  return true;
}


static bool take_word(reader *in, const char *word) {
  size_t length = strlen(word);
  if ((size_t)(in->end - in->at) < length || !is_word(in->at, length, word))
    return false;
  in->at += length;
  return true;
}


/* Takes the next line, without its end. False if nothing is left. */
static bool take_line(reader *in, reader *line) {
  if (in->at == in->end)
    return false;
  const char *newline = memchr(in->at, '\n', (size_t)(in->end - in->at));
  line->at = in->at;
  line->end = newline != NULL ? newline : in->end;
  in->at = newline != NULL ? newline + 1 : in->end;
  if (line->end > line->at && line->end[-1] == '\r')
    line->end--;
  return true;
}


/* The fields of the last head, from behind its status line. A block without one is all fields. */
static reader last_head(reader block) {
  reader fields = block;
  reader line;
  while (take_line(&block, &line))
    if (take_word(&line, "HTTP/"))
      fields = block;
  return fields;
}


bool sheaf_header_find(const char *block, size_t length, const char *name,
                       const char **value, size_t *value_length) {
  if (length == 0)
    return false;
  reader fields = last_head((reader){ block, block + length });
  reader line;
  while (take_line(&fields, &line) && line.at < line.end) {
    if (!take_word(&line, name) || !take_char(&line, ':'))
      continue;
    while (line.at < line.end && is_blank(*line.at))
      line.at++;
    while (line.at < line.end && is_blank(line.end[-1]))
      line.end--;
    *value = line.at;
    *value_length = (size_t)(line.end - line.at);
    return true;
  }
  return false;
}


/* Takes digits and adds them to the number; returns how many there were. */
static int take_digits(reader *in, double *number) {
  int count = 0;
  for (; in->at < in->end && is_digit(*in->at); in->at++, count++)
    *number = 10 * *number + (*in->at - '0');
  return count;
}


/* Takes the exponent of a number, if one is there. False if it begins but has no digits. */
static bool take_exponent(reader *in, int *exponent) {
  if (!take_word(in, "e"))
    return true;
  bool negative = take_char(in, '-');
  if (!negative)
    (void)take_char(in, '+');
  double digits = 0;
  if (take_digits(in, &digits) == 0)
    return false;
  int power = (int)fmin(digits, EXPONENT_MAX);
  *exponent += negative ? -power : power;
  return true;
}


bool sheaf_parse_seconds(const char *text, size_t length, double *seconds) {
  if (length == 0 || length > NUMBER_MAX)
    return false;
  reader in = { text, text + length };
  bool negative = take_char(&in, '-');
  double number = 0;
  int exponent = 0;
  int digits = take_digits(&in, &number);
  if (take_char(&in, '.')) {
    exponent = -take_digits(&in, &number);
    digits -= exponent;
  }
  if (digits == 0 || !take_exponent(&in, &exponent) || in.at != in.end)
    return false;
  /* Dividing, since powers of ten are exact and their inverses aren't: "0.3" is 0.3. */
  number = exponent < 0 ? number / pow(10, -exponent) : number * pow(10, exponent);
  if (!isfinite(number))
    return false;
  *seconds = negative ? 0 : number;
  return true;
}


/* Takes exactly `count` digits. */
static bool take_fixed(reader *in, int count, int *number) {
  *number = 0;
  for (; count > 0; count--, in->at++) {
    if (in->at == in->end || !is_digit(*in->at))
      return false;
    *number = 10 * *number + (*in->at - '0');
  }
  return true;
}


/* Takes one of `count` words; *index, where wanted, is its place. */
static bool take_one_of(reader *in, const char *const *words, int count, int *index) {
  for (int i = 0; i < count; i++) {
    if (take_word(in, words[i])) {
      if (index != NULL)
        *index = i;
      return true;
    }
  }
  return false;
}


typedef struct date {
  int year, month, day, hour, minute, second; /* month from 0, day from 1 */
  bool two_digits;                            /* the year lacks its century */
} date;


static bool take_part(reader *in, char directive, date *out) {
  static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
  static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
  static const char *const long_days[] = { "Sunday", "Monday", "Tuesday", "Wednesday",
                                           "Thursday", "Friday", "Saturday" };
  switch (directive) {
    case 'a':
      return take_one_of(in, days, 7, NULL);
    case 'A':
      return take_one_of(in, long_days, 7, NULL);
    case 'b':
      return take_one_of(in, months, 12, &out->month);
    case 'd':
      return take_fixed(in, 2, &out->day);
    case 'e':
      return take_fixed(in, take_char(in, ' ') ? 1 : 2, &out->day);
    case 'Y':
      return take_fixed(in, 4, &out->year);
    case 'y':
      out->two_digits = true;
      return take_fixed(in, 2, &out->year);
    case 'H':
      return take_fixed(in, 2, &out->hour);
    case 'M':
      return take_fixed(in, 2, &out->minute);
    case 'S':
      return take_fixed(in, 2, &out->second);
    default:
      return false;
  }
}


/* Reads the whole text by a format whose directives are those of strptime. */
static bool take_date(reader in, const char *format, date *out) {
  *out = (date){ .two_digits = false };
  for (; *format != '\0'; format++) {
    bool matches = *format == '%' ? take_part(&in, *++format, out) : take_char(&in, *format);
    if (!matches)
      return false;
  }
  return in.at == in.end;
}


/* Days from 1970-01-01 to a day of the Gregorian calendar. Years begin in March here, so that the leap
   day is the last of its year and the months' lengths follow one line, (153 m + 2) / 5. */
static long days_from_civil(int year, int month, int day) {
  long march_year = month < 2 ? year - 1 : year;
  long march_month = (month + 10) % 12;
  long era = (march_year >= 0 ? march_year : march_year - 399) / 400;
  long year_of_era = march_year - era * 400;
  long day_of_year = (153 * march_month + 2) / 5 + day - 1;
  long day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146097 + day_of_era - 719468;
}


static int days_in_month(int year, int month) {
  static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
  bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return days[month] + (month == 1 && leap ? 1 : 0);
}


static double epoch_of(const date *when) {
  double days = (double)days_from_civil(when->year, when->month, when->day);
  return days * SECONDS_PER_DAY + when->hour * 3600 + when->minute * 60 + when->second;
}


static void settle_century(date *when, double wall) {
  double present = wall > 0 ? fmin(wall, WALL_MAX) : 0; /* NaN is 0 */
  int this_year = 1970 + (int)(present / SECONDS_PER_YEAR);
  when->year += this_year / 100 * 100 + 100;
  while (epoch_of(when) > present + YEARS_AHEAD * SECONDS_PER_YEAR)
    when->year -= 100;
}


bool sheaf_parse_http_date(const char *text, size_t length, double wall, double *epoch) {
  static const char *const formats[] = { "%a, %d %b %Y %H:%M:%S GMT",
                                         "%A, %d-%b-%y %H:%M:%S GMT",
                                         "%a %b %e %H:%M:%S %Y" };
  if (length == 0)
    return false;
  for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
    date when;
    if (!take_date((reader){ text, text + length }, formats[i], &when))
      continue;
    if (when.two_digits)
      settle_century(&when, wall);
    if (when.day < 1 || when.day > days_in_month(when.year, when.month) || when.hour > 23 ||
        when.minute > 59 || when.second > 60) /* 60: a leap second */
      return false;
    *epoch = epoch_of(&when);
    return true;
  }
  return false;
}


double sheaf_retry_after(const char *block, size_t length, double wall) {
  const char *value;
  size_t size;
  double seconds;
  if (sheaf_header_find(block, length, "retry-after-ms", &value, &size) &&
      sheaf_parse_seconds(value, size, &seconds))
    return fmin(seconds / 1000, SHEAF_RETRY_AFTER_MAX);
  if (!sheaf_header_find(block, length, "retry-after", &value, &size))
    return -1;
  if (!sheaf_parse_seconds(value, size, &seconds)) {
    double until, sent = wall;
    if (!sheaf_parse_http_date(value, size, wall, &until))
      return -1;
    if (sheaf_header_find(block, length, "date", &value, &size))
      (void)sheaf_parse_http_date(value, size, wall, &sent);
    seconds = fmax(until - sent, 0);
  }
  return fmin(seconds, SHEAF_RETRY_AFTER_MAX);
}


int sheaf_should_retry(const char *block, size_t length) {
  const char *value;
  size_t size;
  if (!sheaf_header_find(block, length, "x-should-retry", &value, &size))
    return -1;
  if (is_word(value, size, "true"))
    return 1;
  return is_word(value, size, "false") ? 0 : -1;
}


/* Takes a JSON string with its quotes; *inside is what stands between them, escapes and all. False if
   there is none, or it doesn't end. */
static bool take_string(reader *in, reader *inside) {
  if (!take_char(in, '"'))
    return false;
  inside->at = in->at;
  while (in->at < in->end && *in->at != '"')
    in->at += *in->at == '\\' && in->end - in->at > 1 ? 2 : 1;
  inside->end = in->at;
  return take_char(in, '"');
}


static void skip_space(reader *in) {
  while (in->at < in->end && (is_blank(*in->at) || *in->at == '\n' || *in->at == '\r'))
    in->at++;
}


static bool is_one_of(const reader *text, const char *const *words, size_t count) {
  size_t length = (size_t)(text->end - text->at);
  for (size_t i = 0; i < count; i++)
    if (length == strlen(words[i]) && memcmp(text->at, words[i], length) == 0)
      return true;
  return false;
}


bool sheaf_body_tells_quota(const char *body, size_t length) {
  /* Not "status": Gemini's RESOURCE_EXHAUSTED there is a plain rate limit too. */
  static const char *const keys[] = { "code", "type" };
  static const char *const values[] = {
    "insufficient_quota",                /* OpenAI, Azure and what is compatible with them */
    "billing_hard_limit_reached", "billing_not_active",
    "credit_balance_exhausted", "project_spend_limit_exceeded",
    "organization_spend_limit_exceeded", "organization_usage_limit_exceeded",
    "exceeded_current_quota_error",      /* Moonshot */
    "billing_error",                     /* Anthropic */
  };
  if (length == 0)
    return false;
  reader in = { body, body + (length < QUOTA_SCAN_MAX ? length : QUOTA_SCAN_MAX) };
  while ((in.at = memchr(in.at, '"', (size_t)(in.end - in.at))) != NULL) {
    reader key, value;
    if (!take_string(&in, &key))
      return false;
    skip_space(&in);
    if (!take_char(&in, ':'))
      continue;
    skip_space(&in);
    if (take_string(&in, &value) && is_one_of(&key, keys, sizeof keys / sizeof *keys) &&
        is_one_of(&value, values, sizeof values / sizeof *values))
      return true;
  }
  return false;
}
