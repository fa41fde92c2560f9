/* A tree of yaml.h as YAML text. Read again it gives the same tree: the same shapes, and
 * scalars of the same type and bytes. Comments and quoting are not kept. */
#ifndef OSH_POLICY_YAML_WRITE_H
#define OSH_POLICY_YAML_WRITE_H

#include "base/buf.h"
#include "policy/yaml.h"

/* Write a whole document. Returns 0, -ENOBUFS or -ENOMEM. */
int osh_yaml_write(const struct osh_yaml_node *root, struct osh_buf *out);
/* Write one member of a block mapping whose keys stand at `indent` blanks. */
int osh_yaml_write_member(const struct osh_yaml_node *member, unsigned indent, struct osh_buf *out);

/* Same shapes, keys, scalars and types, whatever their places and quotes? */
bool osh_yaml_same(const struct osh_yaml_node *a, const struct osh_yaml_node *b);

#endif
