/* What a program does in and outside of a jail. work MODE COUNT [fences]; prints the nanoseconds that COUNT times took.
 *
 * cpu, getpid, read, open, forkexec: loops. write, copy, drain: COUNT bytes to stdout, from stdin to stdout, from
 * stdin. nothing: exit. spin: for ever. fences: under a seccomp filter of one instruction, which allows everything, and
 * a Landlock ruleset of one rule, which allows reading below "/". */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static int fail(const char *what) {
  perror(what);
  return 1;
}

static int loop(const char *mode, const char *self, long count) {
  char byte;
  volatile uint64_t x = 88172645463325252u;
  int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  if (zero < 0) return fail("/dev/zero");
  for (long i = 0; i < count; i++) {
    if (!strcmp(mode, "getpid")) {
      if (syscall(SYS_getpid) < 0) return fail("getpid");
    } else if (!strcmp(mode, "read")) {
      if (read(zero, &byte, 1) != 1) return fail("read");
    } else if (!strcmp(mode, "open")) {
      int fd = open(self, O_RDONLY | O_CLOEXEC);
      if (fd < 0) return fail(self);
      close(fd);
    } else if (!strcmp(mode, "forkexec")) {
      pid_t pid = fork();
      if (pid == 0) {
        execl(self, self, "nothing", "1", (char *)NULL);
        _exit(127);
      }
      int status;
      if (pid < 0 || waitpid(pid, &status, 0) != pid || status) return fail("forkexec");
    } else {
      for (int k = 0; k < 1000; k++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
      }
    }
  }
  return 0;
}

static int move(const char *mode, long count) {
  static char buffer[65536];
  const int from = !strcmp(mode, "write") ? -1 : 0, to = !strcmp(mode, "drain") ? -1 : 1;
  while (count > 0 || from == 0) {
    ssize_t n = from < 0 ? (count < (long)sizeof buffer ? count : (long)sizeof buffer) : read(0, buffer, sizeof buffer);
    if (n < 0) return fail("read");
    if (n == 0) break;
    for (ssize_t done = 0; to == 1 && done < n;) {
      ssize_t m = write(1, buffer + done, (size_t)(n - done));
      if (m < 0) return fail("write");
      done += m;
    }
    count -= n;
  }
  return count != 0; /* fewer or more bytes than there should be */
}

static int fences(void) {
  struct sock_filter allow = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
  struct sock_fprog filter = {1, &allow};
  const uint64_t reading = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
  struct landlock_ruleset_attr all = {.handled_access_fs = 0x1fff}; /* those of ABI 1 */
  struct landlock_path_beneath_attr rule = {.allowed_access = reading, .parent_fd = open("/", O_PATH | O_CLOEXEC)};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return fail("no_new_privs");
  int ruleset = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0);
  if (ruleset >= 0) { /* else this kernel has none, and a jail has none */
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0)) return fail("landlock_add_rule");
    if (syscall(SYS_landlock_restrict_self, ruleset, 0)) return fail("landlock_restrict_self");
  }
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) ? fail("seccomp") : 0;
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  const char *mode = argv[1];
  long count = atol(argv[2]);
  if (!strcmp(mode, "nothing")) return 0;
  if (!strcmp(mode, "spin"))
    for (;;) {
    }
  if (!strcmp(mode, "write") || !strcmp(mode, "copy") || !strcmp(mode, "drain")) return move(mode, count);
  if (argc > 3 && fences()) return 1;
  cpu_set_t here; /* one CPU for it and its children: no migration in the middle */
  CPU_ZERO(&here);
  CPU_SET(sched_getcpu(), &here);
  if (sched_setaffinity(0, sizeof here, &here)) return fail("sched_setaffinity");
  uint64_t start = now();
  int rc = loop(mode, argv[0], count);
  if (rc == 0) printf("%llu\n", (unsigned long long)(now() - start));
  return rc;
}
