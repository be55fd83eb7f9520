/* The only native code that runs inside the embedder's process: start the keeper, look at our own fds.
 *
 * clone3(CLONE_VM | CLONE_VFORK) on a stack of its own costs the same whatever the embedder's size
 * (fork would copy its page tables: 36 ms per GiB). The child shares our memory until it has exec'd,
 * so it makes raw system calls only, with all signals blocked, and reports through *error. */
#include <linux/close_range.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "plan.h"
#include "sys.h"

#define STACK_SIZE 65536
#define MOST_FDS (8 + PJ_MAX_CGROUPS)

struct child {
  const int *fds;
  uint32_t nfds;
  int exe;
  struct pj_error *error;
};

static long must(struct child *c, uint32_t index, long rc) {
  if (rc >= 0) return rc;
  *c->error = (struct pj_error){STEP_KEEPER_EXEC, index, (int32_t)-rc};
  sys_exit(127);
}

static void __attribute__((noreturn)) child_main(void *arg) {
  struct child *c = arg;
  const uint32_t n = c->nfds;
  long high[MOST_FDS];
  static const char *const argv[] = {"pyjail-keeper", NULL}, *const envp[] = {NULL};
  /* First out of the way of the low numbers, then down: the caller's fds may be any, 0-2 included. */
  for (uint32_t i = 0; i < n; i++) high[i] = must(c, i, SYS(__NR_fcntl, c->fds[i], F_DUPFD, n));
  const long exe = must(c, n, SYS(__NR_fcntl, c->exe, F_DUPFD, n));
  for (uint32_t i = 0; i < n; i++) must(c, i, SYS(__NR_dup3, high[i], i, 0));
  must(c, n, SYS(__NR_close_range, n, ~0u, CLOSE_RANGE_CLOEXEC));
  must(c, n, SYS(__NR_execveat, exe, "", argv, envp, AT_EMPTY_PATH));
  sys_exit(127); /* not reached */
}

/* Start the keeper `exe` with fds[i] as its fd i. Returns its pid, or -1 with *error set. *pidfd is the caller's. */
int pj_spawn(int exe, const int *fds, uint32_t nfds, int *pidfd, struct pj_error *error) {
  struct child c = {.fds = fds, .nfds = nfds, .exe = exe, .error = error};
  const int rw = PROT_READ | PROT_WRITE, own = MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK;
  *pidfd = -1;
  *error = (struct pj_error){STEP_CLONE, nfds, nfds > MOST_FDS ? EINVAL : ENOMEM};
  void *stack = nfds > MOST_FDS ? MAP_FAILED : mmap(NULL, STACK_SIZE, rw, own, -1, 0);
  if (stack == MAP_FAILED) return -1;
  *error = (struct pj_error){0};
  struct clone_args args = {.flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD,
                            .pidfd = (uint64_t)(uintptr_t)pidfd,
                            .exit_signal = SIGCHLD,
                            .stack = (uint64_t)(uintptr_t)stack,
                            .stack_size = STACK_SIZE};
  uint64_t all = ~0ull, old = 0; /* a handler must not run in the child on our memory */
  SYS(__NR_rt_sigprocmask, SIG_SETMASK, &all, &old, 8);
  long pid = sys_clone(&args, child_main, &c);
  SYS(__NR_rt_sigprocmask, SIG_SETMASK, &old, NULL, 8);
  munmap(stack, STACK_SIZE);
  if (pid < 0) *error = (struct pj_error){STEP_CLONE, 0, (int32_t)-pid};
  if (!error->step) return (int)pid;
  while (pid > 0 && SYS(__NR_wait4, pid, NULL, 0, NULL) == -EINTR) continue; /* it never became the keeper */
  if (pid > 0) sys_close(*pidfd); /* else the kernel may have written a number that it freed again */
  *pidfd = -1;
  return -1;
}

/* Whether these (fd, st_dev, st_ino) are still what they were: who closes what is not his puts his own in its place. */
int pj_intact(const uint64_t (*held)[3], uint32_t count) {
  struct stat now;
  for (uint32_t i = 0; i < count; i++)
    if (fstat((int)held[i][0], &now) < 0 || now.st_dev != held[i][1] || now.st_ino != held[i][2]) return 0;
  return 1;
}

/* The Landlock ABI of this kernel, or -errno (ENOSYS: not built in, EOPNOTSUPP: not enabled at boot). */
int pj_landlock_abi(void) { return (int)SYS(__NR_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION); }
