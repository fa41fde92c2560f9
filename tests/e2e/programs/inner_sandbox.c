/* What browsers and other programs do to confine themselves further, as Chromium does:
 * ask for a user namespace and live with the answer; then a seccomp filter for every thread
 * (SECCOMP_FILTER_FLAG_TSYNC) that traps one call, whose handler answers in its place. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ANSWER 4242

static void on_trap(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)info;
#if defined(__x86_64__)
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = ANSWER;
#else
	((ucontext_t *)context)->uc_mcontext.regs[0] = ANSWER;
#endif
}

static int confine(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
}

static pthread_barrier_t confined;

static void *other_thread(void *unused)
{
	(void)unused;
	pthread_barrier_wait(&confined);
	return (void *)syscall(SYS_getppid);
}

int main(void)
{
	struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
	pthread_t thread;
	void *answer;

	printf("namespace: %s\n", unshare(CLONE_NEWUSER) == 0 ? "made" : strerrorname_np(errno));
	pthread_barrier_init(&confined, NULL, 2);
	sigaction(SIGSYS, &action, NULL);
	pthread_create(&thread, NULL, other_thread, NULL);
	printf("filter: %d\n", confine());
	pthread_barrier_wait(&confined);
	pthread_join(thread, &answer);
	printf("trapped: %ld %ld\n", syscall(SYS_getppid), (long)answer);
	return 0;
}
