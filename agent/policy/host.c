#include "policy/host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#define HOST_NAME_MAX 253 /* RFC 1035 3.1, in text form */
#define HOST_LABEL_MAX 63

/* ---- Punycode (RFC 3492): an "xn--" label must decode -------------------- */

enum { PUNY_BASE = 36, PUNY_TMIN = 1, PUNY_TMAX = 26, PUNY_SKEW = 38, PUNY_DAMP = 700 };

static uint32_t puny_adapt(uint32_t delta, uint32_t points, bool first)
{
	uint32_t k = 0;

	delta = first ? delta / PUNY_DAMP : delta / 2;
	delta += delta / points;
	while (delta > ((PUNY_BASE - PUNY_TMIN) * PUNY_TMAX) / 2) {
		delta /= PUNY_BASE - PUNY_TMIN;
		k += PUNY_BASE;
	}
	return k + (PUNY_BASE - PUNY_TMIN + 1) * delta / (delta + PUNY_SKEW);
}

/* One generalised variable-length integer (RFC 3492 6.2). */
static bool puny_read_delta(struct osh_str text, size_t *pos, uint32_t bias, uint32_t *ret_delta)
{
	uint32_t delta = 0, weight = 1;

	for (uint32_t k = PUNY_BASE;; k += PUNY_BASE) {
		uint32_t digit, threshold;
		char c;

		if (*pos >= text.len)
			return false;
		c = text.data[(*pos)++];
		if (osh_ascii_is_digit(c))
			digit = (uint32_t)(c - '0') + 26;
		else if (osh_ascii_is_alpha(c))
			digit = (uint32_t)(osh_ascii_lower(c) - 'a');
		else
			return false;
		if (digit > (UINT32_MAX - delta) / weight)
			return false;
		delta += digit * weight;
		threshold = k <= bias ? PUNY_TMIN : k >= bias + PUNY_TMAX ? PUNY_TMAX : k - bias;
		if (digit < threshold)
			break;
		if (weight > UINT32_MAX / (PUNY_BASE - threshold))
			return false;
		weight *= PUNY_BASE - threshold;
	}
	*ret_delta = delta;
	return true;
}

/* `text` is a label without its "xn--". It must hold at least one code point that is
 * not ASCII: else it is a second spelling of a plain label. */
static bool is_punycode(struct osh_str text)
{
	uint32_t code = 0x80, bias = 72, delta = 0, points = 0;
	size_t pos = 0;

	for (size_t i = text.len; i > 0; i--) {
		if (text.data[i - 1] == '-') {
			points = (uint32_t)(i - 1);
			pos = i;
			break;
		}
	}
	if (pos >= text.len)
		return false;
	while (pos < text.len) {
		uint32_t step;

		if (!puny_read_delta(text, &pos, bias, &step) || step > UINT32_MAX - delta)
			return false;
		bias = puny_adapt(step, points + 1, points == 0 || code == 0x80);
		delta += step;
		points++;
		if (delta / points > UINT32_MAX - code)
			return false;
		code += delta / points;
		delta %= points;
		delta++;
		if (code < 0xa0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
			return false;
	}
	return true;
}

/* ---- Names --------------------------------------------------------------- */

static bool is_label(struct osh_str label)
{
	if (label.len == 0 || label.len > HOST_LABEL_MAX)
		return false;
	if (label.data[0] == '-' || label.data[label.len - 1] == '-')
		return false;
	for (size_t i = 0; i < label.len; i++) {
		char c = label.data[i];

		if (!osh_ascii_is_alpha(c) && !osh_ascii_is_digit(c) && c != '-' && c != '_')
			return false;
	}
	if (label.len >= 4 && osh_str_caseeq_c(osh_str_n(label.data, 4), "xn--"))
		return is_punycode(osh_str_n(label.data + 4, label.len - 4));
	return true;
}

/* What inet_aton and browsers would take for a part of an address: digits, or 0x and
 * hex digits (WHATWG "ends in a number"). */
static bool is_number(struct osh_str label)
{
	size_t i = 0;
	bool hex = label.len >= 2 && label.data[0] == '0' && osh_ascii_lower(label.data[1]) == 'x';

	for (i = hex ? 2 : 0; i < label.len; i++) {
		char c = osh_ascii_lower(label.data[i]);

		if (!osh_ascii_is_digit(c) && !(hex && c >= 'a' && c <= 'f'))
			return false;
	}
	return true;
}

static int parse_name(struct osh_str text, struct osh_host *ret_host)
{
	struct osh_host host = { .kind = OSH_HOST_NAME };
	struct osh_str label = { 0 };
	size_t start = 0;

	if (text.len && text.data[text.len - 1] == '.')
		text.len--;
	if (text.len == 0 || text.len > HOST_NAME_MAX)
		return -EINVAL;
	for (size_t i = 0; i <= text.len; i++) {
		if (i < text.len && text.data[i] != '.')
			continue;
		label = osh_str_n(text.data + start, i - start);
		if (!is_label(label))
			return -EINVAL;
		start = i + 1;
	}
	if (is_number(label))
		return -EINVAL;
	for (size_t i = 0; i < text.len; i++)
		host.text[i] = osh_ascii_lower(text.data[i]);
	*ret_host = host;
	return 0;
}

/* ---- Literals ------------------------------------------------------------ */

static int parse_ipv6(struct osh_str text, struct osh_host *ret_host)
{
	struct osh_host host = { .kind = OSH_HOST_IPV6 };
	char buf[INET6_ADDRSTRLEN];

	if (osh_str_copy(text, buf, sizeof(buf)) < 0 || inet_pton(AF_INET6, buf, &host.addr) != 1)
		return -EINVAL;
	/* An IPv4 address in disguise would be a second spelling of one host. */
	if (IN6_IS_ADDR_V4MAPPED(&host.addr))
		return -EINVAL;
	if (!inet_ntop(AF_INET6, &host.addr, host.text, sizeof(host.text)))
		return -EINVAL;
	*ret_host = host;
	return 0;
}

static int parse_ipv4(struct osh_str text, struct osh_host *ret_host)
{
	struct osh_host host = { .kind = OSH_HOST_IPV4 };
	char buf[INET_ADDRSTRLEN];
	struct in_addr v4;

	if (osh_str_copy(text, buf, sizeof(buf)) < 0 || inet_pton(AF_INET, buf, &v4) != 1)
		return -EINVAL;
	host.addr.s6_addr[10] = host.addr.s6_addr[11] = 0xff;
	memcpy(&host.addr.s6_addr[12], &v4, sizeof(v4));
	if (!inet_ntop(AF_INET, &v4, host.text, sizeof(host.text)))
		return -EINVAL;
	*ret_host = host;
	return 0;
}

int osh_host_parse(struct osh_str text, struct osh_host *ret_host)
{
	if (text.len == 0)
		return -EINVAL;
	if (text.data[0] == '[') {
		if (text.data[text.len - 1] != ']')
			return -EINVAL;
		return parse_ipv6(osh_str_n(text.data + 1, text.len - 2), ret_host);
	}
	if (osh_str_chr(text, ':'))
		return parse_ipv6(text, ret_host);
	if (parse_ipv4(text, ret_host) == 0)
		return 0;
	return parse_name(text, ret_host);
}

static int parse_port(struct osh_str text, uint16_t *ret_port_host)
{
	uint64_t port;

	if (text.len == 0 || text.data[0] == '0')
		return -EINVAL;
	if (osh_str_parse_u64(text, 65535, &port) < 0)
		return -EINVAL;
	*ret_port_host = (uint16_t)port;
	return 0;
}

int osh_authority_parse(struct osh_str text, uint16_t default_port_host, struct osh_host *ret_host,
			uint16_t *ret_port_host)
{
	const char *after_bracket = NULL, *colon;
	uint16_t port_host = default_port_host;
	struct osh_str host = text;
	struct osh_host parsed;

	if (text.len == 0)
		return -EINVAL;
	if (text.data[0] == '[') {
		after_bracket = osh_str_chr(text, ']');
		if (!after_bracket)
			return -EINVAL;
	}
	colon = memchr(after_bracket ? after_bracket : text.data, ':',
		       text.len - (after_bracket ? (size_t)(after_bracket - text.data) : 0));
	if (colon) {
		size_t at = (size_t)(colon - text.data);

		host.len = at;
		if (parse_port(osh_str_n(colon + 1, text.len - at - 1), &port_host) < 0)
			return -EINVAL;
	}
	if (osh_host_parse(host, &parsed) < 0)
		return -EINVAL;
	*ret_host = parsed;
	*ret_port_host = port_host;
	return 0;
}

bool osh_host_is_localhost(struct osh_str host)
{
	return osh_str_caseeq_c(host, "localhost");
}

const struct in6_addr osh_host_loopbacks[2] = {
	{ .s6_addr = { [10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1 } },
	IN6ADDR_LOOPBACK_INIT,
};

bool osh_host_is_loopback(const struct in6_addr *addr)
{
	return memcmp(addr, &osh_host_loopbacks[0], sizeof(*addr)) == 0 ||
	       memcmp(addr, &osh_host_loopbacks[1], sizeof(*addr)) == 0;
}

bool osh_host_is_gateway(struct osh_str host)
{
	return osh_str_caseeq_c(host, "host.openshell.internal") ||
	       osh_str_caseeq_c(host, "host.containers.internal") ||
	       osh_str_caseeq_c(host, "host.docker.internal");
}
