/* DNS questions: whatever comes, the answer is bounded and is no question. */
#include "proxy/dns_message.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	unsigned char answer[OSH_DNS_ANSWER_MAX];
	struct osh_dns_query query, again;
	enum osh_dns_rcode rcode, again_rcode;
	struct in6_addr addr = IN6ADDR_LOOPBACK_INIT;
	bool found;
	size_t len;

	if (osh_dns_parse(osh_str_n((const char *)data, size), &query, &rcode) == OSH_DNS_DROP)
		return 0;
	if (rcode == OSH_DNS_NOERROR && (!query.has_question || strlen(query.name) > 253))
		abort();
	found = rcode == OSH_DNS_NOERROR &&
		(query.type == OSH_DNS_TYPE_A || query.type == OSH_DNS_TYPE_AAAA);
	len = osh_dns_answer(&query, rcode, found ? &addr : NULL, answer);
	if (len < 12 || len > sizeof(answer))
		abort();
	/* Two of us do not talk to each other for ever. */
	if (osh_dns_parse(osh_str_n((const char *)answer, len), &again, &again_rcode) != OSH_DNS_DROP)
		abort();
	return 0;
}
