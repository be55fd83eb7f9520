/* What this machine needs for the parts of a jail alone. floor OPERATION COUNT [ARGUMENT]...
 *
 * Prints, for each of COUNT times, the nanoseconds of the operation; floor.py reads them. Each operation is whole:
 * what it makes it takes down, and a child is waited for. Static, so that nothing but the operation is paid for. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char *const TRUE_ARGV[] = {"/bin/true", NULL}, *const NO_ENV[] = {NULL};
static char **args;
static int nargs;
static struct sock_fprog filter;

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static void die(const char *what) {
  perror(what);
  exit(1);
}
static void reap(pid_t pid) {
  int status;
  if (pid < 0) die("fork");
  if (waitpid(pid, &status, __WALL) != pid || status) {
    fprintf(stderr, "a child ended with status %#x\n", status);
    exit(1);
  }
}
static pid_t cloned(uint64_t flags, int cgroup) {
  struct clone_args a = {.flags = flags, .exit_signal = SIGCHLD, .cgroup = (uint64_t)cgroup};
  return (pid_t)syscall(SYS_clone3, &a, sizeof a);
}

/* ---- processes ---- */

static void op_spawn(void) { /* posix_spawn of true: vfork and execve */
  pid_t pid;
  if (posix_spawn(&pid, TRUE_ARGV[0], NULL, NULL, TRUE_ARGV, NO_ENV)) die("posix_spawn");
  reap(pid);
}
static void op_static(void) { /* posix_spawn of this program, which is static, and ends at once without arguments */
  char *const argv[] = {"floor", NULL};
  pid_t pid;
  if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, NO_ENV)) die("posix_spawn");
  reap(pid);
}
static void op_pipes(void) { /* the same with stdout and stderr in pipes that are read to their end: capture_output */
  int pipes[2][2];
  char buffer[256];
  pid_t pid;
  posix_spawn_file_actions_t acts;
  posix_spawn_file_actions_init(&acts);
  for (int i = 0; i < 2; i++) {
    if (pipe2(pipes[i], O_CLOEXEC)) die("pipe2");
    posix_spawn_file_actions_adddup2(&acts, pipes[i][1], 1 + i);
  }
  if (posix_spawn(&pid, TRUE_ARGV[0], &acts, NULL, TRUE_ARGV, NO_ENV)) die("posix_spawn");
  posix_spawn_file_actions_destroy(&acts);
  for (int i = 0; i < 2; i++) {
    close(pipes[i][1]);
    if (read(pipes[i][0], buffer, sizeof buffer)) die("read");
    close(pipes[i][0]);
  }
  reap(pid);
}
static void op_fork(void) {
  pid_t pid = fork();
  if (pid == 0) _exit(0);
  reap(pid);
}
static void op_forkexec(void) {
  pid_t pid = fork();
  if (pid == 0) {
    execve(TRUE_ARGV[0], TRUE_ARGV, NO_ENV);
    _exit(127);
  }
  reap(pid);
}

/* ---- namespaces ---- */

static void in_namespaces(uint64_t flags, int proc) {
  pid_t pid = cloned(flags, 0);
  if (pid == 0) {
    if (proc && mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL)) _exit(1);
    _exit(0);
  }
  reap(pid);
}
static void op_pid(void) { in_namespaces(CLONE_NEWPID, 0); }
static void op_namespaces(void) { in_namespaces(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC, 0); }
static void op_proc(void) { in_namespaces(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC, 1); }
static void op_all(void) {
  in_namespaces(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP, 0);
}
static void op_tmpfs(void) { /* one, in this program's own mount namespace */
  if (mount("tmpfs", "/tmp", "tmpfs", 0, "size=1m")) die("tmpfs");
  if (umount2("/tmp", MNT_DETACH)) die("umount");
}

/* ---- a filter, a leaf ---- */

static void op_seccomp(void) { /* a process that installs the filter named on the command line, and exits */
  pid_t pid = fork();
  if (pid == 0) {
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter)) _exit(1);
    _exit(0);
  }
  reap(pid);
}
static void leaf_name(char *out, int i) { snprintf(out, PATH_MAX, "%s/floor%d", args[i], (int)getpid()); }
static void op_leaf(void) { /* make, enter, leave and remove a leaf in each directory; a v1 one has "tasks" */
  char path[PATH_MAX], file[PATH_MAX + 8];
  int into = -1, tasks[16];
  for (int i = 0; i < nargs; i++) {
    leaf_name(path, i);
    if (mkdir(path, 0755)) die(path);
    snprintf(file, sizeof file, "%s/tasks", path);
    tasks[i] = open(file, O_WRONLY | O_CLOEXEC);
    if (tasks[i] < 0 && (into = open(path, O_PATH | O_CLOEXEC)) < 0) die(path);
  }
  pid_t pid = cloned(into < 0 ? 0 : CLONE_INTO_CGROUP, into < 0 ? 0 : into);
  if (pid == 0) {
    for (int i = 0; i < nargs; i++)
      if (tasks[i] >= 0 && write(tasks[i], "0", 1) != 1) _exit(1);
    _exit(0);
  }
  reap(pid);
  for (int i = 0; i < nargs; i++) {
    leaf_name(path, i);
    close(tasks[i]);
    if (rmdir(path)) die(path);
  }
  if (into >= 0) close(into);
}

/* ---- talk ---- */

static int talk[2] = {-1, -1};
static void op_wake(void) { /* there and back between two processes over a seqpacket: two wake-ups */
  char c = 'x';
  if (talk[0] < 0) {
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, talk)) die("socketpair");
    if (fork() == 0) {
      close(talk[0]);
      while (read(talk[1], &c, 1) == 1 && write(talk[1], &c, 1) == 1) {
      }
      _exit(0);
    }
    close(talk[1]);
  }
  if (write(talk[0], &c, 1) != 1 || read(talk[0], &c, 1) != 1) die("talk");
}

static const struct {
  const char *name;
  void (*run)(void);
} OPS[] = {{"spawn", op_spawn},       {"static", op_static}, {"pipes", op_pipes},           {"fork", op_fork},
           {"forkexec", op_forkexec}, {"pid", op_pid},       {"namespaces", op_namespaces}, {"proc", op_proc},
           {"all", op_all},           {"tmpfs", op_tmpfs},   {"seccomp", op_seccomp},       {"leaf", op_leaf},
           {"wake", op_wake}};

static uint64_t armed(void) { /* a process waits before execve of true: from the order to its end */
  int pair[2];
  char c = 'g';
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) die("socketpair");
  pid_t pid = fork();
  if (pid == 0) {
    if (read(pair[1], &c, 1) == 1) execve(TRUE_ARGV[0], TRUE_ARGV, NO_ENV);
    _exit(127);
  }
  close(pair[1]);
  usleep(300); /* it waits by then */
  uint64_t start = now();
  if (write(pair[0], &c, 1) != 1) die("write");
  reap(pid);
  uint64_t took = now() - start;
  close(pair[0]);
  return took;
}

static void filter_read(const char *path) {
  struct stat st;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 || fstat(fd, &st)) die(path);
  filter.len = (unsigned short)((size_t)st.st_size / sizeof(struct sock_filter));
  filter.filter = malloc((size_t)st.st_size);
  if (!filter.filter || read(fd, filter.filter, (size_t)st.st_size) != st.st_size) die(path);
  close(fd);
}

/* What the kernel itself does for a jail, without any of ours: FILTER LANDLOCK-RIGHTS, files that a program enters a
 * leaf by ("+/sys/fs/cgroup/.../tasks"), files that are read when it has ended. */
static struct {
  int ruleset, enter[16], entries, counter[64], counters;
} fences = {.ruleset = -1};

static void fences_make(void) {
  filter_read(args[0]);
  uint64_t rights = strtoull(args[1], NULL, 0);
  struct {
    uint64_t access;
    int fd;
  } __attribute__((packed)) rule = {rights, open("/", O_PATH | O_CLOEXEC)};
  if (rights) {
    fences.ruleset = (int)syscall(SYS_landlock_create_ruleset, &rights, sizeof rights, 0);
    if (fences.ruleset < 0 || syscall(SYS_landlock_add_rule, fences.ruleset, 1 /* PATH_BENEATH */, &rule, 0))
      die("landlock");
  }
  close(rule.fd);
  for (int i = 2; i < nargs; i++) {
    const int enter = args[i][0] == '+';
    int fd = open(args[i] + enter, (enter ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
    if (fd < 0 || fences.entries == 16 || fences.counters == 64) die(args[i]);
    *(enter ? &fences.enter[fences.entries++] : &fences.counter[fences.counters++]) = fd;
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter))
    die("filter");
}

/* What any design with a process between caller and program needs: a word on `control` starts true in a process that
 * waits before execve; when it has ended and its pipes are read, a word goes back. Then the next one. No jail at all,
 * but for the fences if there are any. */
static int relay(int control) {
  char text[4096];
  if (nargs) fences_make();
  for (;;) {
    int pair[2], pipes[2][2], status;
    char c = 'g', buffer[256];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) die("socketpair");
    for (int i = 0; i < 2; i++)
      if (pipe2(pipes[i], O_CLOEXEC)) die("pipe2");
    pid_t pid = fork();
    if (pid == 0) {
      close(pair[0]);
      for (int i = 0; i < fences.entries; i++)
        if (write(fences.enter[i], "0", 1) != 1) _exit(126);
      for (int i = 0; i < 2; i++) dup2(pipes[i][1], 1 + i);
      if (fences.ruleset >= 0 && syscall(SYS_landlock_restrict_self, fences.ruleset, 0)) _exit(126);
      if (read(pair[1], &c, 1) == 1) execve(TRUE_ARGV[0], TRUE_ARGV, NO_ENV);
      _exit(127);
    }
    if (pid < 0) die("fork");
    close(pair[1]);
    for (int i = 0; i < 2; i++) close(pipes[i][1]);
    const int more = read(control, &c, 1) == 1;
    if (more && write(pair[0], &c, 1) != 1) die("write");
    close(pair[0]); /* with no word before, it ends */
    if (waitpid(pid, &status, 0) != pid || (more && status)) die("true");
    for (int i = 0; i < fences.counters; i++)
      if (pread(fences.counter[i], text, sizeof text, 0) < 0) die("counter");
    for (int i = 0; i < 2; i++) {
      if (read(pipes[i][0], buffer, sizeof buffer)) die("read");
      close(pipes[i][0]);
    }
    if (!more) return 0;
    if (write(control, &c, 1) != 1) return 0;
  }
}

int main(int argc, char **argv) {
  if (argc < 3) return argc != 1;
  long count = atol(argv[2]);
  args = argv + 3;
  nargs = argc - 3;
  if (nargs > 16 && strcmp(argv[1], "relay")) return 2;
  if (!strcmp(argv[1], "seccomp")) filter_read(args[0]);
  if (!strcmp(argv[1], "tmpfs") || !strcmp(argv[1], "proc")) /* nothing is mounted where others see it */
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) die("unshare");
  if (!strcmp(argv[1], "relay")) return relay((int)count); /* the fd, instead of a number of times */
  if (!strcmp(argv[1], "armed")) {
    for (long i = 0; i < count; i++) printf("%llu\n", (unsigned long long)armed());
    return 0;
  }
  for (size_t op = 0; op < sizeof OPS / sizeof *OPS; op++)
    if (!strcmp(argv[1], OPS[op].name)) {
      for (long i = 0; i < count; i++) {
        uint64_t start = now();
        OPS[op].run();
        printf("%llu\n", (unsigned long long)(now() - start));
      }
      return 0;
    }
  return 2;
}
