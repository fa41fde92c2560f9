#include "control/recipe.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "control/state.h"

#define RECIPE "recipe.json"
#define SHOWN_COMMAND_BYTES 256

void osh_recipe_done(struct osh_recipe *recipe)
{
	json_decref(recipe->env);
	json_decref(recipe->labels);
	json_decref(recipe->command);
	json_decref(recipe->command_env);
	json_decref(recipe->workdir);
	*recipe = (struct osh_recipe){ 0 };
}

/* ---- Labels ---------------------------------------- */

static bool is_label_text(const char *text)
{
	static const char also[] = "._/-";
	size_t len = 0;

	for (; text[len]; len++) {
		if (!osh_ascii_is_alpha(text[len]) && !osh_ascii_is_digit(text[len]) &&
		    !strchr(also, text[len]))
			return false;
	}
	return len <= OSH_LABEL_BYTES_MAX;
}

int osh_recipe_check_labels(const json_t *labels, struct osh_err *err)
{
	const char *key;
	json_t *value;

	if (labels && !json_is_object(labels))
		return osh_err_set(err, EINVAL, "labels must be an object of strings");
	if (json_object_size(labels) > OSH_LABELS_MAX)
		return osh_err_set(err, EINVAL, "a sandbox has at most %d labels", OSH_LABELS_MAX);
	/* The iterator does not change the object; it is only not declared const. */
	json_object_foreach((json_t *)(uintptr_t)labels, key, value) {
		const char *text = json_string_value(value);

		if (!*key || !is_label_text(key) || !text || !is_label_text(text))
			return osh_err_set(err, EINVAL,
					   "label \"%.64s\" is not KEY=VALUE of letters, digits, "
					   "'.', '_', '/', '-', at most %d each",
					   key, OSH_LABEL_BYTES_MAX);
	}
	return 0;
}

/* ---- On disk ---------------------------------------- */

static json_t *limits_json(const struct osh_sandbox_limits *limits)
{
	json_t *object = json_object();

	for (int i = 0; object && i < OSH_LIMIT_COUNT; i++) {
		if (json_object_set_new(object, osh_limit_name((enum osh_limit)i),
					json_integer((json_int_t)limits->of[i])) < 0) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

int osh_recipe_limits(const json_t *json, struct osh_sandbox_limits *ret_limits, struct osh_err *err)
{
	struct osh_sandbox_limits limits = { 0 };
	size_t known = 0;

	for (int i = 0; i < OSH_LIMIT_COUNT; i++) {
		const char *name = osh_limit_name((enum osh_limit)i);
		const json_t *value = json_object_get(json, name);

		if (value && (!json_is_integer(value) || json_integer_value(value) < 0))
			return osh_err_set(err, EINVAL, "limits: %s must be a number", name);
		limits.of[i] = (uint64_t)json_integer_value(value);
		known += value != NULL;
	}
	if (json && (!json_is_object(json) || json_object_size(json) != known))
		return osh_err_set(err, EINVAL, "limits are cpu_milli, memory and pids");
	*ret_limits = limits;
	return 0;
}

int osh_recipe_save(const char *dir, const struct osh_recipe *recipe, struct osh_err *err)
{
	return osh_state_save_json(dir, RECIPE,
				   json_pack("{s:O?, s:O?, s:O?, s:O?, s:O?, s:o}", "env",
					     recipe->env, "labels", recipe->labels, "command",
					     recipe->command, "command_env", recipe->command_env,
					     "workdir", recipe->workdir, "limits",
					     limits_json(&recipe->limits)),
				   err);
}

static bool are_strings(const json_t *array)
{
	if (array && !json_is_array(array))
		return false;
	for (size_t i = 0; i < json_array_size(array); i++) {
		if (!json_is_string(json_array_get(array, i)))
			return false;
	}
	return true;
}

/* What the file holds under a key; JSON's null is nothing. */
static json_t *take(json_t *json, const char *key)
{
	json_t *value = json_object_get(json, key);

	return json_is_null(value) ? NULL : json_incref(value);
}

int osh_recipe_load(const char *dir, struct osh_recipe *ret_recipe, struct osh_err *err)
{
	struct osh_recipe recipe = { 0 };
	json_t *json = NULL;
	bool good;
	int r = osh_state_load_json(dir, RECIPE, &json, err);

	if (r < 0)
		return r;
	recipe.env = take(json, "env");
	recipe.labels = take(json, "labels");
	recipe.command = take(json, "command");
	recipe.command_env = take(json, "command_env");
	recipe.workdir = take(json, "workdir");
	good = json_object_get(json, "limits") &&
	       osh_recipe_limits(json_object_get(json, "limits"), &recipe.limits, NULL) == 0 && are_strings(recipe.env) &&
	       are_strings(recipe.command) && are_strings(recipe.command_env) &&
	       (!recipe.workdir || json_is_string(recipe.workdir)) &&
	       osh_recipe_check_labels(recipe.labels, NULL) == 0;
	json_decref(json);
	if (!good) {
		osh_recipe_done(&recipe);
		return osh_err_set(err, EBADMSG, "%s/" RECIPE " is damaged", dir);
	}
	*ret_recipe = recipe;
	return 0;
}

/* One text, however many words there are, cut between two: it is for people, and a list of
 * sandboxes is one message. */
static json_t *command_json(const json_t *command)
{
	char text[SHOWN_COMMAND_BYTES] = "";
	size_t len = 0;

	for (size_t i = 0; i < json_array_size(command); i++) {
		int n = snprintf(text + len, sizeof(text) - len, "%s%s", i ? " " : "",
				 json_string_value(json_array_get(command, i)));

		if (n < 0 || (size_t)n >= sizeof(text) - len) {
			text[len] = '\0';
			break;
		}
		len += (size_t)n;
	}
	return json_string(text);
}

json_t *osh_recipe_json(const struct osh_recipe *recipe)
{
	return json_pack("{s:o, s:o*, s:O*, s:o}", "labels",
			 recipe->labels ? json_incref(recipe->labels) : json_object(), "command",
			 recipe->command ? command_json(recipe->command) : NULL, "workdir",
			 recipe->workdir, "limits", limits_json(&recipe->limits));
}
