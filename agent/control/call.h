/* One call on a control connection, as its handler sees it. A handler answers with one
 * of the functions below, now or later; a call that is answered is gone. A mistake of
 * the caller is an error reply of the interface, never the end of anything else. */
#ifndef OSH_CONTROL_CALL_H
#define OSH_CONTROL_CALL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/fd.h"
#include "policy/policy.h"

struct osh_agent;
struct osh_agent_sandbox;
struct osh_client;

struct osh_call {
	struct osh_agent *agent;
	struct osh_client *client;
	char *method;         /* "io.openshell.Status"; owned by the connection, like the rest */
	json_t *parameters;   /* an object without null members */
	int fds[OSH_FDS_MAX]; /* osh_take_fd() one to keep it */
	size_t fd_count;
	bool more, oneway;
	/* Set by a handler that answers later: the caller went away. Nothing can be
	 * answered any more. */
	void (*on_cancel)(struct osh_call *call);
	void *context;
};

struct osh_method {
	const char *name; /* without the interface */
	void (*handle)(struct osh_call *call);
};

/* Tables ended by a row without a name, one per file of calls. */
extern const struct osh_method osh_status_methods[];
extern const struct osh_method osh_sandbox_methods[];
extern const struct osh_method osh_exec_methods[];
extern const struct osh_method osh_forward_methods[];
extern const struct osh_method osh_policy_methods[];
extern const struct osh_method osh_revision_methods[];
extern const struct osh_method osh_provider_methods[];
extern const struct osh_method osh_verdict_methods[];
extern const struct osh_method osh_service_methods[]; /* of org.varlink.service */

/* Unpack the parameters (json_unpack format for the inside of an object; optional ones
 * with ?), none left over. When it fails the call has been answered: return at once. */
#define osh_call_unpack(call, format, ...) \
	osh_call_unpack_object(call, "{" format "!}" __VA_OPT__(,) __VA_ARGS__)
bool osh_call_unpack_object(struct osh_call *call, const char *format, ...);

/* An array of at most `max` strings as a NULL-terminated list; NULL gives an empty one.
 * The list is the caller's, the strings live as long as the call. Returns NULL when the
 * call has been answered. */
const char **osh_call_strings(struct osh_call *call, const char *name, json_t *array, size_t max);

/* The sandbox of that name, or NULL: the call has been answered. Another user's is refused,
 * unless root asks; with `running` one that does not run is refused too. */
struct osh_agent_sandbox *osh_call_sandbox(struct osh_call *call, const char *name, bool running);

/* The same for one that programs can be run in: it runs, and is not attached to what others made. */
struct osh_agent_sandbox *osh_call_inside(struct osh_call *call, const char *name);

/* The reference to `parameters` is taken over, descriptors are borrowed. NULL, as of a json_pack
 * for which memory was short: no answer is better than half of one, and the connection ends. */
void osh_call_reply(struct osh_call *call, json_t *parameters, const int *fds, size_t fd_count);
/* One reply of several, with `more`: the call goes on. */
void osh_call_reply_continues(struct osh_call *call, json_t *parameters, const int *fds,
			      size_t fd_count);
/* An error of io.openshell with a message for people. */
void osh_call_error(struct osh_call *call, const char *name, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* Any error by its whole name, with parameters (taken over). */
void osh_call_error_object(struct osh_call *call, const char *name, json_t *parameters);
/* What failed inside: the error's name follows from err->code. */
void osh_call_fail(struct osh_call *call, const struct osh_err *err);

/* The policy text attached to a call: the caller frees *ret_text. False: the call has been
 * answered. */
bool osh_call_policy_text(struct osh_call *call, char **ret_text, size_t *ret_len);
/* A policy text that came with a call: its digest is checked first (`sha256` NULL: none
 * was asked for), then it is parsed. When it fails the call has been answered. *ret_warnings
 * is a list of the interface's Diagnostic. */
bool osh_call_policy(struct osh_call *call, const char *text, size_t len, const char *sha256,
		     struct osh_policy_doc **ret_policy, json_t **ret_warnings);
/* One more Diagnostic, a warning without a place. */
void osh_call_add_warning(json_t *warnings, const char *text);

#endif
