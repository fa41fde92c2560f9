/* What an open file is. */
#ifndef OSH_BPF_FILE_H
#define OSH_BPF_FILE_H

#include <bpf/bpf_core_read.h>

#include "types.h"

#define MODE_TYPE 0170000 /* S_IFMT */
#define MODE_SOCKET 0140000

/* NULL: it is none. */
static __always_inline struct sock *socket_of(struct file *file)
{
	struct socket *socket = NULL;

	if ((BPF_CORE_READ(file, f_inode, i_mode) & MODE_TYPE) == MODE_SOCKET)
		socket = BPF_CORE_READ(file, private_data); /* NULL: opened by its path (O_PATH) */
	return socket ? BPF_CORE_READ(socket, sk) : NULL;
}

#endif
