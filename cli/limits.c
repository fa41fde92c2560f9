#include "limits.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "out.h"

#define CPU_MAX 4096
#define PIDS_MAX 4194304 /* PID_MAX_LIMIT */
#define MILLI 1000

/* "2", "1.5", "0.25": at least a thousandth. */
static bool parse_cpu(const char *text, uint64_t *ret_milli)
{
	size_t len = strcspn(text, "."), digits = text[len] ? strlen(text + len + 1) : 0;
	uint64_t whole = 0, part = 0;

	if (osh_str_parse_u64(osh_str_n(text, len), CPU_MAX, &whole) < 0 || digits > 3)
		return false;
	if (text[len] && osh_str_parse_u64(osh_str(text + len + 1), MILLI - 1, &part) < 0)
		return false;
	for (size_t i = digits; i < 3; i++)
		part *= 10;
	*ret_milli = whole * MILLI + part;
	return *ret_milli > 0;
}

/* "64M", "2G", "1T", "512K", bytes: of 1024 each. */
static bool parse_memory(const char *text, uint64_t *ret_bytes)
{
	static const char units[] = "KMGT";
	size_t len = strspn(text, "0123456789");
	const char *unit = text[len] ? strchr(units, text[len]) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
	uint64_t count;

	if (text[len] && (!unit || text[len + 1]))
		return false;
	if (osh_str_parse_u64(osh_str_n(text, len), (uint64_t)INT64_MAX >> shift, &count) < 0)
		return false;
	*ret_bytes = count << shift;
	return count > 0;
}

static bool parse_pids(const char *text, uint64_t *ret_pids)
{
	return osh_str_parse_u64(osh_str(text), PIDS_MAX, ret_pids) == 0 && *ret_pids > 0;
}

struct limit_option {
	const char *option, *key, *form;
	bool (*parse)(const char *text, uint64_t *ret_value);
};

static const struct limit_option kinds[] = {
	{ "cpu", "cpu_milli", "processors, for example 2 or 0.5", parse_cpu },
	{ "memory", "memory", "bytes, with K, M, G or T behind", parse_memory },
	{ "pids", "pids", "a number of processes", parse_pids },
};

json_t *osh_limits_options(const struct osh_command *command, const char *cpu, const char *memory,
			   const char *pids, int *ret_status)
{
	const char *const texts[OSH_COUNT_OF(kinds)] = { cpu, memory, pids };
	json_t *limits = json_object();

	for (size_t i = 0; i < OSH_COUNT_OF(kinds); i++) {
		uint64_t value;

		if (!texts[i])
			continue;
		if (!kinds[i].parse(texts[i], &value)) {
			*ret_status = osh_cli_misuse(command, "--%s needs %s, not '%s'",
						     kinds[i].option, kinds[i].form, texts[i]);
			json_decref(limits);
			return NULL;
		}
		(void)json_object_set_new(limits, kinds[i].key, json_integer((json_int_t)value));
	}
	if (!limits)
		*ret_status = osh_cli_no_memory();
	return limits;
}

static void write_value(size_t kind, int64_t value, char *buf, size_t size)
{
	static const char units[] = "KMGT";
	int unit = -1;

	if (kind == 0) {
		snprintf(buf, size, "%g", (double)value / MILLI);
		return;
	}
	while (kind == 1 && value && value % 1024 == 0 && units[unit + 1]) {
		value /= 1024;
		unit++;
	}
	snprintf(buf, size, "%" PRId64 "%.1s", value, unit >= 0 ? units + unit : "");
}

static bool is_listed(const json_t *list, const char *text)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *item = json_string_value(json_array_get(list, i));

		if (item && strcmp(item, text) == 0)
			return true;
	}
	return false;
}

const char *osh_limits_text(const json_t *sandbox, char buf[OSH_LIMITS_BYTES])
{
	const json_t *limits = json_object_get(sandbox, "limits");
	const json_t *unenforced = json_object_get(sandbox, "unenforced");
	size_t len = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < OSH_COUNT_OF(kinds); i++) {
		int64_t value = osh_json_int(limits, kinds[i].key);
		char text[32], why[96] = "";
		int n;

		if (!value)
			continue;
		write_value(i, value, text, sizeof(text));
		if (is_listed(unenforced, kinds[i].key))
			snprintf(why, sizeof(why), " (not enforced: no %s controller in cgroup2)",
				 kinds[i].option);
		n = snprintf(buf + len, OSH_LIMITS_BYTES - len, "%s%s %s%s", len ? ", " : "",
			     kinds[i].option, text, why);
		len += n > 0 && (size_t)n < OSH_LIMITS_BYTES - len ? (size_t)n : 0;
	}
	return buf;
}
