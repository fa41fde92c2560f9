/* JSON values as YAML. */
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "cli.h"
#include "out.h"

static bool emit_scalar(yaml_emitter_t *emitter, const char *text, yaml_scalar_style_t style)
{
	yaml_event_t event;

	return yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text,
					    (int)strlen(text), 1, 1, style) &&
	       yaml_emitter_emit(emitter, &event);
}

static bool emit_value(yaml_emitter_t *emitter, const json_t *json);

static bool emit_object(yaml_emitter_t *emitter, const json_t *json)
{
	yaml_event_t event;
	const char *key;
	json_t *value;

	if (!yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE) ||
	    !yaml_emitter_emit(emitter, &event))
		return false;
	/* The iterator does not change the object; it is only not declared const. */
	json_object_foreach((json_t *)(uintptr_t)json, key, value)
	{
		if (!emit_scalar(emitter, key, YAML_PLAIN_SCALAR_STYLE) ||
		    !emit_value(emitter, value))
			return false;
	}
	return yaml_mapping_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event);
}

static bool emit_array(yaml_emitter_t *emitter, const json_t *json)
{
	yaml_event_t event;

	if (!yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
						  YAML_BLOCK_SEQUENCE_STYLE) ||
	    !yaml_emitter_emit(emitter, &event))
		return false;
	for (size_t i = 0; i < json_array_size(json); i++) {
		if (!emit_value(emitter, json_array_get(json, i)))
			return false;
	}
	return yaml_sequence_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event);
}

/* Strings are quoted, so that none turns into a number or a boolean; what could steer a
 * terminal is escaped. */
static bool emit_value(yaml_emitter_t *emitter, const json_t *json)
{
	char number[32];

	if (json_is_object(json))
		return emit_object(emitter, json);
	if (json_is_array(json))
		return emit_array(emitter, json);
	if (json_is_string(json))
		return emit_scalar(emitter, json_string_value(json),
				   YAML_DOUBLE_QUOTED_SCALAR_STYLE);
	if (json_is_integer(json))
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(json));
	else
		snprintf(number, sizeof(number), "%s",
			 json_is_true(json)    ? "true"
			 : json_is_false(json) ? "false"
					       : "null");
	return emit_scalar(emitter, number, YAML_PLAIN_SCALAR_STYLE);
}

int osh_out_yaml(const json_t *json)
{
	yaml_emitter_t emitter;
	yaml_event_t event;
	bool good;

	if (!json || !yaml_emitter_initialize(&emitter))
		return osh_cli_no_memory();
	yaml_emitter_set_output_file(&emitter, stdout);
	yaml_emitter_set_unicode(&emitter, 0);
	yaml_emitter_set_width(&emitter, -1);
	good = yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) &&
	       yaml_emitter_emit(&emitter, &event) &&
	       yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1) &&
	       yaml_emitter_emit(&emitter, &event) && emit_value(&emitter, json) &&
	       yaml_document_end_event_initialize(&event, 1) &&
	       yaml_emitter_emit(&emitter, &event) && yaml_stream_end_event_initialize(&event) &&
	       yaml_emitter_emit(&emitter, &event) && yaml_emitter_flush(&emitter);
	yaml_emitter_delete(&emitter);
	if (good)
		return OSH_EXIT_OK;
	osh_cli_error("cannot write the output as YAML");
	return OSH_EXIT_FAILED;
}
