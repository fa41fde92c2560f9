/* Texts that are read: whole, each key once, and of the form that is asked for. */
#include "base/json.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static int parse(const char *text, json_t **ret_json)
{
	return osh_json_parse(text, strlen(text), ret_json);
}

Test(json, a_text_is_whole)
{
	static const char *const damaged[] = { "", "{", "{\"a\":1", "{\"a\":1}x", "{\"a\":1,\"a\":2}", "\"open" };
	json_t *json = NULL;

	for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++)
		cr_expect(parse(damaged[i], &json) == -EBADMSG && !json, "%s", damaged[i]);
	cr_assert(parse("{\"a\":1,\"b\":2}", &json) == 0);
	json_decref(json);
}

Test(json, it_has_the_form_that_is_asked_for)
{
	const char *text = NULL;
	json_int_t number = 0;
	json_t *json = NULL;

	cr_assert(parse("{\"a\":1,\"b\":\"two\"}", &json) == 0);
	cr_expect(osh_json_unpack(json, "{s:I, s:s}", "a", &number, "b", &text) == 0);
	cr_expect(number == 1 && text && strcmp(text, "two") == 0);
	cr_expect(osh_json_unpack(json, "{s:s}", "a", &text) == -EBADMSG);
	cr_expect(osh_json_unpack(json, "{s:I}", "c", &number) == -EBADMSG);
	cr_expect(osh_json_unpack(json, "{s?I}", "c", &number) == 0);
	json_decref(json);
}
