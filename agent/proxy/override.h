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
	OSH_FORM_JSON,  /* of which Laravel takes members for fields of a form */
	OSH_FORM_CODED, /* pairs or parts in a coding that Express undoes and we do not: any method */
};
/* What some server takes a body of this type for. Read as loosely as any of them does: Rack cuts a type at
 * a comma, too, and takes a POST without one for pairs; CGI.pm looks at its beginning only. */
enum osh_form osh_form_of(struct osh_str content_type);
/* The same with Content-Encoding, "" where there is none. Who undoes one takes nothing without a type for a
 * form. */
enum osh_form osh_form_in(struct osh_str content_type, struct osh_str coding);

struct osh_override {
	enum osh_form form;
	/* What was found: the method asked for, "" when only that one is asked for is known. */
	char method[OSH_HTTP_METHOD_MAX + 1];
	bool in_value;      /* PAIRS: of a name that counts; or of any other. JSON: in a string.
	                     * CODED: told */
	bool is_override;   /* PAIRS: it counts. JSON: the last string would, as a member's name */
	unsigned escape;    /* PAIRS: characters of a %HH seen. JSON: of a \uHHHH */
	char high;          /* PAIRS: its first digit */
	unsigned unit;      /* JSON: its digits so far */
	bool in_disposition; /* PARTS: the line before was one, or went on with it */
	bool cut;            /* `text` is longer */
	size_t len;
	/* PAIRS: decoded name or value so far. PARTS: the line so far. JSON: the string so far. */
	char text[256];
};

void osh_override_init(struct osh_override *override, enum osh_form form);
/* Take from the front of `*bytes`. True: one was found, `method` says which; there may be
 * more in what is left. False: all was taken. */
bool osh_override_next(struct osh_override *override, struct osh_str *bytes);
/* No more bytes come: was the last pair one? */
bool osh_override_end(struct osh_override *override);

#endif
