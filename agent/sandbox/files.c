/* The files and variables that tell programs inside who they are, how names resolve and
 * whom to trust: generated per sandbox, bound over the host's. */
#include "sandbox/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

/* ---- Contents ------------------------------------------------------------------- */

static const char *shell(void)
{
	return access("/bin/bash", X_OK) == 0 ? "/bin/bash" : "/bin/sh";
}

static int write_passwd(FILE *out, const struct sandbox_files_input *input)
{
	fprintf(out, "root:x:0:0:root:/root:/usr/sbin/nologin\n");
	fprintf(out, "sandbox:x:%u:%u:sandbox:%s:%s\n", input->uid, input->gid, OSH_SANDBOX_HOME,
		shell());
	fprintf(out, "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n");
	return 0;
}

static int write_group(FILE *out, const struct sandbox_files_input *input)
{
	fprintf(out, "root:x:0:\ntty:x:5:\nsandbox:x:%u:\nnogroup:x:65534:\n", input->gid);
	return 0;
}

static int write_hosts(FILE *out, const struct sandbox_files_input *input)
{
	fprintf(out, "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
	fprintf(out, "127.0.1.1 %s\n", input->name);
	return 0;
}

static int write_hostname(FILE *out, const struct sandbox_files_input *input)
{
	fprintf(out, "%s\n", input->name);
	return 0;
}

/* The agent answers every query there; no timeout games, no second server. */
static int write_resolv_conf(FILE *out, const struct sandbox_files_input *input)
{
	const struct in_addr gateway = { .s_addr = htonl(OSH_GATEWAY) };

	(void)input;
	fprintf(out, "nameserver %s\noptions edns0\n", inet_ntoa(gateway));
	return 0;
}

/* The host may name modules here that talk to its daemons (sss, systemd, mdns). */
static int write_nsswitch(FILE *out, const struct sandbox_files_input *input)
{
	static const char *const files_only[] = { "passwd", "group", "shadow", "networks", "protocols",
						  "services", "ethers", "rpc" };

	(void)input;
	for (size_t i = 0; i < OSH_COUNT_OF(files_only); i++)
		fprintf(out, "%s: files\n", files_only[i]);
	fprintf(out, "hosts: files dns\n");
	return 0;
}

static int write_ca(FILE *out, const struct sandbox_files_input *input)
{
	if (input->ca_pem)
		fprintf(out, "%s\n", input->ca_pem);
	return 0;
}

/* Where distributions keep the one file with every trusted CA. */
static const char *const bundle_places[] = {
	"/etc/ssl/certs/ca-certificates.crt",                 /* Debian, Arch */
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  /* Fedora, RHEL */
	"/etc/pki/tls/certs/ca-bundle.crt",                   /* older RHEL */
	"/etc/ssl/ca-bundle.pem",                             /* SUSE */
	"/etc/ssl/cert.pem",                                  /* Alpine */
	NULL,
};

/* In the kernel, without a copy of a quarter of a megabyte in a process that is about to
 * end: half of a launch's time, measured. */
static int copy_file(FILE *out, const char *path)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > OSH_SANDBOX_CA_BYTES_MAX)
		return -EFBIG;
	if (fflush(out) != 0)
		return -errno;
	do
		n = sendfile(fileno(out), fd, NULL, (size_t)st.st_size);
	while (n > 0);
	return n < 0 ? -errno : 0;
}

static int write_ca_bundle(FILE *out, const struct sandbox_files_input *input)
{
	for (size_t i = 0; bundle_places[i]; i++) {
		int r = copy_file(out, bundle_places[i]);

		if (r == 0)
			break;
		if (r != -ENOENT && r != -ENOTDIR)
			return r;
	}
	return write_ca(out, input);
}

/* Where Java looks: its own lib/security/cacerts is a link to one of them. */
static const char *const keystore_places[] = {
	"/etc/ssl/certs/java/cacerts",                 /* Debian */
	"/etc/pki/ca-trust/extracted/java/cacerts",    /* Fedora, RHEL */
	"/etc/pki/java/cacerts",                       /* older RHEL */
	NULL,
};

static bool is_any_there(const char *const *places)
{
	for (; *places; places++) {
		if (access(*places, F_OK) == 0)
			return true;
	}
	return false;
}

int sandbox_files_prepare(struct osh_sandbox_host *host)
{
	int r = -ENOENT;

	if (!is_any_there(keystore_places))
		return 0;
	for (size_t i = 0; bundle_places[i] && (r == -ENOENT || r == -ENOTDIR); i++)
		r = keystore_load(&host->keystore, bundle_places[i]);
	return r == -ENOENT || r == -ENOTDIR ? 0 : r;
}

/* The same as the bundle's. On a host without Java it stays empty, and is bound nowhere. */
static int write_keystore(FILE *out, const struct sandbox_files_input *input)
{
	if (!is_any_there(keystore_places))
		return 0;
	return keystore_write(out, input->keystore, input->ca_pem ? input->ca_pem : "");
}

/* ---- Places --------------------------------------------------------------------- */

#define PLACES(...) (const char *const[]){ __VA_ARGS__, NULL }

/* Without resolv.conf or passwd of its own the sandbox would use the host's; the others
 * have a harmless default when the host has no such file to bind over. */
static const struct sandbox_file files[] = {
	{ "resolv.conf", true, PLACES("/etc/resolv.conf"), write_resolv_conf },
	{ "passwd", true, PLACES("/etc/passwd"), write_passwd },
	{ "group", true, PLACES("/etc/group"), write_group },
	{ "hosts", false, PLACES("/etc/hosts"), write_hosts },
	{ "hostname", false, PLACES("/etc/hostname"), write_hostname },
	{ "nsswitch.conf", false, PLACES("/etc/nsswitch.conf"), write_nsswitch },
	{ "ca-bundle.pem", false, bundle_places, write_ca_bundle },
	{ "ca-keystore.jks", false, keystore_places, write_keystore },
	{ "ca.pem", false, PLACES(NULL), write_ca },
};

size_t sandbox_files(const struct sandbox_file **ret_files)
{
	*ret_files = files;
	return OSH_COUNT_OF(files);
}

/* ---- Variables ------------------------------------------------------------------ */

#define BUNDLE OSH_SANDBOX_OWN_DIR "/ca-bundle.pem"

static const char *const own_variables[] = {
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	"HOME=" OSH_SANDBOX_HOME,
	"USER=sandbox",
	"LOGNAME=sandbox",
	"LANG=C.UTF-8",
	/* Bundles are bound over; these tell the clients that look elsewhere, or bring roots along. */
	"NODE_EXTRA_CA_CERTS=" OSH_SANDBOX_OWN_DIR "/ca.pem",
	"DENO_CERT=" OSH_SANDBOX_OWN_DIR "/ca.pem",
	"AWS_CA_BUNDLE=" BUNDLE,
	"SSL_CERT_FILE=" BUNDLE,
	"REQUESTS_CA_BUNDLE=" BUNDLE,
	"CURL_CA_BUNDLE=" BUNDLE,
	"GIT_SSL_CAINFO=" BUNDLE,
	"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=" BUNDLE,
};

void sandbox_strings_free(char **strings)
{
	for (char **string = strings; string && *string; string++)
		free(*string);
	free(strings);
}

/* A name that occurs twice is set once, to its last value. */
static int put_variable(char **env, size_t *count, const char *setting)
{
	size_t name_len = strcspn(setting, "=");
	char *copy;

	if (name_len == 0 || setting[name_len] != '=')
		return -EINVAL;
	copy = strdup(setting);
	if (!copy)
		return -ENOMEM;
	for (size_t i = 0; i < *count; i++) {
		if (strncmp(env[i], setting, name_len + 1) == 0) {
			free(env[i]);
			env[i] = copy;
			return 0;
		}
	}
	env[(*count)++] = copy;
	return 0;
}

char **sandbox_environment(const char *const *additions)
{
	size_t additional = 0, count = 0;
	char shell_variable[64];
	char **env;
	int r;

	while (additions && additions[additional])
		additional++;
	env = calloc(OSH_COUNT_OF(own_variables) + additional + 2, sizeof(*env));
	if (!env)
		return NULL;
	snprintf(shell_variable, sizeof(shell_variable), "SHELL=%s", shell());
	r = put_variable(env, &count, shell_variable);
	for (size_t i = 0; r == 0 && i < OSH_COUNT_OF(own_variables); i++)
		r = put_variable(env, &count, own_variables[i]);
	for (size_t i = 0; r == 0 && i < additional; i++)
		r = put_variable(env, &count, additions[i]);
	if (r < 0) {
		sandbox_strings_free(env);
		errno = -r;
		return NULL;
	}
	return env;
}
