/* The keeper: prepares a template of a jail once, then starts runs from it, one at a time, or in a box several.
 *
 * Static, freestanding, exec'd from a sealed memfd with nothing but these fds. One translation unit
 * (it includes the other .c files but spawn.c), so that no symbol can come from elsewhere. */
#define PYJAIL_FREESTANDING
#include "check.c"

enum { FD_CONTROL, FD_EMBEDDER /* pidfd */, FD_PLAN, FD_OUT, FD_ERR, FD_REQUEST, FD_CGROUP };
#define MAX_CGROUP_ROWS 64
#define LIMITS_MAX 65536
#define BASE_SIZE 2048 /* of a text that counts up: io.stat of twenty disks */
#define RLIMITS 16     /* of setrlimit(2) */
#define NAME_SIZE 32   /* of a namespace: cgroup:[NUMBER] */
#define NET_SIZE 32768 /* of all that is counted in a network namespace */
#define NS_PER_MS 1000000ull
#define WATCH_NS (50 * NS_PER_MS)    /* how often a CGROUP_WATCH row is looked at */
#define START_NS (10000 * NS_PER_MS) /* from the go to execve, on the busiest machine */
#define LEFT_NS (8000 * NS_PER_MS)   /* from a kill until we give up: a process may be in a file system that hangs, */
#define CROWDED_NS (4 * LEFT_NS)     /* or in a box whose memory is used up, where all others look for some, too */
#define TOLD_AT_ONCE 64              /* calls that the filter lets go on, and children; then we look once in each ms */
#define BACK_NS (300 * 1000ull)      /* from a report until its caller may be back with the next request */
#define PUMP_WORTH 4096 /* after fewer bytes a stream rests for 1 ms: a wake-up for each byte would cost us */

/* Shared with the program's process until execve replaces its memory. */
struct page {
  struct pj_facts facts;
  char text[PJ_TEXT_SIZE];
};

struct leaf { /* of each cgroup hierarchy: for one run, and for the next as long as it is as good as new */
  int dir[PJ_MAX_CGROUPS], tasks[PJ_MAX_CGROUPS], row[MAX_CGROUP_ROWS];
  int namespace; /* cgroup namespace with it as its root */
  char namespace_name[NAME_SIZE];
  int event; /* eventfd: somebody in it has met its memory limit; -1 = the file is looked at instead */
  uint64_t number[PJ_MAX_CGROUPS], gone[PJ_MAX_CGROUPS];
  uint32_t stale, fresh; /* bits: hierarchies in which the next run needs another one; has a new one */
  uint32_t set_len;      /* records of what was set and read back */
  uint64_t clock_base;   /* ns on its clock at the end of the last run */
  char set[4096];
  char base[MAX_CGROUP_ROWS][BASE_SIZE]; /* texts at the end of the last run */
};

struct tmpfs {
  int fd, spare;  /* mounted; to be mounted again */
  uint64_t inode; /* the number that its next file will have */
  struct look {
    struct statfs space;
    struct statx root;
  } look;
};

struct fds {
  int fd[4];
  uint32_t count;
};

/* One run at a time: what is armed, what runs, what its files are held of. An ordinary jail has one slot. */
struct slot {
  /* fds, each -1 where there is none: */
  int control, out[2], ask; /* its socket; memfds of the outputs, and of long requests */
  int pipe[2][2];           /* of the run that is armed, running, or held for its files: [stream][read, write] */
  int go[2];        /* socketpair, as long as nothing is left in it: ours, and the one of the programs' processes */
  struct leaf leaf; /* its own are first, too */
  struct page *page;
  char *request;     /* PJ_MAX_BLOB bytes, shared with the program's process */
  uint32_t *started; /* for the embedder, should we die */
  int made;          /* something of a run is there */
  int program;       /* its number, until it is reaped */
  int touched;       /* the armed run's workspace is not empty any more */
  int shared;        /* a socket among the run's stdio: its fds may have left through it */
  int held;          /* its files are still asked for */
  int gone;          /* nobody is at the other end of its socket */
  uint64_t over;     /* when its run has ended that is still to be put away; 0 without one */
  struct watch {     /* of the run in progress; go_at is 0 without one */
    uint64_t go_at, tripped, cpu_at, memory_at, pause, quiet[2];
  } watch;
  uint32_t at;                         /* of its fds among those that are polled */
  _Alignas(8) char limits[LIMITS_MAX]; /* what the armed process was made for */
};
static struct slot first;

/* What a program has left behind on request, until nobody is left of it. */
struct kept {
  uint64_t number[PJ_MAX_CGROUPS]; /* of its leaf; the first is 0 without one */
  int pipe[2];                     /* drained: who writes to what nobody reads gets SIGPIPE */
};

static _Alignas(4096) struct keeper {
  /* fds, each -1 where there is none: */
  int newroot, box, mountinfo;
  int upper;         /* what has been written of the root */
  int owners;        /* user namespace by whose maps a mount shows them */
  int proc;          /* the procfs of our pid namespace */
  int last_pid;      /* ns_last_pid of it */
  int children;      /* signalfd of SIGCHLD */
  int listener;      /* seccomp notifications */
  int sockets, unix; /* /proc/net/sockstat and unix of our network namespace */
  int ruleset;       /* Landlock, for all runs with these tmpfs */
  int spare;         /* a box: to be given up when there is no other fd, and somebody is to be killed */
  const struct pj_plan *plan;
  struct slot *turn;               /* whose it is: a program's process keeps its copy, or is the only one */
  struct slot *slot[PJ_MAX_SLOTS]; /* NULL where there is none; `first` is there from the start */
  uint32_t slots;                  /* from here on all are NULL */
  struct fds got;                  /* with the last message */
  uint64_t sequence;
  uint32_t keeps;        /* from here on all are empty */
  uint64_t quiet[3];     /* until when children, the filter's calls, and what the kept ones write, are let wait: */
  uint32_t reaped, told; /* how many there were since a run began */
  int tend;              /* somebody whose leaf was kept may have ended, */
  uint64_t tend_at;      /* which is looked at no earlier */
  long user_namespaces;  /* 0 or -errno of forbidding more of them */
  uint32_t ipc_used, net_used; /* by the last run, for all we know */
  char ipc_name[NAME_SIZE], net_name[NAME_SIZE];
  uint64_t net_sockets;         /* that there were before it */
  uint64_t net_len;             /* bytes of what else could be read of its network namespace; 0: unknown */
  int more;                     /* children may be waiting to be reaped */
  uint32_t run_box;             /* which tmpfs is the workspace, */
  uint32_t box_row;             /* or which row of the plan, in a session */
  uint64_t go_tick;             /* CLOCK_REALTIME_COARSE when the run started */
  uint64_t rlimits[RLIMITS][2]; /* our own */
  /* What is written seldom is last: each page written to between two forks is copied. */
  char net[NET_SIZE]; /* what could be read of one that was new */
  struct tmpfs tmpfs[PJ_MAX_TMPFS];
  struct kept kept[PJ_MAX_KEPT];
} K;
#define S K.turn

/* A box: programs beside each other in the same namespaces, each in a slot and a leaf of its own. */
static int boxed(void) { return (K.plan->flags & PLAN_SLOTS) != 0; }
#define EACH_SLOT                           \
  for (uint32_t i_ = 0; i_ < K.slots; i_++) \
    if (K.slot[i_] && (S = K.slot[i_]))

enum { WAKE_CHILDREN, WAKE_LISTENER, WAKE_SLOTS };
/* For the keeper alone. A program's process that gets memory of its own gets no copy of this (MADV_DONTFORK): each page
 * that the keeper writes to would have to be copied anew after every fork. */
static _Alignas(4096) struct {
  struct pollfd wake[WAKE_SLOTS + 4 * PJ_MAX_SLOTS + 2 * PJ_MAX_KEPT];
  struct { /* the last message */
    struct pj_message m;
    char body[PJ_MAX_INLINE]; /* a path, a name, or a request, */
    char end;                 /* and always a NUL */
  } in;
  uint32_t kept_at; /* where those of the kept ones begin among `wake` */
  char name[24];    /* of a leaf */
  char scratch[65536];
  char pad[4096]; /* the last page may be shared with others */
} own;

static const char *plan_str(uint32_t ref) { return (const char *)K.plan + ref; }
static const struct pj_limits *limits(void) { return (const struct pj_limits *)(const void *)S->limits; }
static const char *limits_str(uint32_t ref) { return S->limits + ref; }
static const struct pj_request *request(void) {
  return (const struct pj_request *)(const void *)(S->request + ((limits()->size + 7) & ~7u));
}

static struct pj_error error_of(enum pj_step step, uint32_t index, long rc) {
  return rc < 0 ? (struct pj_error){step, index, (int32_t)-rc} : (struct pj_error){0};
}
/* The one way to note a failure: first one wins, and it is what Python reads. */
static long fail(enum pj_step step, uint32_t index, long rc) {
  struct pj_error *e = &S->page->facts.reply.error;
  if (!e->step) *e = error_of(step, index, rc);
  return -1;
}
#define TRY(step, index, call)                      \
  do {                                              \
    long rc_ = (call);                              \
    if (rc_ < 0) return fail((step), (index), rc_); \
  } while (0)

/* Append a record of raw kernel text to the report: from fd, or from `data` when fd < 0. HOSTILE: numbers in it. */
static const struct pj_text *text_add(enum pj_text_kind kind, uint32_t index, int fd, const void *data, uint32_t len) {
  struct pj_facts *f = &S->page->facts;
  if (f->text_len + sizeof(struct pj_text) + 8 > PJ_TEXT_SIZE) return NULL;
  struct pj_text *t = (struct pj_text *)(void *)(S->page->text + f->text_len);
  const uint32_t room = PJ_TEXT_SIZE - f->text_len - (uint32_t)sizeof *t - 8;
  long n = len < room ? len : room;
  if (fd < 0)
    memcpy(t + 1, data, (size_t)n);
  else if ((n = SYS(__NR_pread64, fd, t + 1, room < 4096 ? room : 4096, 0)) == 4096 || n == (long)room)
    n = -EFBIG; /* cut, it would tell something else */
  *t = (struct pj_text){kind, index, n < 0 ? (int32_t)-n : 0, n < 0 ? 0 : (uint32_t)n};
  f->text_len += (uint32_t)sizeof *t + ((t->len + 7) & ~7u);
  return t;
}

static const struct pj_text *text_find(enum pj_text_kind kind, uint32_t index) {
  for (uint32_t at = 0; at < S->page->facts.text_len;) {
    const struct pj_text *t = (const struct pj_text *)(const void *)(S->page->text + at);
    if (t->kind == kind && t->index == index) return t;
    at += (uint32_t)sizeof *t + ((t->len + 7) & ~7u);
  }
  return NULL;
}

/* The text of a record, for later ones. */
static int text_keep(enum pj_text_kind kind, uint32_t index, char name[NAME_SIZE]) {
  const struct pj_text *t = text_find(kind, index);
  if (!t || t->len >= NAME_SIZE) return 0;
  memcpy(name, t + 1, t->len);
  name[t->len] = 0;
  return 1;
}

enum { NS_IPC = 3, NS_NET = 4, NS_CGROUP = 6 }; /* in these rows */
/* The namespaces of these kinds that we are in: the keeper's are its runs', too. */
static void namespaces_note(int proc, uint64_t kinds) {
  static const char *const name[] = {"self/ns/user", "self/ns/mnt", "self/ns/pid",   "self/ns/ipc",
                                     "self/ns/net",  "self/ns/uts", "self/ns/cgroup"};
  static const uint64_t kind[] = {CLONE_NEWUSER, CLONE_NEWNS,  CLONE_NEWPID,   CLONE_NEWIPC,
                                  CLONE_NEWNET,  CLONE_NEWUTS, CLONE_NEWCGROUP};
  for (uint32_t i = 0; i < sizeof kind / sizeof *kind; i++) {
    char link[64];
    long n = kinds & kind[i] ? SYS(__NR_readlinkat, proc, name[i], link, sizeof link) : 0;
    if (n > 0) text_add(TEXT_NS, i, -1, link, (uint32_t)n);
  }
}

/* As everybody: no real time, no priority over others. */
static void sched_plain(uint64_t flags, uint64_t slice) {
  const int32_t priority = (int32_t)SYS(__NR_getpriority, 0, 0); /* the raw result is 20 - nice */
  struct sched_attr plain = {.size = SCHED_ATTR_SIZE_VER0, .sched_flags = flags, .sched_runtime = slice};
  plain.sched_nice = priority > 20 ? 0 : 20 - priority;
  SYS(__NR_sched_setattr, 0, &plain, 0);
}

/* ---- messages ---- */

static void run_stop(void), keeper_exit(void) __attribute__((noreturn));
static void limits_look(void), run_end(void);
static int children_reap(void);

/* Send one message of up to two parts, with up to four fds. */
static long message_send(int sock, struct iovec *iov, size_t parts, const int *fds, uint32_t nfds) {
  struct k_cmsg c = {.len = 16 + 4 * nfds, .level = K_SOL_SOCKET, .type = K_SCM_RIGHTS};
  struct k_msghdr m = {.iov = iov, .iovlen = parts};
  if (nfds) {
    memcpy(c.fd, fds, 4 * nfds);
    m.control = &c;
    m.controllen = 16 + ((4 * nfds + 7) & ~7u);
  }
  return SYS(__NR_sendmsg, sock, &m, K_MSG_NOSIGNAL);
}
static void reply_with(enum pj_reply_kind kind, struct pj_error error, int fd) {
  struct pj_reply r = {kind, own.in.m.number, error};
  struct iovec iov[2] = {{&r, sizeof r}, {S->page->text, kind == REPLY_READY ? S->page->facts.text_len : 0}};
  long rc = message_send(S->control, iov, 2, &fd, fd >= 0);
  if (rc < 0 && fd >= 0) { /* ETOOMANYREFS: a program may have used up its user's share of fds in flight */
    if (kind != REPLY_READY && !r.error.step) r.error = error_of(kind == REPLY_MAPS ? STEP_INIT : STEP_OPEN, 0, rc);
    rc = message_send(S->control, iov, 1, NULL, 0);
  }
  if (rc < 0 && S == &first) keeper_exit();
}

static void fds_close(struct fds *got) {
  for (uint32_t i = 0; i < got->count; i++) sys_close(got->fd[i]);
  got->count = 0;
}

/* Receive one message from `sock`, its fds into *got: its length, 0 when the peer is gone, -EMFILE when its fds are
 * lost, or -errno. */
static long message_receive(int sock, void *buf, size_t len, int flags, struct fds *got) {
  struct iovec iov = {buf, len};
  struct k_cmsg c = {0};
  struct k_msghdr m = {.iov = &iov, .iovlen = 1, .control = &c, .controllen = sizeof c};
  long n;
  do n = SYS(__NR_recvmsg, sock, &m, K_MSG_CMSG_CLOEXEC | flags);
  while (n == -EINTR);
  got->count = 0;
  if (n > 0 && m.controllen >= 20 && c.level == K_SOL_SOCKET && c.type == K_SCM_RIGHTS)
    for (size_t i = 0; i < 4 && 16 + 4 * (i + 1) <= c.len; i++) got->fd[got->count++] = c.fd[i];
  if (n > 0 && m.flags & K_MSG_CTRUNC) { /* no room for its fds: without them the message means something else */
    fds_close(got);
    n = -EMFILE;
  }
  return n;
}

static long in_receive(int flags) {
  return message_receive(S->control, &own.in, offsetof(__typeof__(own.in), end), flags, &K.got);
}

/* ---- filesystems ---- */

/* No path of ours leaves its root or follows a symlink that somebody put there. */
static const uint64_t BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

/* A new detached filesystem; options are key NUL value NUL pairs, an empty value = a flag. */
static long fs_make(const char *base, const struct pj_mount *m) {
  long ctx = SYS(__NR_fsopen, base + m->source, FSOPEN_CLOEXEC);
  if (ctx < 0) return ctx;
  long rc = 0;
  for (const char *key = base + m->data, *end = key + m->data_len; rc >= 0 && key < end;) {
    const char *value = key + str_len(key) + 1;
    if (value >= end) break;
    rc = SYS(__NR_fsconfig, ctx, *value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, *value ? value : NULL, 0);
    key = value + str_len(value) + 1;
  }
  if (rc >= 0) rc = SYS(__NR_fsconfig, ctx, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
  if (rc >= 0) rc = SYS(__NR_fsmount, ctx, FSMOUNT_CLOEXEC, m->attr);
  sys_close((int)ctx);
  return rc;
}

static long mount_clone(int fd, int recursive) {
  return SYS(__NR_open_tree, fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | recursive);
}

/* Put the detached mount `fd` on `path` below `root`, which no symlink on the way may redirect. HOSTILE: the way. */
static long mount_attach(int fd, int root, const char *path) {
  long at = sys_open_beneath(root, *path ? path : ".", O_PATH | O_NOFOLLOW, 0, BENEATH);
  long rc = at < 0 ? at : SYS(__NR_move_mount, fd, "", at, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
  sys_close((int)at);
  return rc;
}

/* Split path into an fd of its parent, which must be there, and *name. HOSTILE: the tree. */
static long parent_open(int root, const char *path, const char **name, uint64_t resolve) {
  char dir[PJ_PATH_MAX];
  size_t slash = str_len(path);
  if (slash >= sizeof dir) return -ENAMETOOLONG;
  while (slash && path[slash - 1] != '/') slash--;
  memcpy(dir, path, slash);
  dir[slash] = 0;
  *name = path + slash;
  return sys_open_beneath(root, slash ? dir : ".", O_PATH | O_DIRECTORY, 0, resolve);
}

static long file_write(int dir, const char *name, int flags, uint64_t mode, const void *data, size_t len) {
  long fd = SYS(__NR_openat, dir, name, O_WRONLY | O_CLOEXEC | flags, mode);
  long rc = fd < 0 ? fd : SYS(__NR_write, fd, data, len);
  sys_close((int)fd);
  return rc < 0 ? rc : rc == (long)len ? 0 : -ENOSPC;
}

/* MOUNT_DIR, MOUNT_FILE, MOUNT_LINK, MOUNT_PIPE: something that we make in a tmpfs of ours. */
static long entry_make(int root, const struct pj_mount *m) {
  const char *name;
  long dir = parent_open(root, plan_str(m->target), &name, BENEATH), rc;
  if (dir < 0) return dir;
  if (m->kind == MOUNT_DIR) {
    rc = SYS(__NR_mkdirat, dir, name, m->attr);
    if (rc == -EEXIST) rc = 0;
    if (rc == 0 && m->flags & MOUNT_IS_OWN)
      rc = SYS(__NR_fchownat, dir, name, K.plan->uid, K.plan->gid, AT_SYMLINK_NOFOLLOW);
  } else if (m->kind == MOUNT_LINK) {
    rc = SYS(__NR_symlinkat, plan_str(m->data), dir, name);
  } else if (m->kind == MOUNT_PIPE) {
    SYS(__NR_umask, 0);
    rc = SYS(__NR_mknodat, dir, name, S_IFIFO | m->attr, 0);
    SYS(__NR_umask, 022);
  } else {
    rc = file_write((int)dir, name, O_CREAT | O_EXCL | O_NOFOLLOW, m->attr, plan_str(m->data), m->data_len);
  }
  sys_close((int)dir);
  return rc;
}

#include "janitor.c"
#include "program.c"
#include "template.c"
#include "leaf.c"
#include "tmpfs.c"
#include "arm.c"
#include "slots.c"
#include "files.c"
#include "run.c"
#include "loop.c"
