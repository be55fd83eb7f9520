/* The only native code that runs inside the embedder's process: start the keeper, look at our own fds.
 *
 * clone3(CLONE_VM | CLONE_VFORK) on a stack of its own costs the same whatever the embedder's size
 * (fork would copy its page tables: 36 ms per GiB). The child shares our memory until it has exec'd,
 * so it makes raw system calls only, with all signals blocked, and reports through *error. */
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "plan.h"
#include "sys.h"

#define STACK_SIZE 65536

struct child {
  const int *fds;
  uint32_t nfds;
  int exe;
  struct pj_error *error;
};

static void __attribute__((noreturn)) child_fail(struct child *c, int step, uint32_t index, long rc) {
  *c->error = (struct pj_error){(uint32_t)step, index, (int32_t)-rc};
  sys_exit(127);
}

static void __attribute__((noreturn)) child_main(void *arg) {
  struct child *c = arg;
  int high[8 + PJ_MAX_CGROUPS];
  static const char *const argv[] = {"pyjail-keeper", NULL};
  static const char *const envp[] = {NULL};
  /* First out of the way of the low numbers, then down: the caller's fds may be any, 0-2 included. */
  for (uint32_t i = 0; i < c->nfds; i++) {
    long fd = SYS(__NR_fcntl, c->fds[i], F_DUPFD, c->nfds);
    if (fd < 0) child_fail(c, STEP_KEEPER_EXEC, i, fd);
    high[i] = (int)fd;
  }
  long exe = SYS(__NR_fcntl, c->exe, F_DUPFD, c->nfds);
  if (exe < 0) child_fail(c, STEP_KEEPER_EXEC, c->nfds, exe);
  for (uint32_t i = 0; i < c->nfds; i++) {
    long rc = SYS(__NR_dup3, high[i], i, 0);
    if (rc < 0) child_fail(c, STEP_KEEPER_EXEC, i, rc);
  }
  long rc = SYS(__NR_close_range, c->nfds, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */);
  if (rc < 0) child_fail(c, STEP_KEEPER_EXEC, c->nfds, rc);
  rc = SYS(__NR_execveat, exe, "", argv, envp, AT_EMPTY_PATH);
  child_fail(c, STEP_KEEPER_EXEC, c->nfds, rc);
}

/* Start the keeper `exe` with fds[i] as its fd i. Returns its pid, or -1 with *error set. *pidfd is the caller's. */
int pj_spawn(int exe, const int *fds, uint32_t nfds, int *pidfd, struct pj_error *error) {
  struct child c = {.fds = fds, .nfds = nfds, .exe = exe, .error = error};
  *pidfd = -1;
  *error = (struct pj_error){STEP_CLONE, nfds, EINVAL};
  if (nfds > 8 + PJ_MAX_CGROUPS) return -1;
  void *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  *error = (struct pj_error){STEP_CLONE, 0, ENOMEM};
  if (stack == MAP_FAILED) return -1;
  *error = (struct pj_error){0};
  struct clone_args args = {.flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD,
                            .pidfd = (uint64_t)(uintptr_t)pidfd,
                            .exit_signal = K_SIGCHLD,
                            .stack = (uint64_t)(uintptr_t)stack,
                            .stack_size = STACK_SIZE};
  uint64_t all = ~0ull, old = 0; /* a handler must not run in the child on our memory */
  SYS(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &all, &old, 8);
  long pid = sys_clone(&args, child_main, &c);
  SYS(__NR_rt_sigprocmask, 2, &old, NULL, 8);
  munmap(stack, STACK_SIZE);
  if (pid < 0) {
    *pidfd = -1; /* the kernel may have written a number that it freed again */
    *error = (struct pj_error){STEP_CLONE, 0, (int32_t)-pid};
    return -1;
  }
  if (error->step) { /* it never became the keeper: ours to reap */
    while (SYS(__NR_wait4, pid, NULL, 0, NULL) == -EINTR) continue;
    sys_close(*pidfd);
    *pidfd = -1;
    return -1;
  }
  return (int)pid;
}

/* Whether these (fd, st_dev, st_ino) are still what they were: who closes what is not his puts his own in its place. */
int pj_intact(const uint64_t (*held)[3], uint32_t count) {
  struct stat now;
  for (uint32_t i = 0; i < count; i++)
    if (fstat((int)held[i][0], &now) < 0 || now.st_dev != held[i][1] || now.st_ino != held[i][2]) return 0;
  return 1;
}

/* The Landlock ABI of this kernel, or -errno (ENOSYS: not built in, EOPNOTSUPP: not enabled at boot). */
int pj_landlock_abi(void) { return (int)SYS(444 /* landlock_create_ruleset */, NULL, 0, 1); }
