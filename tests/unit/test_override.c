/* Methods asked for in queries and forms. */
#include "proxy/override.h"

#include <criterion/criterion.h>
#include <string.h>

/* All that are found, each behind a '|', when the bytes come in pieces of this size. */
static const char *find(enum osh_form form, const char *text, size_t piece)
{
	static char all[512];
	struct osh_override o;

	osh_override_init(&o, form);
	all[0] = '\0';
	for (size_t at = 0, len = strlen(text); at < len; at += piece) {
		struct osh_str bytes = osh_str_n(text + at, len - at < piece ? len - at : piece);

		while (osh_override_next(&o, &bytes)) {
			strcat(all, "|");
			strcat(all, o.method);
		}
	}
	if (osh_override_end(&o)) {
		strcat(all, "|");
		strcat(all, o.method);
	}
	return all;
}

static void expect(enum osh_form form, const char *text, const char *want)
{
	for (size_t piece = 1; piece < 100; piece = piece * 3 + 1)
		cr_expect_str_eq(find(form, text, piece), want, "%s in pieces of %zu: %s", text, piece,
				 find(form, text, piece));
}

static void expect_all(enum osh_form form, const char *const rows[][2], size_t count)
{
	for (size_t i = 0; i < count; i++)
		expect(form, rows[i][0], rows[i][1]);
}

Test(override, pairs)
{
	static const char *const rows[][2] = {
		{ "", "" }, { "a=b", "" }, { "_method", "" }, { "_method=", "" }, { "_methods=DELETE", "" },
		{ "a=_method=DELETE", "" }, { "method=DELETE", "" }, { "_method=DELETE", "|DELETE" },
		{ "a=b&_method=DELETE&c=d", "|DELETE" }, { "_method=PUT&_method=DELETE", "|PUT|DELETE" },
		{ "%5fmethod=%44ELETE", "|DELETE" }, { "_METHOD=delete", "|delete" }, { ".method=DELETE", "|DELETE" },
		{ "+_method=DELETE", "|DELETE" }, { "[method=DELETE", "|DELETE" }, { "a;_method=DELETE;b", "|DELETE" },
		{ "X-HTTP-Method-Override=PATCH", "|PATCH" }, { "%5=&_method=DELETE", "|DELETE" },
		{ "_method%3DDELETE", "" }, { "_method=A%26B", "|A&B" },
	};

	expect_all(OSH_FORM_PAIRS, rows, sizeof(rows) / sizeof(rows[0]));
}

Test(override, long_values_are_cut)
{
	char text[600] = "_method=";
	struct osh_override o;
	struct osh_str bytes;

	memset(text + 8, 'A', sizeof(text) - 9);
	bytes = osh_str(text);
	osh_override_init(&o, OSH_FORM_PAIRS);
	cr_expect_not(osh_override_next(&o, &bytes));
	cr_expect(osh_override_end(&o));
	cr_expect_eq(strlen(o.method), OSH_HTTP_METHOD_MAX);
}

#define PART(head) "--x\r\n" head "\r\n\r\nDELETE\r\n--x--\r\n"

Test(override, parts)
{
	static const char *const rows[][2] = {
		{ PART("Content-Disposition: form-data; name=\"_method\""), "|" },
		{ PART("content-disposition:form-data;name=_method"), "|" },
		{ PART("Content-Disposition: form-data;\r\n name=\"_method\""), "|" },
		{ PART("Content-Disposition: form-data; NAME=\"\\_METHOD\""), "|" },
		{ PART("Content-Disposition: form-data; name=\"file\"; filename=\"a\""), "" },
		/* Text of a file is no header. */
		{ PART("Content-Disposition: form-data; name=\"file\"\r\n\r\n<input name=\"_method\">"), "" },
		{ PART("X-Other: name=\"_method\"\r\n name=\"_method\""), "" },
	};
	char padded[1024] = "--x\r\nContent-Disposition: form-data; x=";

	expect_all(OSH_FORM_PARTS, rows, sizeof(rows) / sizeof(rows[0]));
	/* A line too long to be read could be one. */
	memset(padded + strlen(padded), 'x', 600);
	strcat(padded, "; name=_method\r\n\r\n");
	expect(OSH_FORM_PARTS, padded, "|");
}

Test(override, members)
{
	static const char *const rows[][2] = {
		{ "{}", "" }, { "{\"_method\":\"DELETE\"}", "|" }, { "{ \"a\": 1, \"_METHOD\" : \"DELETE\" }", "|" },
		{ "{\"\\u005fmethod\":\"DELETE\"}", "|" }, { "{\"_\\u006Dethod\":1}", "|" },
		{ "{\"a\":{\"_method\":1},\"_method\":2}", "||" }, { "{\"method\":\"DELETE\"}", "" },
		{ "{\"_methods\":\"DELETE\"}", "" }, { "{\"a\":\"_method\"}", "" }, { "[\"_method\",1]", "" },
		{ "{\"a\":\"\\\"_method\\\":1\"}", "" }, { "{\"\\\\\":\"_method\",\"b\":1}", "" },
		{ "{\"\\u00e9_method\":1}", "" }, { "_method=DELETE", "" },
	};

	expect_all(OSH_FORM_JSON, rows, sizeof(rows) / sizeof(rows[0]));
}

Test(override, kinds_of_forms)
{
	cr_expect_eq(osh_form_of(osh_str("application/x-www-form-urlencoded; charset=utf-8")), OSH_FORM_PAIRS);
	cr_expect_eq(osh_form_of(osh_str("Multipart/Form-Data;boundary=x")), OSH_FORM_PARTS);
	cr_expect_eq(osh_form_of(osh_str("application/json")), OSH_FORM_JSON);
	cr_expect_eq(osh_form_of(osh_str("application/vnd.api+JSON; charset=utf-8")), OSH_FORM_JSON);
	cr_expect_eq(osh_form_of(osh_str("")), OSH_FORM_PAIRS);
	cr_expect_eq(osh_form_of(osh_str("; charset=utf-8")), OSH_FORM_PAIRS);
	cr_expect_eq(osh_form_of(osh_str("text/plain")), OSH_FORM_NONE);
	cr_expect_eq(osh_form_of(osh_str("application/octet-stream; name=x")), OSH_FORM_NONE);
	/* By the first of several, cut where any reader would cut it; else by whatever is named. */
	cr_expect_eq(osh_form_of(osh_str("application/x-www-form-urlencoded,")), OSH_FORM_PAIRS);
	cr_expect_eq(osh_form_of(osh_str("application/x-www-form-urlencoded-or-so")), OSH_FORM_PAIRS);
	cr_expect_eq(osh_form_of(osh_str("text/plain, application/x-www-form-urlencoded")), OSH_FORM_PAIRS);
	cr_expect_eq(osh_form_of(osh_str("multipart/mixed; boundary=urlencoded")), OSH_FORM_PARTS);
	expect(OSH_FORM_NONE, "_method=DELETE", "");
	/* What is coded may hold anything. */
	cr_expect_eq(osh_form_in(osh_str("application/x-www-form-urlencoded"), osh_str("GZIP")), OSH_FORM_CODED);
	cr_expect_eq(osh_form_in(osh_str("multipart/form-data"), osh_str("br")), OSH_FORM_CODED);
	cr_expect_eq(osh_form_in(osh_str("multipart/form-data"), osh_str("Identity")), OSH_FORM_PARTS);
	cr_expect_eq(osh_form_in(osh_str("application/octet-stream"), osh_str("gzip")), OSH_FORM_NONE);
	cr_expect_eq(osh_form_in(osh_str(""), osh_str("gzip")), OSH_FORM_PAIRS);
	expect(OSH_FORM_CODED, "bytes", "|");
	expect(OSH_FORM_CODED, "", "");
}
