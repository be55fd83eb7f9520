/* The keeper: prepares a template of a jail once, then starts runs from it, one at a time.
 *
 * Static, freestanding, exec'd from a sealed memfd with nothing but these fds. One translation unit
 * (it includes the other .c files but spawn.c), so that no symbol can come from elsewhere. */
#define PYJAIL_FREESTANDING
#include "plan.h"
#include "sys.h"
/* */
#include "check.c"

enum { FD_CONTROL, FD_PLAN, FD_OUT, FD_ERR, FD_REQUEST, FD_CGROUP };
#define MAX_CGROUP_ROWS 64
#define LIMITS_MAX 65536
#define BASE_SIZE 512
#define RLIMITS 16 /* of setrlimit(2) */
#define NS_PER_MS 1000000ull
#define WATCH_NS (50 * NS_PER_MS)    /* how often a CGROUP_WATCH row is looked at */
#define START_NS (10000 * NS_PER_MS) /* from the go to execve, on the busiest machine */
#define PUMP_WORTH 4096 /* after fewer bytes a stream rests for 1 ms: a wake-up for each byte would cost us */

/* Shared with the program's process until execve replaces its memory. */
struct page {
  struct pj_facts facts;
  char text[PJ_TEXT_SIZE];
};

struct run {      /* one jail: armed, running, or held for its files */
  int made;       /* something of it is there */
  int program;    /* its number, until it is reaped */
  int go, peer;   /* socketpair: ours, and the one of the program's process */
  int pipe[2][2]; /* [stream][read, write] */
  int listener;   /* seccomp notifications */
  int listened;   /* it has come */
};

struct leaf { /* of each cgroup hierarchy: for one run, and for the next as long as it is as good as new */
  int dir[PJ_MAX_CGROUPS], tasks[PJ_MAX_CGROUPS], row[MAX_CGROUP_ROWS];
  int event; /* eventfd: somebody in it has met its memory limit; -1 = the file is looked at instead */
  uint64_t number[PJ_MAX_CGROUPS], gone[PJ_MAX_CGROUPS];
  uint32_t stale;      /* bits: hierarchies in which the next run needs another one */
  uint32_t set_len;    /* records of what was set and read back */
  uint64_t clock_base; /* ns on its clock at the end of the last run */
  char set[4096];
  char base[MAX_CGROUP_ROWS][BASE_SIZE]; /* texts at the end of the last run */
};

struct tmpfs {
  int fd, spare;  /* mounted; to be mounted again */
  uint64_t inode; /* the number that its next file will have */
  struct k_statfs space;
  struct k_statx root;
};

static struct {
  const struct pj_plan *plan;
  struct page *page;
  char *request; /* PJ_MAX_BLOB bytes, shared with the program's process */
  int newroot, box, mountinfo;
  int proc;             /* the procfs of our pid namespace */
  int last_pid;         /* ns_last_pid of it */
  int children;         /* signalfd of SIGCHLD */
  int sockets;          /* /proc/net/unix of our network namespace, which the runs share */
  long user_namespaces; /* 0 or -errno of forbidding more of them */
  int touched;          /* the armed run's workspace is not empty any more */
  int shared;           /* a socket among the run's stdio: its fds may have left through it */
  int running;
  int more;         /* children may be waiting to be reaped */
  uint32_t run_box; /* which tmpfs is the workspace, */
  uint32_t box_row; /* or which row of the plan, in a session */
  uint64_t go_tick; /* CLOCK_REALTIME_COARSE when the run started */
  int ruleset;      /* Landlock, for all runs with these tmpfs */
  struct tmpfs tmpfs[PJ_MAX_TMPFS];
  struct leaf leaf;
  struct k_rusage used; /* by the runs before */
  uint64_t sequence;
  uint64_t rlimits[RLIMITS][2]; /* our own */
  struct run run;
  _Alignas(8) char limits[LIMITS_MAX]; /* what the armed process was made for */
  int fds[4];                          /* received with the last message */
  uint32_t nfds;
} K;

static char scratch[65536];

static const char *plan_str(uint32_t ref) { return (const char *)K.plan + ref; }
static const struct pj_limits *limits(void) { return (const struct pj_limits *)(const void *)K.limits; }
static const char *limits_str(uint32_t ref) { return K.limits + ref; }
static const struct pj_request *request(void) {
  return (const struct pj_request *)(const void *)(K.request + ((limits()->size + 7) & ~7u));
}
static const char *request_str(uint32_t ref) { return (const char *)request() + ref; }

/* The one way to note a failure: first one wins, and it is what Python reads. */
static long fail(enum pj_step step, uint32_t index, long rc) {
  struct pj_error *e = &K.page->facts.reply.error;
  if (!e->step) *e = (struct pj_error){step, index, (int32_t)-rc};
  return -1;
}
#define TRY(step, index, call)                      \
  do {                                              \
    long rc_ = (call);                              \
    if (rc_ < 0) return fail((step), (index), rc_); \
  } while (0)

/* Append a record of raw kernel text to the report: from fd, or from `data` when fd < 0. */
static const struct pj_text *text_add(enum pj_text_kind kind, uint32_t index, int fd, const void *data, uint32_t len) {
  struct pj_facts *f = &K.page->facts;
  if (f->text_len + sizeof(struct pj_text) + 8 > PJ_TEXT_SIZE) return NULL;
  struct pj_text *t = (struct pj_text *)(void *)(K.page->text + f->text_len);
  uint32_t room = PJ_TEXT_SIZE - f->text_len - (uint32_t)sizeof *t - 8;
  *t = (struct pj_text){kind, index, 0, 0};
  if (fd >= 0) {
    long n = SYS(__NR_pread64, fd, t + 1, room < 4096 ? room : 4096, 0);
    if (n < 0) t->err = (int32_t)-n;
    t->len = n < 0 ? 0 : (uint32_t)n;
  } else if (data) {
    t->len = len < room ? len : room;
    memcpy(t + 1, data, t->len);
  }
  f->text_len += (uint32_t)sizeof *t + ((t->len + 7) & ~7u);
  return t;
}

/* ---- messages ---- */

static void keeper_exit(void) __attribute__((noreturn));
static void run_end(void);
static uint64_t limits_watch(void);
static int children_reap(void);

/* Send one message of up to two parts, with up to four fds. */
static long message_send2(int sock, struct k_iovec *iov, size_t parts, const int *fds, uint32_t nfds) {
  struct k_cmsg c = {.len = 16 + 4 * nfds, .level = K_SOL_SOCKET, .type = K_SCM_RIGHTS};
  struct k_msghdr m = {.iov = iov, .iovlen = parts};
  if (nfds) {
    memcpy(c.fd, fds, 4 * nfds);
    m.control = &c;
    m.controllen = 16 + ((4 * nfds + 7) & ~7u);
  }
  return SYS(__NR_sendmsg, sock, &m, K_MSG_NOSIGNAL);
}
static long message_send(int sock, const void *data, size_t len, const int *fds, uint32_t nfds) {
  struct k_iovec iov = {(void *)(uintptr_t)data, len};
  return message_send2(sock, &iov, 1, fds, nfds);
}
static void reply_with(enum pj_reply_kind kind, struct pj_error error, int fd) {
  struct pj_reply r = {kind, error};
  struct k_iovec iov[2] = {{&r, sizeof r}, {K.page->text, kind == REPLY_READY ? K.page->facts.text_len : 0}};
  long rc = message_send2(FD_CONTROL, iov, 2, &fd, fd >= 0);
  if (rc < 0 && fd >= 0) { /* ETOOMANYREFS: a program may have used up its user's share of fds in flight */
    if (kind == REPLY_OK && !r.error.step) r.error = (struct pj_error){STEP_OPEN, 0, (int32_t)-rc};
    rc = message_send(FD_CONTROL, &r, sizeof r, NULL, 0);
  }
  if (rc < 0) keeper_exit();
}
static void reply(enum pj_reply_kind kind) { reply_with(kind, K.page->facts.reply.error, -1); }

static void fds_close(void) {
  for (uint32_t i = 0; i < K.nfds; i++) sys_close(K.fds[i]);
  K.nfds = 0;
}

/* Receive one message from `sock`, its fds into K.fds. 0 = the peer is gone. */
static long message_receive(int sock, void *buf, size_t len) {
  struct k_iovec iov = {buf, len};
  struct k_cmsg c = {0};
  struct k_msghdr m = {.iov = &iov, .iovlen = 1, .control = &c, .controllen = sizeof c};
  long n;
  do n = SYS(__NR_recvmsg, sock, &m, K_MSG_CMSG_CLOEXEC);
  while (n == -EINTR);
  K.nfds = 0;
  if (n > 0 && m.controllen >= 20 && c.level == K_SOL_SOCKET && c.type == K_SCM_RIGHTS)
    for (size_t i = 0; i < 4 && 16 + 4 * (i + 1) <= c.len; i++) K.fds[K.nfds++] = c.fd[i];
  if (n > 0 && m.flags & 8 /* MSG_CTRUNC */) { /* no room for its fds: without them the message means something else */
    fds_close();
    n = 0;
  }
  return n < 0 ? 0 : n;
}

/* ---- filesystems ---- */

/* No path of ours leaves its root or follows a symlink that somebody put there. */
static const uint64_t BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

/* A new detached filesystem of this type; options are key NUL value NUL pairs, an empty value = a flag. */
static long fs_make(const char *type, const char *opts, uint32_t len, uint64_t attr) {
  long ctx = SYS(__NR_fsopen, type, 1 /* FSOPEN_CLOEXEC */);
  if (ctx < 0) return ctx;
  long rc = 0;
  for (const char *key = opts, *end = opts + len; rc >= 0 && key < end;) {
    const char *value = key + str_len(key) + 1;
    if (value >= end) break;
    rc = SYS(__NR_fsconfig, ctx, *value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, *value ? value : NULL, 0);
    key = value + str_len(value) + 1;
  }
  if (rc >= 0) rc = SYS(__NR_fsconfig, ctx, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
  if (rc >= 0) rc = SYS(__NR_fsmount, ctx, 1 /* FSMOUNT_CLOEXEC */, attr);
  sys_close((int)ctx);
  return rc;
}

/* Put the detached mount `fd` on `path` below `root`, which no symlink on the way may redirect. */
static long mount_attach(int fd, int root, const char *path) {
  long at = sys_open_beneath(root, *path ? path : ".", O_PATH | O_NOFOLLOW, 0, BENEATH);
  if (at < 0) return at;
  long rc = SYS(__NR_move_mount, fd, "", at, "", 4 | 0x40 /* MOVE_MOUNT_{F,T}_EMPTY_PATH */);
  sys_close((int)at);
  return rc;
}

/* Split path into an fd of its parent, which must be there, and *name. */
static long parent_open(int root, const char *path, const char **name, uint64_t resolve) {
  char dir[PJ_PATH_MAX];
  size_t slash = 0, n = str_len(path);
  if (n >= sizeof dir) return -ENAMETOOLONG;
  for (size_t i = 0; i < n; i++)
    if (path[i] == '/') slash = i + 1;
  memcpy(dir, path, slash);
  dir[slash] = 0;
  *name = path + slash;
  return sys_open_beneath(root, slash ? dir : ".", O_PATH | O_DIRECTORY, 0, resolve);
}

/* MOUNT_DIR, MOUNT_FILE, MOUNT_LINK: something that we make in a tmpfs of ours. */
static long entry_make(int root, const struct pj_mount *m) {
  const char *name;
  long dir = parent_open(root, plan_str(m->target), &name, BENEATH), rc;
  if (dir < 0) return dir;
  if (m->kind == MOUNT_DIR) {
    rc = SYS(__NR_mkdirat, dir, name, m->attr);
    if (rc == -EEXIST) rc = 0;
  } else if (m->kind == MOUNT_LINK) {
    rc = SYS(__NR_symlinkat, plan_str(m->data), dir, name);
  } else {
    long fd = SYS(__NR_openat, dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, m->attr);
    rc = fd < 0 ? fd : SYS(__NR_write, fd, plan_str(m->data), m->data_len) == (long)m->data_len ? 0 : -ENOSPC;
    sys_close((int)fd);
  }
  sys_close((int)dir);
  return rc;
}

/* ---- the template ---- */

/* Open a bind source once: what is mounted later is this very inode, whatever its path becomes. */
static long source_open(const struct pj_mount *m) {
  struct k_statx st = {0};
  long fd = sys_open_beneath(AT_FDCWD_, plan_str(m->source), O_PATH | O_NOFOLLOW, 0,
                             RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
  if (fd < 0) return fd;
  long rc = SYS(__NR_statx, fd, "", AT_EMPTY_PATH_, 1 /* STATX_TYPE */, &st);
  int is_dir = (st.mode & 0170000) == 0040000;
  if (rc == 0 && is_dir != !!(m->flags & MOUNT_IS_DIR)) rc = is_dir ? -EISDIR : -ENOTDIR;
  if (rc == 0 && (st.mode & 0170000) == 0120000) rc = -ELOOP;
  long tree = rc;
  if (rc == 0)
    tree = SYS(__NR_open_tree, fd, "",
               OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH_ | (is_dir ? AT_RECURSIVE_ : 0));
  sys_close((int)fd);
  if (tree < 0) return tree;
  struct mount_attr attr = {.attr_set = m->attr};
  rc = SYS(__NR_mount_setattr, tree, "", AT_EMPTY_PATH_ | AT_RECURSIVE_, &attr, sizeof attr);
  if (rc < 0) {
    sys_close((int)tree);
    return rc;
  }
  return tree;
}

static long net_lo_up(void) {
  struct {
    char name[16];
    short flags;
    char pad[22];
  } ifr = {.name = "lo", .flags = 1 /* IFF_UP */};
  long s = SYS(__NR_socket, 2 /* AF_INET */, 2 | O_CLOEXEC /* SOCK_DGRAM */, 0);
  if (s < 0) return s;
  long rc = SYS(__NR_ioctl, s, 0x8914 /* SIOCSIFFLAGS */, &ifr);
  sys_close((int)s);
  return rc;
}

/* The keeper never execs again, so what execve could give is thrown away once, here, for every run. */
static long exec_rights_drop(void) {
  long rc;
  for (long cap = 0; cap < 64; cap++) {
    rc = SYS(__NR_prctl, 24 /* PR_CAPBSET_DROP */, cap, 0, 0, 0);
    if (rc == -EINVAL) break; /* past the kernel's last capability */
    if (rc < 0) return rc;
  }
  rc = SYS(__NR_prctl, 47 /* PR_CAP_AMBIENT */, 4 /* CLEAR_ALL */, 0, 0, 0);
  if (rc < 0 && rc != -EINVAL) return rc;
  /* NOROOT, NO_SETUID_FIXUP, KEEP_CAPS off, NO_CAP_AMBIENT_RAISE; all locked */
  return SYS(__NR_prctl, 28 /* PR_SET_SECUREBITS */, 0xef, 0, 0, 0);
}

/* A second fence: no user namespaces below ours. 0 or -errno; a masked /proc/sys may refuse, the receipt says so. */
static long user_namespaces_forbid(int proc) {
  long fd = SYS(__NR_openat, proc, "sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC); /* the opener's own limit */
  if (fd < 0) return fd;
  long rc = SYS(__NR_write, fd, "0", 1);
  sys_close((int)fd);
  return rc < 0 ? rc : 0;
}

/* The namespaces of these kinds that we are in: the keeper's are its runs', too. */
static void namespaces_note(int proc, uint64_t kinds) {
  static const struct {
    const char *name;
    uint64_t kind;
  } of[] = {{"self/ns/user", CLONE_NEWUSER},    {"self/ns/mnt", CLONE_NEWNS},  {"self/ns/pid", CLONE_NEWPID},
            {"self/ns/ipc", CLONE_NEWIPC},      {"self/ns/net", CLONE_NEWNET}, {"self/ns/uts", CLONE_NEWUTS},
            {"self/ns/cgroup", CLONE_NEWCGROUP}};
  for (uint32_t i = 0; i < sizeof of / sizeof *of; i++) {
    char link[64];
    long n = kinds & of[i].kind ? SYS(__NR_readlinkat, proc, of[i].name, link, sizeof link) : 0;
    if (n > 0) text_add(TEXT_NS, i, -1, link, (uint32_t)n);
  }
}

static long keyring_new(void) {
  long rc = SYS(__NR_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, NULL, 0, 0, 0);
  return rc == -ENOSYS || rc == -EPERM ? 0 : rc; /* not there, or not for us at all */
}

/* SIGXFSZ: beyond the caller's RLIMIT_FSIZE, splice says EFBIG and we go on. Pid 1 ignores signals from inside that it
 * does not block, so it blocks no other. */
static const uint64_t KEEPER_BLOCKED = 1ull << 24 | 1ull << (K_SIGCHLD - 1);
static const uint64_t GUARD_BLOCKED = 1ull << (K_SIGCHLD - 1) | 1ull << (K_SIGTERM - 1) | 1ull << (K_SIGCONT - 1);

/* Outside of the pid namespace: who sees us end knows that nothing in it is left. SIGTERM ends it, by SIGKILL. */
static void __attribute__((noreturn)) guard_main(long keeper) {
  int status = 0;
  SYS(__NR_chdir, "/"); /* goes along when the root is changed: the caller's directory is not kept busy */
  SYS(__NR_close_range, 0, ~0u, 0);
  while (SYS(__NR_wait4, keeper, &status, 1 /* WNOHANG */, NULL) == 0) {
    long sig = SYS(__NR_rt_sigtimedwait, &GUARD_BLOCKED, NULL, NULL, 8);
    if (sig == K_SIGTERM || sig == K_SIGCONT) SYS(__NR_kill, keeper, sig == K_SIGTERM ? K_SIGKILL : K_SIGCONT);
  }
  sys_exit(status & 0x7f ? 128 + (status & 0x7f) : status >> 8);
}

/* Any change of ids takes both back (commit_creds()): no ptrace, no /proc/PID/mem; and to end with the guard. */
static long self_guard(void) {
  long rc = SYS(__NR_prctl, 4 /* PR_SET_DUMPABLE */, 0, 0, 0, 0);
  return rc < 0 ? rc : SYS(__NR_prctl, 1 /* PR_SET_PDEATHSIG */, K_SIGKILL, 0, 0, 0);
}

/* Become pid 1 of the new pid namespace: what dies here with its parent gone is ours to reap, what is left at our end
 * is killed by the kernel. */
static long init_become(void) {
  const uint64_t mask = 1ull << (K_SIGCHLD - 1);
  struct clone_args args = {.exit_signal = K_SIGCHLD};
  long pid = SYS(__NR_clone3, &args, sizeof args);
  if (pid > 0) guard_main(pid);
  TRY(STEP_INIT, 0, pid);
  SYS(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &KEEPER_BLOCKED, NULL, 8);
  TRY(STEP_INIT, 1, self_guard());
  for (int i = 0; i < RLIMITS; i++) SYS(__NR_prlimit64, 0, i, NULL, K.rlimits[i]);
  /* A short slice (since Linux 6.12): who wakes up to enforce a limit goes before those who compute. Not inherited. */
  struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
  } quick = {48, 0, 1 /* SCHED_FLAG_RESET_ON_FORK */, 20 - (int32_t)SYS(__NR_getpriority, 0, 0), 0, 100000, 0, 0};
  SYS(__NR_sched_setattr, 0, &quick, 0);
  TRY(STEP_INIT, 2, K.children = (int)SYS(__NR_signalfd4, -1, &mask, 8, O_CLOEXEC | O_NONBLOCK));
  return 0;
}

/* A procfs of this pid namespace in the place of the caller's, which had to be there until now: the kernel gives a user
 * namespace a new one only where one is already fully visible (mount_too_revealing()). */
static long proc_mount(void) {
  const struct pj_plan *p = K.plan;
  const uint64_t attr = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  long fd = fs_make("proc", plan_str(p->proc_options), p->proc_options_len, attr | MOUNT_ATTR_RDONLY);
  K.proc = (int)fd;
  if (p->flags & PLAN_CLOCKS) /* one more that is mounted nowhere, to write to */
    K.proc = (int)fs_make("proc", plan_str(p->proc_options), p->proc_options_len, attr);
  long gone = SYS(__NR_umount2, "/proc", 2 /* MNT_DETACH */); /* ours to see no longer, whatever comes */
  if (gone < 0 && gone != -EINVAL) return fail(STEP_PROC, 2, gone);
  if (!(p->flags & PLAN_PROC)) return 0;
  if (fd < 0) return fail(STEP_PROC, 0, fd);
  TRY(STEP_PROC, 1, SYS(__NR_move_mount, fd, "", AT_FDCWD_, "/proc", 4 /* MOVE_MOUNT_F_EMPTY_PATH */));
  return 0;
}

static long template_make(void) {
  const struct pj_plan *p = K.plan;
  static int source[PJ_MAX_ROWS];
  struct mount_attr private = {.propagation = 1 << 18 /* MS_PRIVATE */}, read_only = {.attr_set = MOUNT_ATTR_RDONLY};
  struct pj_message go;
  long rc;

  TRY(STEP_PRIVATE, 0, SYS(__NR_unshare, p->unshare_first));
  TRY(STEP_PRIVATE, 1, SYS(__NR_mount_setattr, AT_FDCWD_, "/", AT_RECURSIVE_, &private, sizeof private));
  /* With the caller's own rights: what it cannot open, its jails cannot see. */
  for (uint32_t i = 0; i < p->mounts.count; i++) {
    const struct pj_mount *m = ROW(p, p->mounts, struct pj_mount, i);
    if (m->kind != MOUNT_BIND) continue;
    TRY(STEP_SOURCE, i, source[i] = (int)source_open(m));
  }
  if (p->flags & PLAN_DROP_GROUPS) TRY(STEP_GROUPS, 0, SYS(__NR_setgroups, 0, NULL));
  if (p->unshare_second) TRY(STEP_NAMESPACES, 0, SYS(__NR_unshare, p->unshare_second));
  reply(REPLY_MAPS);
  if (message_receive(FD_CONTROL, &go, sizeof go) != (long)sizeof go || go.op != OP_GO)
    return fail(STEP_WAIT_GO, 0, -EPROTO);
  fds_close();
  if (p->flags & PLAN_SET_IDS) {
    TRY(STEP_KEEPER_IDS, 0, SYS(__NR_setresgid, p->keeper_gid, p->keeper_gid, p->keeper_gid));
    TRY(STEP_KEEPER_IDS, 1, SYS(__NR_setresuid, p->keeper_uid, p->keeper_uid, p->keeper_uid));
  }
  TRY(STEP_NODUMP, 0, SYS(__NR_prctl, 4 /* PR_SET_DUMPABLE */, 0, 0, 0, 0));
  if (init_become() < 0) return -1;

  for (uint32_t i = 0; i < p->mounts.count; i++) {
    const struct pj_mount *m = ROW(p, p->mounts, struct pj_mount, i);
    const char *target = plan_str(m->target);
    long fd = m->kind == MOUNT_BIND ? source[i] : -1;
    if (m->kind == MOUNT_FS)
      TRY(STEP_MOUNT, i, fd = fs_make(plan_str(m->source), plan_str(m->data), m->data_len, m->attr));
    if (i == 0) { /* the new root: first row, on top of "/" until pivot_root */
      K.newroot = (int)fd;
      TRY(STEP_NEWROOT, i, SYS(__NR_move_mount, fd, "", AT_FDCWD_, "/", 4 /* MOVE_MOUNT_F_EMPTY_PATH */));
    } else if (fd >= 0) {
      TRY(STEP_MOUNT, i, mount_attach((int)fd, K.newroot, target));
      if (m->flags & MOUNT_IS_BOX)
        K.box = (int)fd, K.box_row = i;
      else
        sys_close((int)fd);
    } else {
      TRY(STEP_MOUNT, i, entry_make(K.newroot, m));
    }
  }
  int proc = (int)SYS(__NR_openat, AT_FDCWD_, "/proc", O_PATH | O_CLOEXEC); /* the outer one, about to go */
  K.user_namespaces = user_namespaces_forbid(proc);
  TRY(STEP_PIVOT, 0, SYS(__NR_fchdir, K.newroot));
  TRY(STEP_PIVOT, 1, SYS(__NR_pivot_root, ".", "."));
  TRY(STEP_PIVOT, 2, SYS(__NR_umount2, ".", 2 /* MNT_DETACH */));
  TRY(STEP_PIVOT, 3, SYS(__NR_chdir, "/"));
  TRY(STEP_ROOT_RO, 0, SYS(__NR_mount_setattr, K.newroot, "", AT_EMPTY_PATH_, &read_only, sizeof read_only));
  if (p->hostname != PJ_NONE)
    TRY(STEP_HOSTNAME, 0, SYS(__NR_sethostname, plan_str(p->hostname), str_len(plan_str(p->hostname))));
  TRY(STEP_CAPS, 0, exec_rights_drop());
  K.mountinfo = (int)SYS(__NR_openat, proc, "self/mountinfo", O_RDONLY | O_CLOEXEC);
  /* No key of the caller's is there; where the filter refuses the calls, one empty keyring does for all runs. */
  rc = keyring_new();
  if (rc < 0) return fail(STEP_KEYRING, 0, rc);
  namespaces_note(proc, (p->unshare_first | p->unshare_second));
  if ((p->unshare_first | p->unshare_second) &
      CLONE_NEWNET) /* else it is the caller's, and each run has one of its own */
    K.sockets = (int)SYS(__NR_openat, proc, "self/net/unix", O_RDONLY | O_CLOEXEC);
  K.last_pid = (int)SYS(__NR_openat, proc, "sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
  sys_close(proc);
  return proc_mount();
}

#include "leaf.c"
#include "tmpfs.c"
#include "program.c"
#include "files.c"
#include "arm.c"
#include "run.c"
#include "loop.c"
