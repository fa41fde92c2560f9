#include "base/secret.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void osh_wipe(void *data, size_t len)
{
	if (data)
		explicit_bzero(data, len);
}

int osh_secret_init(struct osh_secret *secret, struct osh_str value)
{
	secret->bytes_ = malloc(value.len + 1);
	if (!secret->bytes_)
		return -ENOMEM;
	if (value.len)
		memcpy(secret->bytes_, value.data, value.len);
	secret->bytes_[value.len] = '\0';
	secret->len_ = value.len;
	return 0;
}

void osh_secret_done(struct osh_secret *secret)
{
	osh_wipe(secret->bytes_, secret->len_);
	free(secret->bytes_);
	*secret = (struct osh_secret){ 0 };
}

bool osh_secret_is_set(const struct osh_secret *secret)
{
	return secret->bytes_ != NULL;
}

struct osh_str osh_secret_reveal(const struct osh_secret *secret)
{
	return osh_str_n(secret->bytes_, secret->len_);
}
