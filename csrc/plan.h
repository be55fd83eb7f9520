/* The wire format between Python and the keeper, and the one list of step names.
 *
 * This file is read twice: by the C compiler and, with its include guard stripped,
 * by cffi as a cdef. Plain declarations only. All blobs are flat and pointer-free:
 * a "ref" is a u32 offset into its own blob, and the last byte of every blob is NUL,
 * so any ref below the blob's size names a terminated string (check.c asserts both). */
#ifndef PYJAIL_PLAN_H
#define PYJAIL_PLAN_H
#include <stdint.h>

#define PJ_VERSION 1
#define PJ_PLAN_MAGIC 0x4e4c504a
#define PJ_LIMITS_MAGIC 0x4d494c4a
#define PJ_REQUEST_MAGIC 0x5145524a
/* First in the request memfd, from before the go: this, the run's number, its leaf's, 0 after a report unless it is
 * kept. Before that a long request is there. */
#define PJ_STARTED_MAGIC 0x4f474f47
#define PJ_NONE 0xffffffff

#define PJ_MAX_BLOB 16777216 /* a request of this many bytes or fewer */
#define PJ_MAX_ROWS 4096     /* rows of one table, argv and env apart */
#define PJ_MAX_CGROUPS 8
#define PJ_MAX_TMPFS 8
#define PJ_MAX_SLOTS 257   /* of a box: its own one, and those of programs that run or are armed */
#define PJ_MAX_KEPT 1024   /* programs of a box that have left somebody behind */
#define PJ_TEXT_SIZE 24576 /* raw kernel text carried by one report */
#define PJ_PATH_MAX 4096
#define PJ_WHOLE 65536      /* for a copy of all there is: whatever its modes say */
#define PJ_UPPER 131072     /* in what has been written of the root, not in the workspace */
#define PJ_MAX_INLINE 32768 /* bytes of a request that come with its message; a longer one is in the memfd */

/* Every step that can fail, in the order in which they happen. An error is {step, index of the row, errno}. */
/* clang-format off */
enum pj_step {
  STEP_NONE,
  /* host */ STEP_CLONE, STEP_KEEPER_EXEC,
  /* template */ STEP_PLAN, STEP_PRIVATE, STEP_IDMAP, STEP_SOURCE, STEP_GROUPS, STEP_NAMESPACES, STEP_WAIT_GO, STEP_NODUMP,
  STEP_KEEPER_IDS, STEP_INIT, STEP_NEWROOT, STEP_MOUNT, STEP_PIVOT, STEP_ROOT_RO, STEP_HOSTNAME, STEP_PROC, STEP_SECCOMP,
  /* run, in the keeper */ STEP_REQUEST, STEP_ARM, STEP_CGROUP, STEP_RUN_NAMESPACES, STEP_NET_LO, STEP_PORT, STEP_TMPFS,
  STEP_RUN_MOUNT, STEP_FORK,
  /* program, before the go */ STEP_CGROUP_ENTER, STEP_CGROUP_NS, STEP_SESSION, STEP_KEYRING, STEP_SAME,
  STEP_GID, STEP_UID, STEP_STDIO, STEP_SCHED, STEP_CAPS, STEP_NO_NEW_PRIVS, STEP_LANDLOCK, STEP_CLOSE_REST,
  /* program, after the go */ STEP_FD, STEP_CWD, STEP_RLIMIT, STEP_EXEC,
  /* file requests */ STEP_OPEN,
  STEP_COUNT
};

enum pj_text_kind { /* of records of the text area */
  TEXT_BASE, TEXT_SET, TEXT_READ, TEXT_STATUS, TEXT_RLIMIT, TEXT_NS, TEXT_SAME, TEXT_CLOCKS, TEXT_CAPS
};
/* clang-format on */

/* Which limit the keeper itself enforced first. */
enum pj_trip { TRIP_NONE, TRIP_CPU, TRIP_WALL, TRIP_OUTPUT, TRIP_MEMORY, TRIP_SECURITY, TRIP_CALLER };

struct pj_error {
  uint32_t step, index;
  int32_t err;
};

struct pj_table {
  uint32_t off, count;
};

/* ---- the plan: one per keeper ---- */

enum pj_mount_kind {
  MOUNT_FS,     /* a new filesystem: source = type, data = options */
  MOUNT_BIND,   /* clone the mount at source (opened once, by path, without symlinks), put it on target */
  MOUNT_DIR,    /* make a directory, mode = attr */
  MOUNT_FILE,   /* make a file with data as content, mode = attr */
  MOUNT_LINK,   /* make a symlink to data */
  MOUNT_PIPE,   /* make a named pipe, mode = attr */
  MOUNT_REBIND, /* run part: put the template's mount at source over a run's tmpfs again */
  MOUNT_PART,   /* the program's directory `source` in the workspace, made with mode = attr, on target */
  MOUNT_KINDS
};

enum pj_mount_flag {
  MOUNT_IS_DIR = 1,  /* BIND: the source must be a directory; without: must not be */
  MOUNT_IS_BOX = 2,  /* FS: this is the workspace; FS or PART, the last one: file requests go there */
  MOUNT_IS_ROOT = 4, /* FS: the root from here on, made of what is below the one before: target = its upper directory */
  MOUNT_IS_OWN = 8   /* DIR: the program's */
};

struct pj_mount {
  uint32_t kind;
  uint32_t flags;
  uint64_t attr;   /* MOUNT_ATTR_* to set, or a mode */
  uint32_t source; /* ref */
  uint32_t target; /* ref; relative to the new root, no leading slash */
  uint32_t data;   /* ref, with NULs; FS: key, value, key...; BIND: none, or uid_map, gid_map to show its owners by */
  uint32_t data_len;
};

struct pj_landlock_rule {
  uint32_t path, pad; /* ref, inside the jail; with its leading slash */
  uint64_t access;
};

enum pj_plan_flag {
  PLAN_KEYRING = 1,   /* a session keyring for every run: its filter lets it use keys */
  PLAN_SAME = 2,      /* the same addresses in every run */
  PLAN_CLOCKS = 4,    /* a time namespace for every run */
  PLAN_SPLICE = 8,    /* the filter, if any, lets splice(2) through, whatever its arguments */
  PLAN_IPC_TOLD = 16, /* shmget, semget, msgget and mq_open notify, and go on: then the ipc namespace is used */
  PLAN_IPC_KEPT = 32, /* who makes nothing in it is told, or nobody can: unused, it serves the next run */
  PLAN_SLOTS = 64,    /* a box: several runs at once, each in a slot, in the same namespaces */
  PLAN_LO = 128       /* lo is up in them */
};

struct pj_plan {
  uint32_t magic, version, size, flags;
  uint64_t unshare_first;          /* before sources are opened */
  uint64_t unshare_second;         /* after */
  uint64_t run_unshare;            /* what every run has of its own, beside a cgroup namespace; lo is up in it */
  uint32_t uid, gid;               /* the program's, inside */
  uint32_t keeper_uid, keeper_gid; /* the same with a single mapping */
  uint32_t hostname;               /* ref or PJ_NONE */
  uint32_t cgroups;     /* hierarchies; the embedder's directories start at FD_CGROUP, the keeper's own are below */
  uint32_t into;        /* the hierarchy entered by CLONE_INTO_CGROUP, or PJ_NONE; others by their "tasks" file */
  uint32_t port;        /* of 127.0.0.1, to listen on where lo is up: OP_PORT; 0 = none */
  struct pj_mount proc; /* FS: of the keeper's pid namespace; without a target the jail has none */
  uint64_t landlock_fs, landlock_net, landlock_scoped; /* all 0: no Landlock here */
  struct pj_table mounts;                              /* struct pj_mount: the template's root */
  struct pj_table run_mounts; /* struct pj_mount: DIR, FILE and REBIND rows below the run's tmpfs */
  struct pj_table landlock;   /* struct pj_landlock_rule */
  struct pj_table seccomp; /* struct sock_filter, 8 bytes each: what it refuses, it tells, and everything is killed */
};

/* ---- the limits blob: first part of a request; the same bytes = the armed process fits ---- */

/* A leaf serves another run when it is as good as a new one: no number in a text read at the end of a run is above
 * its row's `most`. What only counts up (`base`) is then reported with what it was before. */
struct pj_cgroup_row {
  uint32_t hierarchy;
  uint32_t file;  /* ref */
  uint32_t value; /* ref; PJ_NONE = only read */
  uint32_t when;  /* enum pj_cgroup_when */
  uint64_t most;
  uint32_t renew; /* ref; written before another run; PJ_NONE = nothing */
  uint32_t base;
};

enum pj_cgroup_when {
  CGROUP_SET,   /* write before the start, read back at once */
  CGROUP_READ,  /* read when all processes are dead */
  CGROUP_WATCH, /* poll during the run; a changed text = TRIP_MEMORY (v1 has no memory.oom.group) */
  CGROUP_CLOCK, /* cpu.stat's usage_usec or cpuacct.usage: the CPU clock */
  CGROUP_STOP,  /* write when what is in the leaf is to end, so that no fork gets away (pids.max) */
  CGROUP_COUNT, /* how many are in the leaf (pids.current): 0 and it is empty */
  CGROUP_WHENS
};

struct pj_rlimit { /* soft ~0: the keeper's own stays, and is read back */
  uint32_t resource, pad;
  uint64_t soft, hard;
};

/* ROOMY: until execve nothing comes near the memory limit, so the program's process shares the keeper's memory. When
 * one of them is the OOM killer's victim, so is the other. */
enum pj_limits_flag { LIMITS_ROOMY = 1 };

struct pj_limits {
  uint32_t magic, version, size, affinity_len;
  uint32_t affinity;  /* ref to a CPU mask of affinity_len bytes; 0 bytes = untouched */
  uint32_t read_only; /* ref to a mount that this run only reads, below the root; PJ_NONE = none */
  uint32_t flags, pad;
  struct pj_table cgroup;  /* struct pj_cgroup_row */
  struct pj_table tmpfs;   /* struct pj_mount, all FS */
  struct pj_table rlimits; /* struct pj_rlimit */
};

/* ---- the request blob: second part ---- */

enum pj_stdio { STDIO_NULL, STDIO_PIPE, STDIO_FD, STDIO_STDOUT };

enum pj_request_flag {
  REQUEST_REARM = 1, /* arm the next run when this one is over */
  REQUEST_HOLD = 2,  /* keep the workspace for file requests until OP_RELEASE */
  REQUEST_CTTY = 4,  /* stdin is to be the controlling terminal */
  REQUEST_KEEP = 8   /* in a box: what the program leaves behind lives on */
};

struct pj_request {
  uint32_t magic, version, size, flags;
  uint64_t cpu_ns;  /* 0 = no limit */
  uint64_t wall_ns; /* 0 = no limit */
  uint64_t output;  /* bytes kept of each captured stream; UINT64_MAX = all */
  uint32_t cpus;    /* CPUs that can be busy at once: the earliest instant the CPU limit can pass */
  uint32_t cwd;     /* ref */
  uint32_t stdio[3], pad;
  struct pj_table argv; /* u64 refs, and a 0 behind the last, as all three: they become pointers where they are */
  struct pj_table env;
  struct pj_table path; /* what execve is tried with, in order */
};

/* ---- messages: one seqpacket each ---- */

enum pj_op {
  OP_PLAN, /* the plan's memfd is written; the cgroup directory to be born in follows */
  OP_GO,   /* id maps are written, cgroups of the name that follows made: go on with the template */
  OP_ARM,  /* a request of `len` bytes, here or in the request memfd: prepare its jail, start nothing */
  OP_RUN,  /* the same, and start; up to three fds attached */
  OP_KILL, /* end the run now */
  OP_OPEN, /* open `path` in the workspace to read, as the jail's user; fd comes back */
  OP_MKDIR,
  OP_PUT,    /* make the file `path` in the workspace from the fd attached; flags 1: a symlink to what it holds */
  OP_REMOVE, /* the file `path` in the workspace; flags 1: the directory */
  OP_PIPE,   /* open the named pipe `path` of the root, flags 1: to write; fd comes back. Before the program is there */
  OP_RESET,  /* empty a session's workspace */
  OP_SIGNAL, /* send the program signal number `flags`; no answer */
  OP_RELEASE, /* done with the workspace of a held run */
  OP_TIDY,    /* to the janitor: a cgroup directory to remove when we have ended, with what is below it */
  OP_SLOT,    /* a box: one more, with these fds: its socket, memfds of stdout, stderr and long requests */
  OP_PORT,    /* listen in the network namespace of the armed run, or of the box; fd comes back */
  OP_COUNT
};

struct pj_message {
  uint32_t op, number; /* comes back in the reply: who was interrupted takes no answer for another one */
  uint32_t flags;      /* OP_OPEN: open(2) flags */
  uint32_t mode;       /* OP_MKDIR, OP_PUT; PJ_WHOLE in any request for a file, PJ_UPPER in OP_OPEN */
  uint32_t len; /* OP_ARM, OP_RUN: bytes of the request; OP_OPEN, OP_MKDIR, OP_PUT: bytes of path, NUL included */
};

enum pj_reply_kind { REPLY_MAPS, REPLY_READY, REPLY_OK, REPLY_REFUSED /* OP_RUN */, REPLY_REPORT };

struct pj_reply {
  uint32_t kind, number; /* of the message that it answers */
  struct pj_error error;
};

/* What the keeper knows of a finished run. Times: CLOCK_MONOTONIC ns. */
struct pj_facts {
  struct pj_reply reply;
  int32_t status;           /* wait status of the program */
  uint32_t executing;       /* all is set: what comes now is execve's */
  uint32_t trip, was_armed; /* enum pj_trip; who ran was armed before the request */
  uint32_t text_len, tmpfs_count;
  uint32_t left;         /* somebody cannot be killed: the keeper waits no longer, and ends when that ends */
  int32_t syscall;       /* with TRIP_SECURITY: its number, */
  uint32_t arch;         /* and AUDIT_ARCH_* */
  uint32_t reads_at;     /* offset in the text area of the first TEXT_READ record: all before it is for the receipt */
  uint32_t plain;        /* all of the leaf's files could be read, and none that counts what went wrong has a count */
  uint32_t network, pad; /* it may have used a network namespace of its own: the next run has another one */
  uint64_t requested, started, ended, reported;
  uint64_t exec_cpu; /* ns the program's process had used when it called execve */
  uint64_t cpu;      /* ns on the leaf's clock since then; UINT64_MAX without one */
  uint64_t out_total[2], out_kept[2];
  uint64_t used[18], used_before[18]; /* struct rusage of all that were reaped, after this run and before it */
  uint64_t image;                     /* bytes of the program's PT_LOAD segments, read just before execve */
  uint64_t space[8][15];              /* struct statfs of each tmpfs */
};

/* TEXT_STATUS: what the kernel says of the program's process when all is set. */
struct pj_status {
  uint32_t uid[3], gid[3]; /* real, effective, saved */
  uint32_t caps[6];        /* as capget(2) */
  int32_t groups, no_new_privs, seccomp, pid;
};

/* The text area is a row of records: this header, then `len` bytes. */
struct pj_text {
  uint32_t kind, index;
  int32_t err; /* 0, or why it could not be read */
  uint32_t len;
};
#endif
