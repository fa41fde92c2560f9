/* A request that asks to be taken for another one: `_method` in a query or in a form, which
 * Rails, Laravel, Symfony, Express and others obey as they would another method. (Headers
 * that ask for it do not pass, http_head.h.) Pure over bytes; finds them as they arrive. */
#ifndef OSH_PROXY_OVERRIDE_H
#define OSH_PROXY_OVERRIDE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"
#include "proxy/http_head.h"

enum osh_form {
	OSH_FORM_NONE,
	OSH_FORM_PAIRS, /* application/x-www-form-urlencoded, and any query */
	OSH_FORM_PARTS, /* multipart/form-data (RFC 7578) */
};
enum osh_form osh_form_of(struct osh_str content_type);

struct osh_override {
	enum osh_form form;
	/* What was found: the method asked for, "" when only that one is asked for is known. */
	char method[OSH_HTTP_METHOD_MAX + 1];
	bool in_value;      /* PAIRS: of a name that counts; or of any other */
	bool is_override;
	unsigned escape;    /* PAIRS: characters of a %HH seen */
	char high;          /* ... its first digit */
	bool in_disposition; /* PARTS: the line before was one, or went on with it */
	bool cut;            /* `text` is longer */
	size_t len;
	/* PAIRS: decoded name or value so far. PARTS: the line so far. */
	char text[256];
};

void osh_override_init(struct osh_override *override, enum osh_form form);
/* Take from the front of `*bytes`. True: one was found, `method` says which; there may be
 * more in what is left. False: all was taken. */
bool osh_override_next(struct osh_override *override, struct osh_str *bytes);
/* No more bytes come: was the last pair one? */
bool osh_override_end(struct osh_override *override);

#endif
