#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int osh_err_set(struct osh_err *err, int code, const char *format, ...)
{
	if (err) {
		va_list args;

		va_start(args, format);
		vsnprintf(err->message, sizeof(err->message), format, args);
		va_end(args);
		err->code = code;
	}
	return -code;
}

int osh_err_sys(struct osh_err *err, int code, const char *format, ...)
{
	if (err) {
		char what[384];
		va_list args;

		va_start(args, format);
		vsnprintf(what, sizeof(what), format, args);
		va_end(args);
		osh_err_set(err, code, "%s: %s", what, strerror(code));
	}
	return -code;
}

int osh_err_wrap(struct osh_err *err, const char *format, ...)
{
	char inner[sizeof(err->message)];
	char context[256];
	va_list args;

	if (!err)
		return -1;
	va_start(args, format);
	vsnprintf(context, sizeof(context), format, args);
	va_end(args);
	memcpy(inner, err->message, sizeof(inner));
	/* The context is short by construction; the inner message may be cut. */
	snprintf(err->message, sizeof(err->message), "%s: %.*s", context,
		 (int)(sizeof(err->message) - strlen(context) - 3), inner);
	return -err->code;
}
