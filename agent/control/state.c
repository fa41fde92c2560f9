#include "control/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/json.h"
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
	/* What is to be kept through a crash of the host is synced together (osh_state_sync), once
	 * it is whole: syncing costs milliseconds, and many sandboxes end with their command. */
	r = osh_replace_file_unsynced(path, bytes.data, bytes.len, 0600);
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

int osh_state_save_json(const char *dir, const char *name, json_t *json, struct osh_err *err)
{
	_cleanup_free_ char *text = json ? json_dumps(json, JSON_INDENT(1)) : NULL;

	json_decref(json);
	if (!text)
		return osh_err_sys(err, ENOMEM, "cannot write %s/%s", dir, name);
	return save(dir, name, osh_str(text), err);
}

static int fail_read(int r, const char *dir, const char *name, struct osh_err *err)
{
	if (r == -EBADMSG)
		return osh_err_set(err, EBADMSG, "%s/%s is damaged", dir, name);
	return osh_err_sys(err, -r, "cannot read %s/%s", dir, name);
}

int osh_state_load_json(const char *dir, const char *name, json_t **ret_json, struct osh_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = load(dir, name, &text, &len, err);

	if (r < 0)
		return r;
	r = osh_json_parse(text, len, ret_json);
	return r < 0 ? fail_read(r, dir, name, err) : 0;
}

/* A file or a directory. */
static int sync_at(int dir_fd, const char *name)
{
	_cleanup_fd_ int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

/* Every regular file directly in it, then itself. */
static int sync_files(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return -errno;
	while (r == 0 && (entry = readdir(dir))) {
		if (entry->d_type == DT_REG)
			r = sync_at(dirfd(dir), entry->d_name);
	}
	if (r == 0 && fsync(dirfd(dir)) < 0)
		r = -errno;
	closedir(dir);
	return r;
}

/* Its own name, in the directory that it is in. */
static int sync_directory_of(const char *dir)
{
	_cleanup_fd_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : sync_at(fd, "..");
}

int osh_state_sync(const char *dir, struct osh_err *err)
{
	char policy[PATH_MAX];
	int r = join(policy, dir, "policy", err);

	if (r == 0)
		r = sync_files(policy);
	if (r == 0)
		r = sync_files(dir);
	if (r == 0)
		r = sync_directory_of(dir);
	return r < 0 ? osh_err_sys(err, -r, "cannot write %s to disk", dir) : 0;
}

/* ---- Origin ---------------------------------------- */

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

static json_t *sections_json(const struct osh_origin *origin)
{
	json_t *sections = json_object();

	for (int i = 0; sections && i < OSH_SECTION_COUNT; i++) {
		if (json_object_set_new(sections, osh_section_name((enum osh_section)i),
					json_string(origin->sections[i])) < 0) {
			json_decref(sections);
			return NULL;
		}
	}
	return sections;
}

int osh_state_origin_save(const char *dir, const struct osh_origin *origin, struct osh_err *err)
{
	return osh_state_save_json(dir, "origin.json",
			 json_pack("{s:I, s:o}", "owner", (json_int_t)origin->owner, "sections",
				   sections_json(origin)),
			 err);
}

static int read_origin(json_t *json, struct osh_origin *origin)
{
	json_t *sections;
	json_int_t owner;
	int r = osh_json_unpack(json, "{s:I, s:o}", "owner", &owner, "sections", &sections);

	if (r < 0)
		return r;
	if (owner < 0 || owner >= UINT32_MAX) /* (uid_t)-1 is nobody */
		return -EBADMSG;
	for (int i = 0; i < OSH_SECTION_COUNT; i++) {
		const char *hash = json_string_value(
			json_object_get(sections, osh_section_name((enum osh_section)i)));

		if (!hash || strlen(hash) != OSH_SHA256_HEX - 1)
			return -EBADMSG;
		memcpy(origin->sections[i], hash, OSH_SHA256_HEX);
	}
	origin->owner = (uid_t)owner;
	return 0;
}

int osh_state_origin_load(const char *dir, struct osh_origin *ret_origin, struct osh_err *err)
{
	struct osh_origin origin = { 0 };
	json_t *json = NULL;
	int r = osh_state_load_json(dir, "origin.json", &json, err);

	if (r < 0)
		return r;
	r = read_origin(json, &origin);
	json_decref(json);
	if (r < 0)
		return fail_read(r, dir, "origin.json", err);
	*ret_origin = origin;
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
	int r = osh_state_load_json(dir, "ca.json", &json, err);

	if (r < 0)
		return r;
	r = osh_json_unpack(json, "{s:s, s:s}", "certificate", &cert_pem, "key", &key_pem);
	if (r < 0) {
		json_decref(json);
		return fail_read(r, dir, "ca.json", err);
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

static json_t *credentials_json(const struct osh_credentials *credentials)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < credentials->count; i++) {
		if (json_array_append_new(list, json_pack("{s:s, s:s}", "provider",
							  credentials->items[i].provider, "placeholder",
							  credentials->items[i].placeholder)) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

int osh_state_credentials_save(const char *dir, const struct osh_credentials *credentials,
			       struct osh_err *err)
{
	return credentials->count ?
		       osh_state_save_json(dir, "credentials.json", credentials_json(credentials), err) : 0;
}

static int read_credential(json_t *json, struct osh_credential *ret_credential)
{
	const char *provider, *placeholder;
	int r = osh_json_unpack(json, "{s:s, s:s}", "provider", &provider, "placeholder", &placeholder);

	if (r < 0)
		return r;
	if (osh_str_copy(osh_str(provider), ret_credential->provider, OSH_NAME_MAX) < 0)
		return -EBADMSG;
	ret_credential->placeholder = strdup(placeholder);
	return ret_credential->placeholder ? 0 : -ENOMEM;
}

int osh_state_credentials_load(const char *dir, struct osh_credentials *ret_credentials,
			       struct osh_err *err)
{
	struct osh_credentials credentials = { 0 };
	json_t *json = NULL;
	int r = osh_state_load_json(dir, "credentials.json", &json, err);

	if (r == -ENOENT) {
		*ret_credentials = credentials;
		return 0;
	}
	if (r < 0)
		return r;
	r = json_is_array(json) && json_array_size(json) <= OSH_CREDENTIALS_MAX ? 0 : -EBADMSG;
	for (size_t i = 0; r == 0 && i < json_array_size(json); i++) {
		r = read_credential(json_array_get(json, i), &credentials.items[credentials.count]);
		credentials.count += r == 0;
	}
	json_decref(json);
	if (r < 0) {
		osh_credentials_done(&credentials);
		return fail_read(r, dir, "credentials.json", err);
	}
	*ret_credentials = credentials;
	return 0;
}
