/* The agent's part of via.h: settings and credential into one sealed memfd. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "proxy/via.h"

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
	return text->len && memchr(text->data, ':', text->len) ? 0 : -EINVAL;
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

int osh_via_load(struct osh_via_settings *settings, const char *path, struct osh_err *err)
{
	struct osh_buf bytes OSH_CLEANUP(osh_buf_done) = { .max = OSH_VIA_BYTES_MAX, .secret = true };
	char room[OSH_VIA_CREDENTIAL_MAX];
	int r = path ? read_credential(path, room, sizeof(room), &settings->credential, err) : 0;

	if (r == 0 && (r = osh_via_encode(settings, &bytes)) < 0)
		osh_err_sys(err, -r, "cannot keep upstream_proxy");
	osh_wipe(room, sizeof(room));
	settings->credential = osh_str_n(NULL, 0);
	if (r < 0)
		return r;
	r = osh_memfd_sealed("openshell-via", bytes.len ? osh_buf_bytes(&bytes) : "", bytes.len);
	return r < 0 ? osh_err_sys(err, -r, "cannot make a memfd") : r;
}
