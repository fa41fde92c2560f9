#include "sandbox/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/json.h"
#include "base/str.h"

#define RECORD_VERSION 1
#define RECORD_BYTES_MAX 65536
#define RECORD "record.json"
/* A second one of what is attached: without any nobody knows whose programs have rules, and those may neither
 * be ended nor go on without. */
#define COPY "attached.json"

static void record_path(const char *dir, const char *file, char buf[static OSH_SANDBOX_PATH_MAX + 16])
{
	snprintf(buf, OSH_SANDBOX_PATH_MAX + 16, "%s/%s", dir, file);
}

void record_done(struct sandbox_record *record)
{
	sandbox_strings_free(record->providers);
	record->providers = NULL;
}

int record_set_providers(struct sandbox_record *record, const char *const *providers)
{
	size_t count = 0;
	char **copy;

	while (providers && providers[count])
		count++;
	if (count > OSH_SANDBOX_PROVIDERS_MAX)
		return -E2BIG;
	copy = calloc(count + 1, sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		copy[i] = strdup(providers[i]);
		if (!copy[i]) {
			sandbox_strings_free(copy);
			return -ENOMEM;
		}
	}
	sandbox_strings_free(record->providers);
	record->providers = copy;
	return 0;
}

static json_t *providers_json(const struct sandbox_record *record)
{
	json_t *list = json_array();

	for (char **name = record->providers; list && name && *name; name++) {
		if (json_array_append_new(list, json_string(*name)) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

/* Returns false when memory is short. */
static bool add_attachment(json_t *json, const struct sandbox_record *record)
{
	return json_object_set_new(json, "attached", json_string(record->attached)) == 0 &&
	       json_object_set_new(json, "keeps_established", json_boolean(record->keeps_established)) == 0 &&
	       json_object_set_new(json, "gateway", json_integer(record->gateway)) == 0 &&
	       json_object_set_new(json, "netns", json_integer((json_int_t)record->netns)) == 0;
}

/* Whole or not at all: a torn record would make a live sandbox look dead. One that is stopped, or attached,
 * outlives the host. */
static int save_file(const char *dir, const char *file, const struct sandbox_record *record, const char *text)
{
	char path[OSH_SANDBOX_PATH_MAX + 16];

	record_path(dir, file, path);
	return record->init_pid ? osh_replace_file_unsynced(path, text, strlen(text), 0600) :
				  osh_replace_file(path, text, strlen(text), 0600);
}

int record_save(const char *dir, const struct sandbox_record *record)
{
	_cleanup_free_ char *text = NULL;
	json_t *json;
	int r;

	json = json_pack("{s:i, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:o}", "version",
			 RECORD_VERSION, "name", record->name, "id", (json_int_t)record->id, "uid",
			 (json_int_t)record->uid, "gid", (json_int_t)record->gid, "init_pid",
			 (json_int_t)record->init_pid, "init_start", (json_int_t)record->init_start,
			 "created", (json_int_t)record->created, "keep", (int)record->keep,
			 "providers", providers_json(record));
	text = json && (!*record->attached || add_attachment(json, record)) ? json_dumps(json, JSON_INDENT(1)) : NULL;
	json_decref(json);
	if (!text)
		return -ENOMEM;
	r = *record->attached ? save_file(dir, COPY, record, text) : 0;
	return r < 0 ? r : save_file(dir, RECORD, record, text);
}

static int load_providers(const json_t *providers, struct sandbox_record *record)
{
	const char *names[OSH_SANDBOX_PROVIDERS_MAX + 1] = { NULL };
	size_t count = json_array_size(providers);

	if (count > OSH_SANDBOX_PROVIDERS_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < count; i++) {
		names[i] = json_string_value(json_array_get(providers, i));
		if (!names[i])
			return -EBADMSG;
	}
	return record_set_providers(record, names);
}

/* Never root, nor what is cut down to it. */
static bool is_user(json_int_t id)
{
	return id > 0 && id < UINT32_MAX;
}

static int parse_record(json_t *json, struct sandbox_record *record)
{
	json_int_t id, uid, gid, init_pid, init_start, created;
	json_int_t gateway = OSH_GATEWAY, netns = 0;
	const char *name, *attached = "";
	json_t *providers;
	int version, keep, keeps_established = 0, r;

	r = osh_json_unpack(json, "{s:i, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:o, s?s, s?I, s?I, s?b}",
			    "version", &version, "name", &name, "id", &id, "uid", &uid, "gid", &gid,
			    "init_pid", &init_pid, "init_start", &init_start, "created", &created,
			    "keep", &keep, "providers", &providers, "attached", &attached, "gateway",
			    &gateway, "netns", &netns, "keeps_established", &keeps_established);
	if (r < 0)
		return r;
	if (version != RECORD_VERSION || init_pid < 0 ||
	    (!*attached && (!is_user(uid) || !is_user(gid))) || gateway < OSH_GATEWAY ||
	    gateway > OSH_GATEWAY_LAST ||
	    osh_str_copy(osh_str(name), record->name, sizeof(record->name)) < 0 ||
	    osh_str_copy(osh_str(attached), record->attached, sizeof(record->attached)) < 0)
		return -EBADMSG;
	record->gateway = (uint32_t)gateway;
	record->netns = (uint64_t)netns;
	record->id = (uint64_t)id;
	record->uid = (uid_t)uid;
	record->gid = (gid_t)gid;
	record->init_pid = (pid_t)init_pid;
	record->init_start = (uint64_t)init_start;
	record->created = created;
	record->keep = keep;
	record->keeps_established = keeps_established;
	return load_providers(providers, record);
}

static int load_file(const char *dir, const char *file, struct sandbox_record *ret_record)
{
	struct sandbox_record record = { 0 };
	char path[OSH_SANDBOX_PATH_MAX + 16];
	_cleanup_free_ char *text = NULL;
	size_t len;
	json_t *json = NULL;
	int r;

	record_path(dir, file, path);
	r = osh_read_file(path, RECORD_BYTES_MAX, &text, &len);
	if (r == 0)
		r = osh_json_parse(text, len, &json);
	if (r < 0)
		return r;
	r = parse_record(json, &record);
	json_decref(json);
	if (r < 0) {
		record_done(&record);
		return r;
	}
	*ret_record = record;
	return 0;
}

int record_load(const char *dir, struct sandbox_record *ret_record)
{
	int r = load_file(dir, RECORD, ret_record), copy;

	if (r == 0 || osh_is_shortage(r))
		return r;
	copy = load_file(dir, COPY, ret_record);
	return copy == 0 ? 1 : osh_is_shortage(copy) ? copy : r;
}

/* Field 22 of /proc/PID/stat; the second field may hold any byte but ends with the last ')'. */
int process_start_time(pid_t pid, uint64_t *ret_start)
{
	_cleanup_free_ char *text = NULL;
	char path[32];
	const char *at;
	size_t len;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	r = osh_read_file(path, 4096, &text, &len);
	if (r < 0)
		return r;
	at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++) {
		at = strchr(at + 1, ' ');
	}
	if (!at)
		return -EBADMSG;
	at++;
	return osh_str_parse_u64(osh_str_n(at, strcspn(at, " \n")), UINT64_MAX, ret_start);
}
