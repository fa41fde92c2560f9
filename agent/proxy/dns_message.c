#include "proxy/dns_message.h"

#include <string.h>

#define HEADER_BYTES 12
#define LABEL_MAX 63
#define NAME_WIRE_MAX 255
#define TYPE_OPT 41
#define UDP_PAYLOAD 1232
#define FLAG_RESPONSE 0x8000u
#define FLAG_RECURSION_DESIRED 0x0100u
#define FLAG_RECURSION_AVAILABLE 0x0080u
#define FLAG_TRUNCATED 0x0200u
#define NAME_POINTER 0xc00cu /* to the question's name, right behind the header */

struct reader {
	const unsigned char *at;
	size_t left;
	bool bad;
};

static const unsigned char *take(struct reader *r, size_t len)
{
	const unsigned char *part = r->at;

	if (r->bad || len > r->left) {
		r->bad = true;
		return NULL;
	}
	r->at += len;
	r->left -= len;
	return part;
}

static unsigned take_u8(struct reader *r)
{
	const unsigned char *p = take(r, 1);

	return p ? p[0] : 0;
}

static unsigned take_u16(struct reader *r)
{
	const unsigned char *p = take(r, 2);

	return p ? (unsigned)p[0] << 8 | p[1] : 0;
}

static bool is_name_byte(char c)
{
	return osh_ascii_is_alpha(c) || osh_ascii_is_digit(c) || c == '-' || c == '_';
}

static bool copy_label(const unsigned char *label, size_t len, char *name, size_t *name_len)
{
	if (*name_len)
		name[(*name_len)++] = '.';
	for (size_t i = 0; i < len; i++) {
		if (!is_name_byte((char)label[i]))
			return false;
		name[(*name_len)++] = osh_ascii_lower((char)label[i]);
	}
	return true;
}

/* A name without compression: in a question there is nothing to point back to. */
static bool take_name(struct reader *r, char name[254])
{
	size_t wire = 1, len = 0;

	for (;;) {
		size_t label_len = take_u8(r);
		const unsigned char *label;

		if (r->bad || label_len > LABEL_MAX)
			return false;
		if (label_len == 0)
			break;
		wire += 1 + label_len;
		label = take(r, label_len);
		/* 255 on the wire are at most 253 as text. */
		if (!label || wire > NAME_WIRE_MAX || !copy_label(label, label_len, name, &len))
			return false;
	}
	name[len] = '\0';
	return true;
}

static bool take_question(struct reader *r, struct osh_dns_query *query)
{
	query->question = r->at;
	if (!take_name(r, query->name))
		return false;
	query->type = (uint16_t)take_u16(r);
	query->class = (uint16_t)take_u16(r);
	query->question_len = (size_t)(r->at - query->question);
	query->has_question = !r->bad;
	return !r->bad;
}

/* Its options (cookies, client subnet, padding) are for resolvers that look further. */
static enum osh_dns_rcode take_opt(struct reader *r)
{
	unsigned name = take_u8(r), type = take_u16(r), version, data_len;

	(void)take(r, 2 + 1); /* payload size, extended rcode */
	version = take_u8(r);
	(void)take(r, 2); /* flags */
	data_len = take_u16(r);
	(void)take(r, data_len);
	if (r->bad || name != 0 || type != TYPE_OPT)
		return OSH_DNS_FORMERR;
	return version == 0 ? OSH_DNS_NOERROR : OSH_DNS_BADVERS;
}

static enum osh_dns_rcode parse_body(struct reader *r, struct osh_dns_query *query, unsigned opcode,
				     unsigned additional)
{
	enum osh_dns_rcode rcode = OSH_DNS_NOERROR;

	if (opcode != 0)
		return OSH_DNS_NOTIMP;
	if (!take_question(r, query))
		return OSH_DNS_FORMERR;
	if (additional > 1)
		return OSH_DNS_FORMERR;
	if (additional == 1) {
		rcode = take_opt(r);
		query->has_edns = rcode != OSH_DNS_FORMERR;
	}
	if (rcode == OSH_DNS_NOERROR && r->left)
		return OSH_DNS_FORMERR;
	if (rcode == OSH_DNS_NOERROR && query->class != OSH_DNS_CLASS_IN)
		return OSH_DNS_NOTIMP;
	return rcode;
}

enum osh_dns_result osh_dns_parse(struct osh_str bytes, struct osh_dns_query *ret_query,
				  enum osh_dns_rcode *ret_rcode)
{
	struct reader r = { .at = (const unsigned char *)bytes.data, .left = bytes.len };
	unsigned id, flags, questions, answers, authorities, additional;

	if (bytes.len < HEADER_BYTES)
		return OSH_DNS_DROP;
	id = take_u16(&r);
	flags = take_u16(&r);
	questions = take_u16(&r);
	answers = take_u16(&r);
	authorities = take_u16(&r);
	additional = take_u16(&r);
	if (flags & FLAG_RESPONSE)
		return OSH_DNS_DROP;
	*ret_query = (struct osh_dns_query){
		.id = (uint16_t)id,
		.recursion_desired = flags & FLAG_RECURSION_DESIRED,
	};
	if (bytes.len > OSH_DNS_QUERY_MAX || questions != 1 || answers || authorities ||
	    (flags & FLAG_TRUNCATED))
		*ret_rcode = OSH_DNS_FORMERR;
	else
		*ret_rcode = parse_body(&r, ret_query, flags >> 11 & 15, additional);
	return OSH_DNS_PARSED;
}

/* ---- Answers --------------------------------------------------------------------- */

struct writer {
	unsigned char *buf;
	size_t len;
};

static void put(struct writer *w, const void *data, size_t len)
{
	memcpy(w->buf + w->len, data, len);
	w->len += len;
}

static void put_u16(struct writer *w, unsigned value)
{
	w->buf[w->len++] = (unsigned char)(value >> 8);
	w->buf[w->len++] = (unsigned char)value;
}

static void put_address(struct writer *w, const struct osh_dns_query *query,
			const struct in6_addr *addr)
{
	bool is_v4 = query->type == OSH_DNS_TYPE_A;

	put_u16(w, NAME_POINTER);
	put_u16(w, query->type);
	put_u16(w, OSH_DNS_CLASS_IN);
	put_u16(w, 0);
	put_u16(w, OSH_DNS_TTL_S);
	put_u16(w, is_v4 ? 4 : 16);
	put(w, addr->s6_addr + (is_v4 ? 12 : 0), is_v4 ? 4 : 16);
}

static void put_opt(struct writer *w, enum osh_dns_rcode rcode)
{
	static const unsigned char root = 0;

	put(w, &root, 1);
	put_u16(w, TYPE_OPT);
	put_u16(w, UDP_PAYLOAD);
	put_u16(w, ((unsigned)rcode >> 4) << 8); /* upper bits of the code, version 0 */
	put_u16(w, 0);
	put_u16(w, 0);
}

size_t osh_dns_answer(const struct osh_dns_query *query, enum osh_dns_rcode rcode,
		      const struct in6_addr *addr, unsigned char buf[static OSH_DNS_ANSWER_MAX])
{
	struct writer w = { .buf = buf };
	unsigned flags = FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | ((unsigned)rcode & 15);

	if (query->recursion_desired)
		flags |= FLAG_RECURSION_DESIRED;
	put_u16(&w, query->id);
	put_u16(&w, flags);
	put_u16(&w, query->has_question);
	put_u16(&w, addr != NULL);
	put_u16(&w, 0);
	put_u16(&w, query->has_edns);
	/* 12 + (255 + 4) + 28 + 11 bytes at most: below OSH_DNS_ANSWER_MAX. */
	if (query->has_question)
		put(&w, query->question, query->question_len);
	if (addr)
		put_address(&w, query, addr);
	if (query->has_edns)
		put_opt(&w, rcode);
	return w.len;
}
