/* What the agent is told: defaults, then the configuration file (YAML), then the
 * command line; the later wins. */
#ifndef OSH_CONTROL_CONFIG_H
#define OSH_CONTROL_CONFIG_H

#include <limits.h>
#include <stdbool.h>

#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "openshell/limits.h"
#include "proxy/via.h"

#define OSH_CONFIG_FILE "/etc/openshell/openshelld.yaml"
#define OSH_CONFIG_BYTES_MAX (64u << 10)
#define OSH_DNS_SERVERS_MAX 16
#define OSH_CONFIG_WORKERS_MAX 8

struct osh_config {
	char state_dir[PATH_MAX];
	char run_dir[PATH_MAX];
	char upstream_ca[PATH_MAX]; /* "": none */
	char upstream_proxy[OSH_HOST_MAX]; /* host, "": none */
	uint16_t upstream_proxy_port_host;
	char upstream_proxy_credential[PATH_MAX]; /* "": none */
	char no_proxy[OSH_VIA_DIRECT_MAX][OSH_HOST_MAX + 2]; /* osh_via_direct_parse */
	size_t no_proxy_count;
	char dns_servers[OSH_DNS_SERVERS_MAX][64];   /* "addr" or "addr:port" */
	size_t dns_server_count;
	unsigned workers; /* 0: one per processor */
	enum osh_log_level log_level;
	bool take_over; /* of the command line alone: end the agent that is there (control/takeover.h) */
};

void osh_config_init(struct osh_config *config);

/* Set one value by its key in the file. Returns 0 or -EINVAL (unknown key, or a
 * value that cannot be) with a message without a place. */
int osh_config_set(struct osh_config *config, const char *key, const char *value,
		   struct osh_err *err);

/* Apply a file's text; `name` is shown in errors ("name:line:column: ..."). On
 * failure *config may be changed in part. Returns 0, -EINVAL or -ENOMEM. */
int osh_config_parse(struct osh_config *config, struct osh_str text, const char *name,
		     struct osh_err *err);
/* Read and apply a file. With `optional` an absent file is no error. */
int osh_config_load(struct osh_config *config, const char *path, bool optional,
		    struct osh_err *err);

#endif
