/* What a program sees of its jail, as text that is the same in every run of the same jail. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
extern char **environ;

static void list(const char *path) {
  DIR *d = opendir(path);
  printf("%s:", path);
  for (struct dirent *e; d && (e = readdir(d));)
    if (e->d_name[0] != '.') printf(" %s", e->d_name);
  puts("");
  if (d) closedir(d);
}
static void show(const char *path, int mountinfo) {
  char line[4096];
  FILE *f = fopen(path, "r");
  for (int n; f && fgets(line, sizeof line, f);) {
    n = 0;
    if (mountinfo) sscanf(line, "%*s %*s %*s %n", &n);
    printf("%s: %s", path, line + n);
  }
  if (f) fclose(f);
}
static int tried(const char *path, int flags) {
  int fd = open(path, flags, 0600);
  return fd < 0 ? errno : 0;
}
int main(int argc, char **argv) {
  int ids[6], groups = getgroups(0, 0);
  getresuid(ids, ids + 1, ids + 2), getresgid(ids + 3, ids + 4, ids + 5);
  printf("ids %d %d %d %d %d %d groups %d\n", ids[0], ids[1], ids[2], ids[3], ids[4], ids[5], groups);
  struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct caps[2];
  syscall(SYS_capget, &head, caps);
  printf("caps %x %x %x\n", caps[0].effective | caps[1].effective, caps[0].permitted | caps[1].permitted,
         caps[0].inheritable | caps[1].inheritable);
  for (int i = 0; i < 41; i++) printf("%d", prctl(PR_CAPBSET_READ, i) + prctl(PR_CAP_AMBIENT, 1, i, 0, 0));
  printf(" securebits %x nnp %d seccomp %d umask %o personality %x\n", prctl(PR_GET_SECUREBITS),
         prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), prctl(PR_GET_SECCOMP), umask(022), personality(0xffffffff));
  sigset_t blocked;
  sigprocmask(0, 0, &blocked);
  for (int i = 1; i < 65; i++) {
    struct sigaction s;
    sigaction(i, 0, &s);
    printf("%d%d", sigismember(&blocked, i), s.sa_handler != SIG_DFL);
  }
  printf("\npid %d ppid %d sid %d pgid %d policy %d nice %d\n", getpid(), getppid(), getsid(0), getpgid(0),
         sched_getscheduler(0), getpriority(0, 0));
  for (int i = 0; i < 16; i++) {
    struct rlimit r;
    getrlimit(i, &r);
    printf("rlimit %d %lx %lx\n", i, r.rlim_cur, r.rlim_max);
  }
  struct utsname u;
  uname(&u);
  char *cwd = getcwd(0, 0);
  cpu_set_t cpus;
  sched_getaffinity(0, sizeof cpus, &cpus);
  struct timespec boot;
  clock_gettime(CLOCK_BOOTTIME, &boot);
  printf("node %s cwd %s cpus %d clocks %d\n", u.nodename, cwd, CPU_COUNT(&cpus), boot.tv_sec < 20);
  for (char **e = environ; *e; e++) puts(*e);
  for (int fd = 0; fd < 64; fd++) {
    char name[64], link[256];
    sprintf(name, "/proc/self/fd/%d", fd);
    int n = readlink(name, link, sizeof link - 1);
    if (n > 0) link[n] = 0, link[strcspn(link, "[")] = 0, printf("fd %d %s %x\n", fd, link, fcntl(fd, F_GETFL));
  }
  for (int i = 1; i < argc; i++) { /* the host's own namespaces */
    char link[64] = "", name[64];
    snprintf(name, sizeof name, "/proc/self/ns/%.*s", (int)strcspn(argv[i], ":"), argv[i]);
    int n = readlink(name, link, sizeof link - 1);
    printf("ns %.*s %s\n", (int)strcspn(argv[i], ":"), argv[i], n < 0 ? "hidden" : strcmp(link, argv[i]) ? "own" : "THE HOST'S");
  }
  show("/proc/self/cgroup", 0), show("/proc/self/mountinfo", 1), show("/proc/net/dev", 0);
  list("/"), list("/dev"), list("/box"), list("/tmp"), list("/proc/sys");
  printf("opened %d %d %d %d\n", tried("/x", O_WRONLY | O_CREAT), tried("/usr/x", O_WRONLY | O_CREAT),
         !!tried("/proc/1/environ", O_RDONLY), tried("/dev/null", O_RDWR));
  printf("refused %d", unshare(CLONE_NEWUSER) ? errno : 0);
  printf(" %d", syscall(SYS_ptrace, 16, 1, 0, 0) ? errno : 0);
  printf(" %d\n", tried("/box/x", O_WRONLY | O_CREAT | O_EXCL));
  return 0;
}
