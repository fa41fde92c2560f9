#include "proxy/provision.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"

#define ANCHORS_BYTES_MAX (4u << 20)

int osh_provision_dns_servers(const char *const *servers, char *room, size_t size, struct osh_err *err)
{
	size_t used = 0;

	room[0] = '\0';
	for (const char *const *s = servers; s && *s; s++) {
		int n = snprintf(room + used, size - used, "%s%s", used ? "," : "", *s);

		if (n < 0 || (size_t)n >= size - used)
			return osh_err_set(err, E2BIG, "dns_servers: too many; keep at most 16");
		used += (size_t)n;
	}
	return 0;
}

int osh_provision_anchors(const char *path, struct osh_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r = path ? osh_read_file(path, ANCHORS_BYTES_MAX, &text, &len) : 0;

	if (r < 0)
		return osh_err_sys(err, -r, "cannot read the upstream CA file %s", path);
	r = osh_memfd_sealed("openshell-upstream-ca", text ? text : "", len);
	return r < 0 ? osh_err_sys(err, -r, "cannot make a memfd") : r;
}

/* ---- The proxy before the internet ------------------------------------------------------- */

static bool is_control(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

/* "user:password", and an end of line that an editor leaves. It goes into a header of HTTP. */
static int check_credential(struct osh_str *text)
{
	while (text->len && is_control(text->data[text->len - 1]))
		text->len--;
	for (size_t i = 0; i < text->len; i++) {
		if (is_control(text->data[i]))
			return -EINVAL;
	}
	return osh_str_chr(*text, ':') ? 0 : -EINVAL;
}

/* Read into `room`, whose end is the caller's to wipe. */
static int read_credential(const char *path, char *room, size_t size, struct osh_str *ret_text,
			   struct osh_err *err)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat st;
	ssize_t len;

	if (fd < 0 || fstat(fd, &st) < 0)
		return osh_err_sys(err, errno, "cannot read upstream_proxy_credential, %s", path);
	if (st.st_mode & (S_IRWXG | S_IRWXO))
		return osh_err_set(err, EPERM, "upstream_proxy_credential: %s is open to others than its "
					       "owner; chmod 600 it", path);
	len = read(fd, room, size);
	if (len < 0)
		return osh_err_sys(err, errno, "cannot read upstream_proxy_credential, %s", path);
	*ret_text = osh_str_n(room, (size_t)len);
	if ((size_t)len == size || check_credential(ret_text) < 0)
		return osh_err_set(err, EINVAL, "upstream_proxy_credential: %s must hold one line, "
						"\"user:password\", of less than %zu bytes", path, size);
	return 0;
}

int osh_provision_via(const struct osh_via_settings *settings, const char *path, struct osh_err *err)
{
	struct osh_buf bytes OSH_CLEANUP(osh_buf_done) = { .max = OSH_VIA_BYTES_MAX, .secret = true };
	struct osh_via_settings whole = *settings;
	char room[OSH_VIA_CREDENTIAL_MAX];
	int r = path ? read_credential(path, room, sizeof(room), &whole.credential, err) : 0;

	if (r == 0 && (r = osh_via_encode(&whole, &bytes)) < 0)
		osh_err_sys(err, -r, "cannot keep upstream_proxy");
	osh_wipe(room, sizeof(room));
	if (r < 0)
		return r;
	r = osh_memfd_sealed("openshell-via", bytes.len ? osh_buf_bytes(&bytes) : "", bytes.len);
	return r < 0 ? osh_err_sys(err, -r, "cannot make a memfd") : r;
}
