#include "control/state.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/secret.h"

#define FILE_BYTES_MAX (1u << 20)

int osh_state_sha256(struct osh_str bytes, char ret_hex[static OSH_SHA256_HEX])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	if (EVP_Digest(bytes.data, bytes.len, digest, &len, EVP_sha256(), NULL) != 1 || len != 32)
		return -EIO;
	for (unsigned i = 0; i < len; i++)
		snprintf(ret_hex + 2 * i, 3, "%02x", digest[i]);
	return 0;
}

/* ---- Files ---------------------------------------- */

static int join(char path[static PATH_MAX], const char *dir, const char *name, struct osh_err *err)
{
	int n = snprintf(path, PATH_MAX, "%s/%s", dir, name);

	if (n < 0 || n >= PATH_MAX)
		return osh_err_sys(err, ENAMETOOLONG, "%s/%s", dir, name);
	return 0;
}

static int save(const char *dir, const char *name, struct osh_str bytes, struct osh_err *err)
{
	char path[PATH_MAX];
	int r = join(path, dir, name, err);

	if (r < 0)
		return r;
	r = osh_replace_file(path, bytes.data, bytes.len, 0600);
	return r < 0 ? osh_err_sys(err, -r, "cannot write %s", path) : 0;
}

static int load(const char *dir, const char *name, char **ret_text, size_t *ret_len,
		struct osh_err *err)
{
	char path[PATH_MAX];
	int r = join(path, dir, name, err);

	if (r < 0)
		return r;
	r = osh_read_file(path, FILE_BYTES_MAX, ret_text, ret_len);
	return r < 0 ? osh_err_sys(err, -r, "cannot read %s", path) : 0;
}

static int save_json(const char *dir, const char *name, json_t *json, struct osh_err *err)
{
	_cleanup_free_ char *text = json ? json_dumps(json, JSON_INDENT(1)) : NULL;

	json_decref(json);
	if (!text)
		return osh_err_sys(err, ENOMEM, "cannot write %s/%s", dir, name);
	return save(dir, name, osh_str(text), err);
}

static int load_json(const char *dir, const char *name, json_t **ret_json, struct osh_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = load(dir, name, &text, &len, err);

	if (r < 0)
		return r;
	*ret_json = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	return *ret_json ? 0 : osh_err_set(err, EBADMSG, "%s/%s is damaged: not JSON", dir, name);
}

/* ---- Static sections ---------------------------------------- */

const char *osh_section_name(enum osh_section section)
{
	static const char *const names[OSH_SECTION_COUNT] = {
		[OSH_SECTION_FILESYSTEM] = "filesystem_policy",
		[OSH_SECTION_LANDLOCK] = "landlock",
		[OSH_SECTION_PROCESS] = "process",
		[OSH_SECTION_UNIX_SOCKETS] = "unix_sockets",
	};

	return names[section];
}

/* A NUL ends each path, so that no two lists give the same bytes. */
static int append_paths(struct osh_buf *buf, char *const *paths, size_t count)
{
	int r = osh_buf_printf(buf, "%zu:", count);

	for (size_t i = 0; r == 0 && i < count; i++)
		r = osh_buf_append(buf, paths[i], strlen(paths[i]) + 1);
	return r;
}

static int append_section(struct osh_buf *buf, const struct osh_policy_static *policy,
			  enum osh_section section)
{
	int r = 0;

	switch (section) {
	case OSH_SECTION_FILESYSTEM:
		r = osh_buf_printf(buf, "%d %d ", policy->has_filesystem, policy->include_workdir);
		if (r == 0)
			r = append_paths(buf, policy->read_only, policy->read_only_count);
		if (r == 0)
			r = append_paths(buf, policy->read_write, policy->read_write_count);
		break;
	case OSH_SECTION_LANDLOCK:
		r = osh_buf_printf(buf, "%d", policy->landlock);
		break;
	case OSH_SECTION_PROCESS:
		r = osh_buf_printf(buf, "%" PRIu32 ":%" PRIu32, policy->uid, policy->gid);
		break;
	case OSH_SECTION_UNIX_SOCKETS:
		r = append_paths(buf, policy->unix_sockets, policy->unix_socket_count);
		break;
	case OSH_SECTION_COUNT:
		break;
	}
	return r;
}

int osh_state_digest_static(const struct osh_policy_static *policy,
			    char ret_digests[static OSH_SECTION_COUNT][OSH_SHA256_HEX])
{
	struct osh_buf buf;
	int r = 0;

	osh_buf_init(&buf, 2 * OSH_POLICY_BYTES_MAX);
	for (int section = 0; r == 0 && section < OSH_SECTION_COUNT; section++) {
		osh_buf_clear(&buf);
		r = append_section(&buf, policy, (enum osh_section)section);
		if (r == 0)
			r = osh_state_sha256(osh_buf_str(&buf), ret_digests[section]);
	}
	osh_buf_done(&buf);
	return r;
}

/* ---- Policy revisions ---------------------------------------- */

static const char *const status_names[OSH_REVISION_STATUS_COUNT] = {
	[OSH_REVISION_PENDING] = "pending",
	[OSH_REVISION_LOADED] = "loaded",
	[OSH_REVISION_FAILED] = "failed",
	[OSH_REVISION_SUPERSEDED] = "superseded",
};

const char *osh_revision_status_name(enum osh_revision_status status)
{
	return status < OSH_REVISION_STATUS_COUNT ? status_names[status] : "unknown";
}

const struct osh_revision *osh_revisions_find(const struct osh_revisions *revisions,
					      uint32_t number)
{
	for (size_t i = 0; i < revisions->count; i++) {
		if (revisions->items[i].number == number)
			return &revisions->items[i];
	}
	return NULL;
}

const struct osh_revision *osh_revisions_current(const struct osh_revisions *revisions)
{
	return revisions->current ? osh_revisions_find(revisions, revisions->current) : NULL;
}

static void set_status(struct osh_revisions *revisions, uint32_t number,
		       enum osh_revision_status status)
{
	for (size_t i = 0; i < revisions->count; i++) {
		if (revisions->items[i].number == number)
			revisions->items[i].status = status;
	}
}

static json_t *revision_json(const struct osh_revision *revision)
{
	return json_pack("{s:I, s:s, s:I, s:s}", "revision", (json_int_t)revision->number, "sha256",
			 revision->sha256, "time", (json_int_t)revision->time, "status",
			 status_names[revision->status]);
}

static int save_index(const char *dir, const struct osh_revisions *revisions, struct osh_err *err)
{
	json_t *list = json_array();
	json_t *created = json_object();

	for (size_t i = 0; i < revisions->count; i++)
		json_array_append_new(list, revision_json(&revisions->items[i]));
	for (int i = 0; i < OSH_SECTION_COUNT; i++)
		json_object_set_new(created, osh_section_name((enum osh_section)i),
				    json_string(revisions->created_with[i]));
	return save_json(dir, "policy/index.json",
			 json_pack("{s:I, s:o, s:o}", "current", (json_int_t)revisions->current,
				   "created_with", created, "revisions", list),
			 err);
}

static void policy_name(char name[static 32], uint32_t number)
{
	snprintf(name, 32, "policy/%" PRIu32 ".yaml", number);
}

static void remove_policy(const char *dir, uint32_t number)
{
	char name[32], path[PATH_MAX];

	policy_name(name, number);
	if (join(path, dir, name, NULL) == 0)
		(void)unlink(path); /* a text too many is harmless */
}

static int make_policy_dir(const char *dir, struct osh_err *err)
{
	char path[PATH_MAX];
	int r = join(path, dir, "policy", err);

	if (r == 0 && mkdir(path, 0700) < 0 && errno != EEXIST)
		r = osh_err_sys(err, errno, "cannot make %s", path);
	return r;
}

/* Append a revision to a copy of the list; the oldest goes when it is full.
 * *ret_dropped is its number or 0. */
static void append_revision(struct osh_revisions *revisions, const struct osh_revision *revision,
			    uint32_t *ret_dropped)
{
	*ret_dropped = 0;
	if (revisions->count == OSH_REVISIONS_MAX) {
		*ret_dropped = revisions->items[0].number;
		memmove(revisions->items, revisions->items + 1,
			(OSH_REVISIONS_MAX - 1) * sizeof(revisions->items[0]));
		revisions->count--;
	}
	set_status(revisions, revisions->current, OSH_REVISION_SUPERSEDED);
	revisions->items[revisions->count++] = *revision;
	revisions->current = revision->number;
}

int osh_state_policy_add(const char *dir, struct osh_revisions *revisions, struct osh_str text,
			 int64_t now, struct osh_err *err)
{
	struct osh_revisions next = *revisions;
	struct osh_revision revision = { .number = 1, .time = now };
	uint32_t dropped;
	char name[32];
	int r;

	if (next.count)
		revision.number = next.items[next.count - 1].number + 1;
	if (osh_state_sha256(text, revision.sha256) < 0)
		return osh_err_set(err, EIO, "cannot hash the policy");
	r = make_policy_dir(dir, err);
	if (r < 0)
		return r;
	policy_name(name, revision.number);
	r = save(dir, name, text, err);
	if (r < 0)
		return r;
	append_revision(&next, &revision, &dropped);
	r = save_index(dir, &next, err);
	if (r < 0) {
		remove_policy(dir, revision.number);
		return r;
	}
	if (dropped)
		remove_policy(dir, dropped);
	*revisions = next;
	return 0;
}

void osh_revisions_loaded(struct osh_revisions *revisions, uint32_t number)
{
	/* Superseded meanwhile: the newer one says so. */
	if (number == revisions->current)
		set_status(revisions, number, OSH_REVISION_LOADED);
}

int osh_state_policy_failed(const char *dir, struct osh_revisions *revisions, uint32_t number,
			    uint32_t previous, struct osh_err *err)
{
	set_status(revisions, number, OSH_REVISION_FAILED);
	if (revisions->current == number) {
		revisions->current = previous;
		set_status(revisions, previous, OSH_REVISION_LOADED);
	}
	return save_index(dir, revisions, err);
}

static bool read_status(const char *text, enum osh_revision_status *ret_status)
{
	for (int i = 0; i < OSH_REVISION_STATUS_COUNT; i++) {
		if (strcmp(text, status_names[i]) == 0) {
			*ret_status = (enum osh_revision_status)i;
			return true;
		}
	}
	return false;
}

static bool copy_hash(const char *text, char hash[static OSH_SHA256_HEX])
{
	return strlen(text) == OSH_SHA256_HEX - 1 &&
	       osh_str_copy(osh_str(text), hash, OSH_SHA256_HEX) == 0;
}

static bool read_revision(json_t *json, struct osh_revision *ret_revision)
{
	json_int_t number, time;
	const char *sha256, *status;

	if (json_unpack(json, "{s:I, s:s, s:I, s:s}", "revision", &number, "sha256", &sha256,
			"time", &time, "status", &status) < 0)
		return false;
	if (number < 1 || number > UINT32_MAX || !copy_hash(sha256, ret_revision->sha256))
		return false;
	ret_revision->number = (uint32_t)number;
	ret_revision->time = time;
	return read_status(status, &ret_revision->status);
}

static bool read_index(json_t *json, struct osh_revisions *revisions)
{
	json_t *list, *created;
	json_int_t current;

	if (json_unpack(json, "{s:I, s:o, s:o}", "current", &current, "created_with", &created,
			"revisions", &list) < 0)
		return false;
	if (!json_is_array(list) || json_array_size(list) > OSH_REVISIONS_MAX)
		return false;
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct osh_revision *revision = &revisions->items[revisions->count++];

		/* Numbers only grow: the next one is made from the last. */
		if (!read_revision(json_array_get(list, i), revision) ||
		    (i && revision->number <= revision[-1].number))
			return false;
	}
	for (int i = 0; i < OSH_SECTION_COUNT; i++) {
		const char *hash = json_string_value(
			json_object_get(created, osh_section_name((enum osh_section)i)));

		if (!hash || !copy_hash(hash, revisions->created_with[i]))
			return false;
	}
	if (current < 0 || current > UINT32_MAX)
		return false;
	revisions->current = (uint32_t)current;
	return current == 0 || osh_revisions_current(revisions);
}

int osh_state_policy_index(const char *dir, struct osh_revisions *ret_revisions,
			   struct osh_err *err)
{
	struct osh_revisions revisions = { 0 };
	json_t *json = NULL;
	bool good;
	int r = load_json(dir, "policy/index.json", &json, err);

	if (r < 0)
		return r;
	good = read_index(json, &revisions);
	json_decref(json);
	if (!good)
		return osh_err_set(err, EBADMSG, "%s/policy/index.json is damaged", dir);
	*ret_revisions = revisions;
	return 0;
}

int osh_state_policy_read(const char *dir, const struct osh_revision *revision, char **ret_text,
			  size_t *ret_len, struct osh_err *err)
{
	_cleanup_free_ char *text = NULL;
	char name[32], sha256[OSH_SHA256_HEX];
	size_t len = 0;
	int r;

	policy_name(name, revision->number);
	r = load(dir, name, &text, &len, err);
	if (r < 0)
		return r;
	if (osh_state_sha256(osh_str_n(text, len), sha256) < 0)
		return osh_err_set(err, EIO, "cannot hash the policy");
	if (strcmp(sha256, revision->sha256) != 0)
		return osh_err_set(
			err, EBADMSG,
			"%s/%s is not what was stored (its SHA-256 differs): set a policy again",
			dir, name);
	*ret_text = osh_take(text);
	*ret_len = len;
	return 0;
}

/* ---- CA ---------------------------------------- */

int osh_state_ca_save(const char *dir, const char *cert_pem, const char *key_pem,
		      struct osh_err *err)
{
	json_t *json = json_pack("{s:s, s:s}", "certificate", cert_pem, "key", key_pem);
	char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	int r = text ? save(dir, "ca.json", osh_str(text), err)
		     : osh_err_sys(err, ENOMEM, "ca.json");

	json_decref(json);
	if (text)
		osh_wipe(text, strlen(text));
	free(text);
	return r;
}

int osh_state_ca_load(const char *dir, char **ret_cert_pem, char **ret_key_pem, struct osh_err *err)
{
	_cleanup_free_ char *cert = NULL;
	const char *cert_pem, *key_pem;
	json_t *json = NULL;
	char *key;
	int r = load_json(dir, "ca.json", &json, err);

	if (r < 0)
		return r;
	if (json_unpack(json, "{s:s, s:s}", "certificate", &cert_pem, "key", &key_pem) < 0) {
		json_decref(json);
		return osh_err_set(err, EBADMSG, "%s/ca.json is damaged", dir);
	}
	cert = strdup(cert_pem);
	key = strdup(key_pem);
	json_decref(json);
	if (!cert || !key) {
		free(key);
		return osh_err_sys(err, ENOMEM, "%s/ca.json", dir);
	}
	*ret_cert_pem = osh_take(cert);
	*ret_key_pem = key;
	return 0;
}

/* ---- Placeholders ---------------------------------------- */

void osh_credentials_done(struct osh_credentials *credentials)
{
	for (size_t i = 0; i < credentials->count; i++)
		free(credentials->items[i].placeholder);
	credentials->count = 0;
}

int osh_state_credentials_save(const char *dir, const struct osh_credentials *credentials,
			       struct osh_err *err)
{
	json_t *list;

	if (!credentials->count)
		return 0;
	list = json_array();
	for (size_t i = 0; i < credentials->count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "provider",
						      credentials->items[i].provider, "placeholder",
						      credentials->items[i].placeholder));
	return save_json(dir, "credentials.json", list, err);
}

static bool read_credential(json_t *json, struct osh_credential *ret_credential)
{
	const char *provider, *placeholder;

	if (json_unpack(json, "{s:s, s:s}", "provider", &provider, "placeholder", &placeholder) < 0)
		return false;
	if (osh_str_copy(osh_str(provider), ret_credential->provider, OSH_NAME_MAX) < 0)
		return false;
	ret_credential->placeholder = strdup(placeholder);
	return ret_credential->placeholder != NULL;
}

int osh_state_credentials_load(const char *dir, struct osh_credentials *ret_credentials,
			       struct osh_err *err)
{
	struct osh_credentials credentials = { 0 };
	json_t *json = NULL;
	bool good;
	int r = load_json(dir, "credentials.json", &json, err);

	if (r == -ENOENT) {
		*ret_credentials = credentials;
		return 0;
	}
	if (r < 0)
		return r;
	good = json_is_array(json) && json_array_size(json) <= OSH_CREDENTIALS_MAX;
	for (size_t i = 0; good && i < json_array_size(json); i++) {
		good = read_credential(json_array_get(json, i),
				       &credentials.items[credentials.count]);
		credentials.count += good;
	}
	json_decref(json);
	if (!good) {
		osh_credentials_done(&credentials);
		return osh_err_set(err, EBADMSG, "%s/credentials.json is damaged", dir);
	}
	*ret_credentials = credentials;
	return 0;
}
