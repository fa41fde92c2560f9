#include "credential/provider.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "base/mem.h"
#include "credential/base64.h"

#define SECRET_BYTES_MAX 4096
#define PATH_BYTES_MAX 4096

/* ---- Types ----------------------------------------------------------------------- */

/* Hosts are those that the service documents for the secret, and no storage host:
 * objects.githubusercontent.com takes signed addresses and refuses the header. */
#define LIST(...) ((const char *const[]){ __VA_ARGS__, NULL })

static const struct osh_provider_type types[] = {
	{
		.name = "anthropic",
		.variables = LIST("ANTHROPIC_API_KEY"),
		.hosts = LIST("api.anthropic.com"),
	},
	{
		.name = "github",
		.variables = LIST("GITHUB_TOKEN", "GH_TOKEN"),
		.hosts = LIST("github.com", "api.github.com", "uploads.github.com",
			      "codeload.github.com", "raw.githubusercontent.com"),
		.git_username = "x-access-token",
	},
	{
		.name = "gitlab",
		.variables = LIST("GITLAB_TOKEN"),
		.hosts = LIST("gitlab.com"),
		.git_username = "oauth2",
	},
	{
		.name = "nvidia",
		.variables = LIST("NVIDIA_API_KEY"),
		.hosts = LIST("integrate.api.nvidia.com"),
	},
	{
		.name = "openai",
		.variables = LIST("OPENAI_API_KEY"),
		.hosts = LIST("api.openai.com"),
	},
};

const struct osh_provider_type *osh_provider_type_find(const char *name)
{
	for (size_t i = 0; i < OSH_COUNT_OF(types); i++) {
		if (strcmp(types[i].name, name) == 0)
			return &types[i];
	}
	return NULL;
}

const struct osh_provider_type *osh_provider_type_at(size_t i)
{
	return i < OSH_COUNT_OF(types) ? &types[i] : NULL;
}

/* ---- The file -------------------------------------------------------------------- */

/* JSON, written and read by hand, so that no copy of the secret stays behind in a JSON
 * library's memory. The head is padded to a fixed size and ends before the secret: a
 * listing reads that much and no more.
 *   {"version":1,"type":"github","created":1767323045,         \n
 *   "secret":"<base64>"}\n */
#define HEAD_BYTES 128
#define HEAD_FORMAT "{\"version\":1,\"type\":\"%s\",\"created\":%" PRId64 ","
#define SECRET_START "\"secret\":\""
#define SECRET_END "\"}\n"
#define FILE_BYTES_MAX (HEAD_BYTES + 2 * SECRET_BYTES_MAX)

/* The caller checks too; here again, because a path is built from it. */
static bool name_is_valid(const char *name)
{
	size_t len = strnlen(name, OSH_NAME_MAX);

	if (len == 0 || len == OSH_NAME_MAX || name[0] == '-')
		return false;
	for (size_t i = 0; i < len; i++) {
		bool lower = name[i] >= 'a' && name[i] <= 'z';

		if (!lower && !osh_ascii_is_digit(name[i]) && name[i] != '-')
			return false;
	}
	return true;
}

static int make_path(const char *dir, const char *name, char path[PATH_BYTES_MAX],
		     struct osh_err *err)
{
	int n;

	if (!name_is_valid(name))
		return osh_err_set(err, EINVAL, "not a provider name: use 1 to 63 of a-z, 0-9 and "
				   "'-', not '-' first");
	n = snprintf(path, PATH_BYTES_MAX, "%s/%s.json", dir, name);
	if (n < 0 || n >= PATH_BYTES_MAX)
		return osh_err_set(err, ENAMETOOLONG, "the state directory's path is too long");
	return 0;
}

static int no_such_provider(const char *name, struct osh_err *err)
{
	return osh_err_set(err, ENOENT, "no provider named %s: see `openshell provider list`", name);
}

static int check_secret(struct osh_str secret, struct osh_err *err)
{
	if (secret.len == 0)
		return osh_err_set(err, EINVAL,
				   "the secret is empty: set the provider's variable first");
	if (secret.len > SECRET_BYTES_MAX)
		return osh_err_set(err, EINVAL, "the secret is longer than %d bytes",
				   SECRET_BYTES_MAX);
	if (osh_str_chr(secret, '\0') || osh_str_chr(secret, '\r') ||
	    osh_str_chr(secret, '\n'))
		return osh_err_set(err, EINVAL,
				   "the secret holds a line break or a NUL: give the bare value");
	return 0;
}

static void wipe_buf(struct osh_buf *buf)
{
	osh_wipe(buf->data, buf->room);
	osh_buf_done(buf);
}

static int write_head(const struct osh_provider *provider, struct osh_buf *buf)
{
	char head[HEAD_BYTES + 1];
	int n = snprintf(head, sizeof(head), HEAD_FORMAT, provider->type->name,
			 (int64_t)time(NULL));

	if (n < 0 || n >= HEAD_BYTES)
		return -EOVERFLOW;
	memset(head + n, ' ', HEAD_BYTES - 1 - (size_t)n);
	head[HEAD_BYTES - 1] = '\n';
	return osh_buf_append(buf, head, HEAD_BYTES);
}

static int write_file(const struct osh_provider *provider, struct osh_buf *buf)
{
	struct osh_str secret = osh_secret_reveal(&provider->secret);
	/* All at once: a buffer that grew would leave copies in freed memory. */
	int r = osh_buf_reserve(buf, FILE_BYTES_MAX);

	if (r == 0)
		r = write_head(provider, buf);
	if (r == 0)
		r = osh_buf_append_c(buf, SECRET_START);
	if (r < 0)
		return r;
	osh_base64_encode(secret, osh_buf_tail(buf));
	osh_buf_grew(buf, osh_base64_encoded_len(secret.len));
	return osh_buf_append_c(buf, SECRET_END);
}

int osh_provider_save(const char *dir, const struct osh_provider *provider, struct osh_err *err)
{
	struct osh_buf buf OSH_CLEANUP(wipe_buf) = { 0 };
	char path[PATH_BYTES_MAX];
	int r = make_path(dir, provider->name, path, err);

	if (r < 0)
		return r;
	r = check_secret(osh_secret_reveal(&provider->secret), err);
	if (r < 0)
		return r;
	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return osh_err_sys(err, errno, "cannot make %s", dir);
	if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return osh_err_set(err, EEXIST, "provider %s exists: delete it first, or choose "
				   "another name", provider->name);
	osh_buf_init(&buf, FILE_BYTES_MAX);
	r = write_file(provider, &buf);
	if (r == 0)
		r = osh_replace_file(path, osh_buf_bytes(&buf), buf.len, 0600);
	return r < 0 ? osh_err_sys(err, -r, "cannot write provider %s", provider->name) : 0;
}

/* Open DIR/NAME.json, which must be as save leaves it: a regular file, ours alone. */
static int open_provider(const char *dir, const char *name, struct osh_err *err)
{
	_cleanup_fd_ int fd = -1;
	char path[PATH_BYTES_MAX];
	struct stat st;
	int r = make_path(dir, name, path, err);

	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && errno == ENOENT)
		return no_such_provider(name, err);
	if (fd < 0)
		return osh_err_sys(err, errno, "cannot open %s", path);
	if (fstat(fd, &st) < 0)
		return osh_err_sys(err, errno, "cannot examine %s", path);
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
		return osh_err_set(err, EPERM, "%s is not a file of mode 0600 of this user: not used",
				   path);
	return osh_take_fd(&fd);
}

static bool take_prefix(struct osh_str *text, const char *prefix)
{
	if (!osh_str_has_prefix(*text, prefix))
		return false;
	text->data += strlen(prefix);
	text->len -= strlen(prefix);
	return true;
}

static struct osh_str take_until(struct osh_str *text, char end)
{
	const char *at = osh_str_chr(*text, end);
	struct osh_str taken = osh_str_n(text->data, at ? (size_t)(at - text->data) : 0);

	text->data += taken.len;
	text->len -= taken.len;
	return taken;
}

/* Parse a head exactly as write_head makes it. */
static int parse_head(const char bytes[HEAD_BYTES], const struct osh_provider_type **ret_type,
		      int64_t *ret_created)
{
	struct osh_str text = osh_str_n(bytes, HEAD_BYTES);
	const struct osh_provider_type *type;
	struct osh_str word;
	uint64_t created;
	char name[32];

	if (!take_prefix(&text, "{\"version\":1,\"type\":\""))
		return -EBADMSG;
	word = take_until(&text, '"');
	if (osh_str_copy(word, name, sizeof(name)) < 0 || !(type = osh_provider_type_find(name)) ||
	    !take_prefix(&text, "\",\"created\":"))
		return -EBADMSG;
	word = take_until(&text, ',');
	if (osh_str_parse_u64(word, INT64_MAX, &created) < 0 || !take_prefix(&text, ","))
		return -EBADMSG;
	while (text.len > 1 && text.data[0] == ' ')
		text.data++, text.len--;
	if (!osh_str_eq_c(text, "\n"))
		return -EBADMSG;
	*ret_type = type;
	*ret_created = (int64_t)created;
	return 0;
}

/* Decode in place: the result is shorter than its text. */
static int parse_secret(char *bytes, size_t len, struct osh_secret *ret_secret)
{
	struct osh_str text = osh_str_n(bytes, len);
	struct osh_err ignored;
	struct osh_str word;
	size_t secret_len = 0;
	char *plain;

	if (!take_prefix(&text, SECRET_START))
		return -EBADMSG;
	word = take_until(&text, '"');
	if (!osh_str_eq_c(text, SECRET_END))
		return -EBADMSG;
	plain = bytes + (word.data - bytes);
	if (osh_base64_decode(word, plain, &secret_len) < 0 ||
	    check_secret(osh_str_n(plain, secret_len), &ignored) < 0)
		return -EBADMSG;
	return osh_secret_init(ret_secret, osh_str_n(plain, secret_len));
}

static int parse_file(char *bytes, size_t len, struct osh_provider *provider)
{
	int r;

	if (len < HEAD_BYTES)
		return -EBADMSG;
	r = parse_head(bytes, &provider->type, &provider->created);
	return r < 0 ? r : parse_secret(bytes + HEAD_BYTES, len - HEAD_BYTES, &provider->secret);
}

/* One read into one block that is wiped afterwards. Returns the length or -errno. */
static int read_whole(int fd, char *bytes, size_t size)
{
	size_t len = 0;

	while (len < size) {
		ssize_t n = read(fd, bytes + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return (int)len;
		len += (size_t)n;
	}
	return -EFBIG;
}

int osh_provider_load(const char *dir, const char *name, struct osh_provider *ret_provider,
		      struct osh_err *err)
{
	struct osh_provider provider = { 0 };
	char bytes[FILE_BYTES_MAX];
	_cleanup_fd_ int fd = open_provider(dir, name, err);
	int r = fd;

	if (fd < 0)
		return fd;
	r = read_whole(fd, bytes, sizeof(bytes));
	if (r >= 0)
		r = parse_file(bytes, (size_t)r, &provider);
	osh_wipe(bytes, sizeof(bytes));
	if (r == -EBADMSG || r == -EFBIG)
		return osh_err_set(err, EBADMSG, "provider %s is damaged: delete and create it again",
				   name);
	if (r < 0)
		return osh_err_sys(err, -r, "cannot read provider %s", name);
	snprintf(provider.name, sizeof(provider.name), "%s", name);
	*ret_provider = provider;
	return 0;
}

void osh_provider_done(struct osh_provider *provider)
{
	osh_secret_done(&provider->secret);
	*provider = (struct osh_provider){ 0 };
}

int osh_provider_delete(const char *dir, const char *name, struct osh_err *err)
{
	char path[PATH_BYTES_MAX];
	int r = make_path(dir, name, path, err);

	if (r < 0)
		return r;
	if (unlink(path) == 0)
		return 0;
	if (errno == ENOENT)
		return no_such_provider(name, err);
	return osh_err_sys(err, errno, "cannot delete provider %s", name);
}

/* "my-github.json" -> "my-github". */
static bool is_provider_file(const char *file, char name[OSH_NAME_MAX])
{
	struct osh_str text = osh_str(file);

	if (!osh_str_has_suffix(text, ".json"))
		return false;
	text.len -= strlen(".json");
	return osh_str_copy(text, name, OSH_NAME_MAX) == 0 && name_is_valid(name);
}

static void read_head(const char *dir, const char *name, const char **ret_type,
		      int64_t *ret_created)
{
	const struct osh_provider_type *type;
	char head[HEAD_BYTES];
	_cleanup_fd_ int fd = open_provider(dir, name, NULL);

	*ret_type = "damaged";
	*ret_created = 0;
	if (fd >= 0 && osh_read_full(fd, head, sizeof(head)) == 0 &&
	    parse_head(head, &type, ret_created) == 0)
		*ret_type = type->name;
}

int osh_provider_list(const char *dir,
		      void (*each)(void *context, const char *name, const char *type, int64_t created),
		      void *context, struct osh_err *err)
{
	struct dirent **files;
	int count = scandir(dir, &files, NULL, alphasort);

	if (count < 0)
		return errno == ENOENT ? 0 : osh_err_sys(err, errno, "cannot read %s", dir);
	for (int i = 0; i < count; i++) {
		char name[OSH_NAME_MAX];

		if (is_provider_file(files[i]->d_name, name)) {
			const char *type;
			int64_t created;

			read_head(dir, name, &type, &created);
			each(context, name, type, created);
		}
		free(files[i]);
	}
	free(files);
	return 0;
}

/* ---- What a sandbox sees ------------------------------------------------------------ */

static void give_git_config(unsigned number, const char *host, const char *value,
			    void (*each)(void *context, const char *key, const char *value),
			    void *context)
{
	char name[64], key[300];

	snprintf(name, sizeof(name), "GIT_CONFIG_KEY_%u", number);
	snprintf(key, sizeof(key), "credential.https://%s.helper", host);
	each(context, name, key);
	snprintf(name, sizeof(name), "GIT_CONFIG_VALUE_%u", number);
	each(context, name, value);
}

void osh_provider_environment(const struct osh_provider_type *type, const char *placeholder,
			      unsigned *git_configs,
			      void (*each)(void *context, const char *key, const char *value),
			      void *context)
{
	char helper[300];

	for (const char *const *variable = type->variables; *variable; variable++)
		each(context, *variable, placeholder);
	if (!type->git_username)
		return;
	/* A helper for the first host of the type alone (gitcredentials(7)): git asks it
	 * with "get" and reads the two lines. The placeholder is taken from the environment,
	 * so that a program that changes it is obeyed. The empty value before it empties the
	 * list of helpers that a configuration file inside may have set. */
	snprintf(helper, sizeof(helper),
		 "!f() { test \"$1\" = get || exit 0; "
		 "printf 'username=%%s\\npassword=%%s\\n' '%s' \"$%s\"; }; f",
		 type->git_username, type->variables[0]);
	give_git_config((*git_configs)++, type->hosts[0], "", each, context);
	give_git_config((*git_configs)++, type->hosts[0], helper, each, context);
}

/* ---- Placeholders ------------------------------------------------------------------ */

#define RANDOM_CHARACTERS_MIN 20
/* What the vault takes; a longer secret (a JWT) gets a shorter placeholder. */
#define PLACEHOLDER_BYTES_MAX 160

/* What services put in front of their tokens. Only these are kept: whatever else a
 * secret starts with is part of the secret. */
static const char *const prefixes[] = {
	"github_pat_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "glpat-", "gloas-", "nvapi-",
	"sk-ant-api03-", "sk-proj-", "sk-svcacct-", "sk-",
};

static size_t prefix_length(struct osh_str secret)
{
	for (size_t i = 0; i < OSH_COUNT_OF(prefixes); i++) {
		if (osh_str_has_prefix(secret, prefixes[i]))
			return strlen(prefixes[i]);
	}
	return 0;
}

/* A random one of `count` characters, each equally likely. Returns 0, -errno. */
static int pick(const char *from, unsigned count, char *ret)
{
	unsigned char byte;

	do {
		/* One byte is never interrupted (getrandom(2)). */
		if (getrandom(&byte, 1, 0) != 1)
			return -errno;
	} while (byte >= 256 - 256 % count);
	*ret = from[byte % count];
	return 0;
}

/* Same class as `like`; what is neither letter nor digit becomes a lower-case letter,
 * '-', '_' and '.' stay as the separators that they are. */
static int pick_like(char like, char *ret, size_t *random_count)
{
	static const char lower[] = "abcdefghijklmnopqrstuvwxyz";
	static const char upper[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	*ret = like;
	if (like == '-' || like == '_' || like == '.')
		return 0;
	(*random_count)++;
	if (osh_ascii_is_digit(like))
		return pick("0123456789", 10, ret);
	return pick(like >= 'A' && like <= 'Z' ? upper : lower, 26, ret);
}

char *osh_placeholder_new(const struct osh_secret *secret)
{
	struct osh_str text = osh_secret_reveal(secret);
	size_t len = text.len < PLACEHOLDER_BYTES_MAX ? text.len : PLACEHOLDER_BYTES_MAX;
	size_t used = prefix_length(text);
	size_t random_count = 0;
	_cleanup_free_ char *placeholder = malloc(len + RANDOM_CHARACTERS_MIN + 1);

	if (!placeholder)
		return NULL;
	memcpy(placeholder, text.data, used);
	for (; used < len; used++) {
		if (pick_like(text.data[used], &placeholder[used], &random_count) < 0)
			return NULL;
	}
	for (; random_count < RANDOM_CHARACTERS_MIN; used++) {
		if (used == PLACEHOLDER_BYTES_MAX) /* a secret of separators: no shape to keep */
			used = 0;
		if (pick_like('a', &placeholder[used], &random_count) < 0)
			return NULL;
	}
	placeholder[used > len ? used : len] = '\0';
	return osh_take(placeholder);
}
