/* The byte form of one verdict: a fixed head, then ten strings, each with its NUL.
 * Native byte order: it never leaves the machine that wrote it. */
#include "verdict/ring.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"

#define CUT_MARK "\xe2\x80\xa6" /* "…" */
#define CUT_MARK_BYTES (sizeof(CUT_MARK) - 1)

/* Each string's most bytes, so that no long one can push another out and any
 * verdict fits. The sum is asserted below. */
#define SANDBOX_BYTES 64
#define BINARY_BYTES 256
#define LINEAGE_BYTES 1024
#define HOST_BYTES 256
#define PROTOCOL_BYTES 32
#define METHOD_BYTES 64
#define TARGET_BYTES 1216
#define MESSAGE_BYTES 256
#define POLICY_BYTES 256
#define REASON_BYTES 576

enum { TEXT_COUNT = 10 };

static const struct {
	size_t offset; /* of the const char * in struct osh_verdict */
	uint16_t max;
} texts[TEXT_COUNT] = {
	{ offsetof(struct osh_verdict, sandbox), SANDBOX_BYTES },
	{ offsetof(struct osh_verdict, binary), BINARY_BYTES },
	{ offsetof(struct osh_verdict, lineage), LINEAGE_BYTES },
	{ offsetof(struct osh_verdict, host), HOST_BYTES },
	{ offsetof(struct osh_verdict, protocol), PROTOCOL_BYTES },
	{ offsetof(struct osh_verdict, method), METHOD_BYTES },
	{ offsetof(struct osh_verdict, target), TARGET_BYTES },
	{ offsetof(struct osh_verdict, message), MESSAGE_BYTES },
	{ offsetof(struct osh_verdict, policy), POLICY_BYTES },
	{ offsetof(struct osh_verdict, reason), REASON_BYTES },
};

struct record_head {
	uint64_t id, time_ns, sandbox_id;
	uint32_t revision, pid, rule_line, status;
	uint16_t dst_port_host;
	uint8_t decision, engine;
	uint16_t text_len[TEXT_COUNT]; /* without the NUL */
	uint8_t permissive;
	uint8_t pad[7];
};
_Static_assert(sizeof(struct record_head) == 72, "record head: no holes");
_Static_assert(sizeof(struct record_head) + TEXT_COUNT + SANDBOX_BYTES + BINARY_BYTES +
			       LINEAGE_BYTES + HOST_BYTES + PROTOCOL_BYTES + METHOD_BYTES +
			       TARGET_BYTES + MESSAGE_BYTES + POLICY_BYTES + REASON_BYTES <= OSH_VERDICT_BYTES_MAX,
	       "the longest record fits");

static const char **text_of(struct osh_verdict *verdict, size_t index)
{
	return (const char **)(void *)((char *)verdict + texts[index].offset);
}

/* Where to cut `text` so that the mark still fits and no UTF-8 character is split. */
static size_t cut_length(const char *text, size_t max)
{
	size_t len = max - CUT_MARK_BYTES;

	/* At most three steps: what is not UTF-8 is cut anywhere. */
	for (size_t back = 0; back < 3; back++) {
		if (((unsigned char)text[len - back] & 0xc0) != 0x80)
			return len - back;
	}
	return len;
}

static size_t encode_text(const char *text, size_t max, char *out)
{
	size_t len = text ? strnlen(text, max + 1) : 0;

	if (len > max) {
		len = cut_length(text, max);
		memcpy(out, text, len);
		memcpy(out + len, CUT_MARK, CUT_MARK_BYTES);
		len += CUT_MARK_BYTES;
	} else if (len) {
		memcpy(out, text, len);
	}
	out[len] = '\0';
	return len;
}

size_t osh_verdict_encode(const struct osh_verdict *verdict, char buf[OSH_VERDICT_BYTES_MAX])
{
	struct record_head head = {
		.id = verdict->id,
		.time_ns = verdict->time_ns,
		.sandbox_id = verdict->sandbox_id,
		.revision = verdict->revision,
		.pid = verdict->pid,
		.rule_line = verdict->rule_line,
		.status = verdict->status,
		.dst_port_host = verdict->dst_port_host,
		.decision = (uint8_t)verdict->decision,
		.engine = (uint8_t)verdict->engine,
		.permissive = verdict->permissive,
	};
	struct osh_verdict borrowed = *verdict;
	size_t used = sizeof(head);

	for (size_t i = 0; i < TEXT_COUNT; i++) {
		size_t len = encode_text(*text_of(&borrowed, i), texts[i].max, buf + used);

		head.text_len[i] = (uint16_t)len;
		used += len + 1;
	}
	memcpy(buf, &head, sizeof(head));
	return used;
}

static bool head_is_valid(const struct record_head *head)
{
	static const uint8_t zero[sizeof(head->pad)];

	return head->decision < OSH_VERDICT_DECISION_COUNT && head->engine < OSH_ENGINE_COUNT &&
	       head->permissive <= 1 && memcmp(head->pad, zero, sizeof(zero)) == 0;
}

int osh_verdict_decode(const char *data, size_t len, struct osh_verdict *ret_verdict)
{
	struct record_head head;
	struct osh_verdict verdict;
	size_t at = sizeof(head);

	if (len < sizeof(head) || len > OSH_VERDICT_BYTES_MAX)
		return -EBADMSG;
	memcpy(&head, data, sizeof(head));
	if (!head_is_valid(&head))
		return -EBADMSG;
	verdict = (struct osh_verdict){
		.id = head.id,
		.time_ns = head.time_ns,
		.sandbox_id = head.sandbox_id,
		.decision = (enum osh_verdict_decision)head.decision,
		.engine = (enum osh_verdict_engine)head.engine,
		.revision = head.revision,
		.pid = head.pid,
		.rule_line = head.rule_line,
		.status = head.status,
		.dst_port_host = head.dst_port_host,
		.permissive = head.permissive,
	};
	for (size_t i = 0; i < TEXT_COUNT; i++) {
		size_t text_len = head.text_len[i];

		/* The length and the NUL must say the same. */
		if (text_len > texts[i].max || text_len >= len - at ||
		    strnlen(data + at, text_len + 1) != text_len)
			return -EBADMSG;
		*text_of(&verdict, i) = data + at;
		at += text_len + 1;
	}
	if (at != len)
		return -EBADMSG;
	*ret_verdict = verdict;
	return 0;
}
