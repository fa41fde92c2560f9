/* Changes to a policy text that the one-line forms of `policy update` cannot say: a rule about
 * messages, and doing without a deny rule. `policy explain` makes them to ask the engine again,
 * and names them for a person to make. Pure. */
#ifndef OSH_POLICY_AMEND_H
#define OSH_POLICY_AMEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/* Endpoints that a request goes to. */
struct osh_amend_where {
	struct osh_str host; /* lower case */
	uint16_t port_host;
	struct osh_str protocol; /* as an endpoint's `protocol` spells it */
	struct osh_str path;     /* canonical */
};

/* Where a person would make the change. */
struct osh_amend_place {
	char entry[128]; /* key in network_policies, escaped and perhaps cut */
	uint32_t line;   /* of the rule that it goes behind, or else of the endpoint */
	bool spells_preset; /* the endpoint's `access` becomes the rules that it stands for */
	bool empties;       /* the list is empty without the rule: its key goes too */
};

/* Add `rule`, a YAML flow mapping ("{ method: tools/list }"), to what the `nth` endpoint of that
 * kind (from 0, in order of the file) allows, on all of its ports. `text` is a valid policy; the result is not
 * validated: parse it before it is used. The caller frees *ret_text. Returns 0, -ENOENT (there is
 * no nth) or another -errno with a message. */
int osh_policy_amend_allow(struct osh_str text, const struct osh_amend_where *where, size_t nth,
			   struct osh_str rule, char **ret_text, size_t *ret_len,
			   struct osh_amend_place *ret_place, struct osh_err *err);

/* Do without the deny rules that begin on this line. As above; -ENOENT: none does. */
int osh_policy_amend_drop(struct osh_str text, uint32_t line, char **ret_text, size_t *ret_len,
			  struct osh_amend_place *ret_place, struct osh_err *err);

#endif
