/* How a program can be made to run code that its file does not hold, as far as its start
 * tells: the variables that make a loader or a runtime load something, and the loader run
 * as the program. Plain C: the exec hook (identity.bpf.c) reads the environment, tests
 * compile this header on the host.
 *
 * Sources: ld.so(8), node --help, python(1), perlrun(1), ruby(1), java's launcher guide,
 * bash(1), git(1), config(5ssl), iconv's GCONV_PATH, .NET's startup hooks. */
#ifndef OSH_BPF_INJECT_H
#define OSH_BPF_INJECT_H

#include <linux/types.h>

#include "openshell/abi.h"

#define OSH_INJECT_INLINE static inline __attribute__((always_inline, unused))

/* What is read of a variable, "NAME=value" and NUL. A value of which more would have to
 * be seen counts as harmful. */
#define OSH_ENV_TEXT_MAX 256
#define OSH_ENV_SLACK 16 /* readable bytes behind it: prefixes are compared whole */

enum osh_env_kind {
	OSH_ENV_HARMLESS = 0,
	OSH_ENV_ANY,   /* any value but an empty one is harmful */
	OSH_ENV_PATHS, /* harmless when every path is the system's */
	OSH_ENV_FLAGS, /* harmless when every word is a known option that loads nothing */
};

#define OSH_ENV_TABLE(ROW)                                                                     \
	/* The dynamic loader; glibc's and OpenSSL's own plugins. */                           \
	ROW("LD_PRELOAD=", OSH_ENV_PATHS)                                                      \
	ROW("LD_AUDIT=", OSH_ENV_PATHS)                                                        \
	ROW("LD_LIBRARY_PATH=", OSH_ENV_PATHS)                                                 \
	ROW("GCONV_PATH=", OSH_ENV_PATHS)                                                      \
	ROW("OPENSSL_CONF=", OSH_ENV_PATHS)                                                    \
	ROW("OPENSSL_MODULES=", OSH_ENV_PATHS)                                                 \
	ROW("OPENSSL_ENGINES=", OSH_ENV_PATHS)                                                 \
	/* Runtimes: options, then places where they look for code. */                         \
	ROW("NODE_OPTIONS=", OSH_ENV_FLAGS)                                                    \
	ROW("NODE_PATH=", OSH_ENV_PATHS)                                                       \
	ROW("BUN_OPTIONS=", OSH_ENV_FLAGS)                                                     \
	ROW("PYTHONPATH=", OSH_ENV_PATHS)                                                      \
	ROW("PYTHONHOME=", OSH_ENV_PATHS)                                                      \
	ROW("PYTHONUSERBASE=", OSH_ENV_PATHS)                                                  \
	ROW("PYTHONPYCACHEPREFIX=", OSH_ENV_PATHS)                                             \
	ROW("PYTHONSTARTUP=", OSH_ENV_PATHS)                                                   \
	ROW("PERL5OPT=", OSH_ENV_FLAGS)                                                        \
	ROW("PERL5LIB=", OSH_ENV_PATHS)                                                        \
	ROW("PERLLIB=", OSH_ENV_PATHS)                                                         \
	ROW("PERL5DB=", OSH_ENV_ANY)                                                           \
	ROW("RUBYOPT=", OSH_ENV_FLAGS)                                                         \
	ROW("RUBYLIB=", OSH_ENV_PATHS)                                                         \
	ROW("JAVA_TOOL_OPTIONS=", OSH_ENV_FLAGS)                                               \
	ROW("JDK_JAVA_OPTIONS=", OSH_ENV_FLAGS)                                                \
	ROW("_JAVA_OPTIONS=", OSH_ENV_FLAGS)                                                   \
	ROW("CLASSPATH=", OSH_ENV_PATHS)                                                       \
	ROW("DOTNET_STARTUP_HOOKS=", OSH_ENV_PATHS)                                            \
	ROW("CORECLR_PROFILER_PATH=", OSH_ENV_PATHS)                                           \
	ROW("PHPRC=", OSH_ENV_PATHS)                                                           \
	ROW("PHP_INI_SCAN_DIR=", OSH_ENV_PATHS)                                                \
	ROW("LUA_INIT=", OSH_ENV_ANY)                                                          \
	ROW("LUA_PATH=", OSH_ENV_PATHS)                                                        \
	ROW("LUA_CPATH=", OSH_ENV_PATHS)                                                       \
	/* Shells, and what git runs in place of its own helpers. */                           \
	ROW("BASH_ENV=", OSH_ENV_PATHS)                                                        \
	ROW("BASH_FUNC_", OSH_ENV_ANY)                                                         \
	ROW("ENV=", OSH_ENV_PATHS)                                                             \
	ROW("GIT_SSH_COMMAND=", OSH_ENV_ANY)                                                   \
	ROW("GIT_SSH=", OSH_ENV_PATHS)                                                         \
	ROW("GIT_PROXY_COMMAND=", OSH_ENV_PATHS)                                               \
	ROW("GIT_EXTERNAL_DIFF=", OSH_ENV_PATHS)                                               \
	ROW("GIT_EXEC_PATH=", OSH_ENV_PATHS)

/* Does `text` begin with a literal of up to 24 bytes? Written out, because the BPF target
 * has no memcmp and clang does not unroll every such loop; nearly all end at the first
 * byte. */
#define OSH_LEN(literal) (sizeof(literal) - 1)
#define OSH_BYTE(text, literal, i)                                                             \
	((i) >= OSH_LEN(literal) || (text)[i] == (literal)[(i) < OSH_LEN(literal) ? (i) : 0])
#define OSH_BYTES_4(text, literal, i)                                                          \
	(OSH_BYTE(text, literal, i) && OSH_BYTE(text, literal, (i) + 1) &&                     \
	 OSH_BYTE(text, literal, (i) + 2) && OSH_BYTE(text, literal, (i) + 3))
#define OSH_BEGINS(text, literal)                                                              \
	(OSH_BYTES_4(text, literal, 0) && OSH_BYTES_4(text, literal, 4) &&                     \
	 OSH_BYTES_4(text, literal, 8) && OSH_BYTES_4(text, literal, 12) &&                    \
	 OSH_BYTES_4(text, literal, 16) && OSH_BYTES_4(text, literal, 20))

/* How the value of "NAME=value" is to be read; its place goes to *ret_value. */
OSH_INJECT_INLINE __u32 osh_env_kind(const char *text, __u32 *ret_value)
{
	__u32 kind = OSH_ENV_HARMLESS, value = 0;

#define ROW(name, its_kind)                                                                    \
	if (OSH_BEGINS(text, name)) {                                                          \
		kind = its_kind;                                                               \
		value = sizeof(name) - 1;                                                      \
	}
	OSH_ENV_TABLE(ROW)
#undef ROW
	*ret_value = value;
	return kind;
}

/* Directories of the host that a sandbox sees read-only unless its policy says otherwise
 * (OSH_SANDBOX_WRITES_SYSTEM), and that in an attached cgroup root alone may write. */
OSH_INJECT_INLINE int osh_is_system_path(const char *at)
{
	return OSH_BEGINS(at, "/usr/") || OSH_BEGINS(at, "/lib/") ||
	       OSH_BEGINS(at, "/lib32/") || OSH_BEGINS(at, "/lib64/") ||
	       OSH_BEGINS(at, "/bin/") || OSH_BEGINS(at, "/sbin/") ||
	       OSH_BEGINS(at, "/etc/") || OSH_BEGINS(at, "/opt/");
}

/* Options that set a size, switch something off, choose among what is built in, or are
 * about warnings: node and bun, java's heap and stack, ruby. */
OSH_INJECT_INLINE int osh_is_harmless_flag(const char *at)
{
	return OSH_BEGINS(at, "--max-") || OSH_BEGINS(at, "--no-") ||
	       OSH_BEGINS(at, "--use-") || OSH_BEGINS(at, "-Xm") ||
	       OSH_BEGINS(at, "-Xss") || OSH_BEGINS(at, "-W");
}

struct osh_env_scan {
	__u32 kind;
	__u32 harmful;
	__u32 in_word;
};

/* Look at one byte of a value, `at` with OSH_ENV_SLACK readable bytes behind it. Returns 1
 * at its end, or when it is known to be harmful. An empty path is the current directory. */
OSH_INJECT_INLINE int osh_env_step(struct osh_env_scan *scan, const char *at)
{
	int paths = scan->kind == OSH_ENV_PATHS;
	int separates = at[0] == '\0' || at[0] == ' ' || (paths ? at[0] == ':' || at[0] == ';' :
						       at[0] == '\t' || at[0] == '\n' || at[0] == '\r');

	if (separates) {
		scan->harmful |= paths && !scan->in_word;
		scan->in_word = 0;
	} else if (!scan->in_word) {
		scan->in_word = 1;
		scan->harmful |= paths ? !osh_is_system_path(at) : !osh_is_harmless_flag(at);
	}
	/* The way out of the system's directories, and the loader's own variables. */
	scan->harmful |= paths && (OSH_BEGINS(at, "/..") || at[0] == '$');
	return scan->harmful || at[0] == '\0';
}

/* Is this the name of a dynamic loader? At least 8 bytes are readable. */
OSH_INJECT_INLINE int osh_is_loader(const char *name)
{
	return OSH_BEGINS(name, "ld-linux") || OSH_BEGINS(name, "ld-musl") ||
	       OSH_BEGINS(name, "ld.so") || OSH_BEGINS(name, "ld64.so") ||
	       OSH_BEGINS(name, "ld-2.");
}

/* Of a process's credentials what says which files it may write. */
struct osh_writer {
	__u32 uid, euid, suid;
	__u32 pad;
	__u64 permitted; /* capabilities: it makes them effective when it likes */
};

/* Root, or who becomes it when he likes, or has its rights on files. */
OSH_INJECT_INLINE int osh_writes_as_root(const struct osh_writer *writer)
{
	return writer->uid == 0 || writer->euid == 0 || writer->suid == 0 ||
	       (writer->permitted & OSH_OWNER_CAPABILITIES) != 0;
}

/* May it write a file? A file on a read-only mount is not asked about. Group and ACL rights (whose
 * mask shows as the group's) count for anybody. */
OSH_INJECT_INLINE int osh_may_write(const struct osh_writer *writer, __u32 file_uid, __u32 file_mode)
{
	return osh_writes_as_root(writer) || file_uid == writer->euid || (file_mode & 0022) != 0;
}

#endif
