/* DNS messages (RFC 1035, RFC 6891) as a stub resolver sends them, read strictly, and
 * answers to them. Pure over bytes. */
#ifndef OSH_PROXY_DNS_MESSAGE_H
#define OSH_PROXY_DNS_MESSAGE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define OSH_DNS_QUERY_MAX 4096 /* bytes; a longer one is no stub's */
#define OSH_DNS_ANSWER_MAX 512 /* bytes of any answer of ours: fits every client */
#define OSH_DNS_TTL_S 60

#define OSH_DNS_TYPE_A 1
#define OSH_DNS_TYPE_AAAA 28
#define OSH_DNS_CLASS_IN 1

enum osh_dns_rcode {
	OSH_DNS_NOERROR = 0,
	OSH_DNS_FORMERR = 1,
	OSH_DNS_SERVFAIL = 2,
	OSH_DNS_NXDOMAIN = 3,
	OSH_DNS_NOTIMP = 4,
	OSH_DNS_BADVERS = 16, /* extended, RFC 6891 9 */
};

struct osh_dns_query {
	uint16_t id;
	bool recursion_desired;
	bool has_edns;
	bool has_question;       /* false after an error before its end: it is not echoed */
	uint16_t type, class;
	const unsigned char *question; /* as received, to be echoed: the case of letters counts */
	size_t question_len;
	char name[254];          /* text form, lower case, "" for the root */
};

enum osh_dns_result {
	OSH_DNS_PARSED, /* *ret_rcode says how: NOERROR, or the error to answer with */
	OSH_DNS_DROP,   /* not even a query: an answer could start a loop */
};

/* One message. Labels hold only letters, digits, '-' and '_'; no compression; exactly one
 * question; at most one OPT record and nothing else; no byte left over. */
enum osh_dns_result osh_dns_parse(struct osh_str bytes, struct osh_dns_query *ret_query,
				  enum osh_dns_rcode *ret_rcode);

/* Write the answer: with `addr` (IPv4-mapped for an A question) or, when NULL, without any
 * record. Returns its length, at most OSH_DNS_ANSWER_MAX. */
size_t osh_dns_answer(const struct osh_dns_query *query, enum osh_dns_rcode rcode,
		      const struct in6_addr *addr, unsigned char buf[static OSH_DNS_ANSWER_MAX]);

#endif
