/* The agent's own log: one line per call on standard error, for operators.
 * Verdicts are not logged here (agent/verdict). Library code does not log what
 * it returns as an error: the layer that decides logs once. */
#ifndef OSH_BASE_LOG_H
#define OSH_BASE_LOG_H

enum osh_log_level {
	OSH_LOG_ERROR,
	OSH_LOG_WARNING,
	OSH_LOG_INFO,
	OSH_LOG_DEBUG,
	OSH_LOG_LEVEL_COUNT,
};

/* Parse "error", "warning", "info", "debug". Returns 0 or -EINVAL. */
int osh_log_level_parse(const char *text, enum osh_log_level *ret_level);

/* Lines below this level are dropped. `who` prefixes every line ("openshelld",
 * "proxy"); it must outlive the process. */
void osh_log_init(const char *who, enum osh_log_level level);

enum osh_log_level osh_log_level_get(void);

/* Bytes below 0x20 and 0x7f in the formatted text are escaped, so that no input
 * can forge a line. */
void osh_log_write(enum osh_log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#define osh_error(...) osh_log_write(OSH_LOG_ERROR, __VA_ARGS__)
#define osh_warning(...) osh_log_write(OSH_LOG_WARNING, __VA_ARGS__)
#define osh_info(...) osh_log_write(OSH_LOG_INFO, __VA_ARGS__)
#define osh_debug(...) osh_log_write(OSH_LOG_DEBUG, __VA_ARGS__)

#endif
