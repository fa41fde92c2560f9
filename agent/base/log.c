#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

static const char *const level_names[OSH_LOG_LEVEL_COUNT] = {
	[OSH_LOG_ERROR] = "error",
	[OSH_LOG_WARNING] = "warning",
	[OSH_LOG_INFO] = "info",
	[OSH_LOG_DEBUG] = "debug",
};

static const char *log_who = "openshell";
static enum osh_log_level log_level = OSH_LOG_INFO;

int osh_log_level_parse(const char *text, enum osh_log_level *ret_level)
{
	for (int i = 0; i < OSH_LOG_LEVEL_COUNT; i++) {
		if (strcmp(text, level_names[i]) == 0) {
			*ret_level = (enum osh_log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

void osh_log_init(const char *who, enum osh_log_level level)
{
	log_who = who;
	log_level = level;
}

enum osh_log_level osh_log_level_get(void)
{
	return log_level;
}

void osh_log_write(enum osh_log_level level, const char *format, ...)
{
	char text[1024];
	char escaped[2048];
	char line[2200];
	va_list args;
	int length;

	if (level > log_level)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	osh_str_escape(osh_str(text), escaped, sizeof(escaped));
	length = snprintf(line, sizeof(line), "%s: %s: %s\n", log_who, level_names[level], escaped);
	/* One write per line, so that lines of several processes do not mix. */
	(void)!write(STDERR_FILENO, line, (size_t)length);
}
