/* Inside of the vault: what vault.c keeps, placeholder.c finds and resolve.c writes. */
#ifndef OSH_CREDENTIAL_VAULT_ENTRY_H
#define OSH_CREDENTIAL_VAULT_ENTRY_H

#include "credential/vault.h"

#define OSH_VAULT_ENTRIES_MAX 64
#define OSH_VAULT_HOSTS_MAX 32
#define OSH_VAULT_VARIABLES_MAX 8
#define OSH_VAULT_VARIABLE_BYTES_MAX 64

struct osh_vault_entry {
	char *provider;
	char *placeholder;
	uint64_t revision;
	struct osh_secret secret; /* unset: gone */
	char *variables[OSH_VAULT_VARIABLES_MAX];
	size_t variable_count;
	char *hosts[OSH_VAULT_HOSTS_MAX];
	size_t host_count;
};

struct osh_vault {
	struct osh_vault_entry entries[OSH_VAULT_ENTRIES_MAX];
	size_t count;
};

enum osh_placeholder_form {
	OSH_PLACEHOLDER_OWN,  /* `entry` says whose */
	OSH_PLACEHOLDER_NAME, /* `name` says which */
	OSH_PLACEHOLDER_BAD,  /* the form, and nothing it could name */
};

/* One placeholder in a text. */
struct osh_placeholder {
	size_t at, len; /* as it is spelled */
	size_t next;    /* where to look on when it names nothing: its name may hold another */
	bool escaped;   /* some of it percent-encoded */
	enum osh_placeholder_form form;
	const struct osh_vault_entry *entry;
	/* "KEY", "v3_KEY", "s<hex>_KEY", decoded */
	char name[OSH_VAULT_VARIABLE_BYTES_MAX + 68];
	size_t name_len;
};

/* The first one from `from` on. */
bool osh_placeholder_find(const struct osh_vault *vault, struct osh_str text, size_t from,
			  struct osh_placeholder *ret);
/* Is it this entry's? */
bool osh_placeholder_names(const struct osh_placeholder *placeholder,
			   const struct osh_vault_entry *entry);

/* user:password out of a Basic value, in wiped memory. */
struct osh_basic {
	char *bytes;
	size_t room, len;
};
void osh_basic_done(struct osh_basic *basic);
/* Is it a Basic value? Then 1 and the decoded pair; 0 when it is none, -ENOMEM. */
int osh_basic_decode(struct osh_str value, struct osh_basic *ret_basic);

#endif
