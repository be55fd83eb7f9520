/* All that decides what a program starts with. The order of the calls is that in which it happens: privileges only
 * ever shrink. First what its process has from the keeper, which takes it on itself, once; then the process's own last
 * steps before execve: program_arm() does all that does not depend on the request, then it waits for the go;
 * program_start() does fds, cwd, exec. */

/* The filter of the programs, on the keeper: they inherit it. To install it for each costs more than to execute one.
 * Where it says PASS (_policy/bpf.py), it gets ours. Its notify actions are evidence of what was refused. */
static long filter_install(void) {
  const struct pj_table t = K.plan->seccomp;
  struct sock_filter *row = (struct sock_filter *)(uintptr_t)ROW(K.plan, t, struct sock_filter, 0);
  struct sock_fprog prog = {(uint16_t)t.count, row};
  uint32_t halves[2], found = 0;
  long rc;
  if (!t.count) return 0;
  TRY(STEP_SECCOMP, 0, rc = SYS(__NR_getrandom, halves, sizeof halves, 0));
  for (uint32_t i = 0; i < t.count; i++)
    if (row[i].code == (BPF_ALU | BPF_XOR | BPF_K) && found < 2) row[i].k = halves[found++];
  if (rc != sizeof halves || found != 2) return fail(STEP_SECCOMP, 1, -EINVAL);
  TRY(STEP_SECCOMP, 2, rc = SYS(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog));
  K.listener = (int)rc;
  pass = (long)((uint64_t)halves[1] << 32 | halves[0]);
  return 0;
}

/* The keeper never execs again, so what execve could give is thrown away once, here, for every run. */
static long exec_rights_drop(void) {
  long rc = 0;
  for (long cap = 0; cap < 64 && rc >= 0; cap++) rc = SYS(__NR_prctl, PR_CAPBSET_DROP, cap, 0, 0, 0);
  if (rc >= 0 || rc == -EINVAL /* past the kernel's last capability */)
    rc = SYS(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (rc < 0 && rc != -EINVAL) return rc;
  /* NOROOT, NO_SETUID_FIXUP, KEEP_CAPS off, NO_CAP_AMBIENT_RAISE; all locked */
  return SYS(__NR_prctl, PR_SET_SECUREBITS, 0xef, 0, 0, 0);
}

static long keyring_new(void) {
  long rc = SYS(__NR_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL, 0, 0, 0);
  return rc == -ENOSYS || rc == -EPERM ? 0 : rc; /* not there, or not for us at all */
}

/* ---- in the program's process, before the go ---- */

enum { FD_GO = 3, FD_CLOCKS };

/* What this run may only read, in a mount namespace of its own: the keeper's is the other runs', too. */
static long read_only_set(void) {
  struct mount_attr ro = {.attr_set = MOUNT_ATTR_RDONLY};
  long fd;
  if (limits()->read_only == PJ_NONE) return 0;
  TRY(STEP_RUN_MOUNT, PJ_NONE, SYS(__NR_unshare, CLONE_NEWNS));
  const char *path = limits_str(limits()->read_only);
  TRY(STEP_RUN_MOUNT, PJ_NONE, fd = sys_open_beneath(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0, BENEATH));
  TRY(STEP_RUN_MOUNT, PJ_NONE, SYS(__NR_mount_setattr, fd, "", AT_EMPTY_PATH, &ro, sizeof ro));
  sys_close((int)fd);
  namespaces_note(K.proc, CLONE_NEWNS);
  return 0;
}

/* The leaf, and the cgroup namespace whose root it is: the first process in it makes that, the keeper gets it. */
static long cgroup_enter(void) {
  for (uint32_t h = 0; h < K.plan->cgroups; h++) /* "0" = the writing thread itself: no grace period (docs/adr/0001) */
    if (h != K.plan->into) TRY(STEP_CGROUP_ENTER, h, SYS(__NR_write, S->leaf.tasks[h], "0", 1));
  if (S->leaf.namespace >= 0) {
    TRY(STEP_CGROUP_NS, 1, SYS(__NR_setns, S->leaf.namespace, CLONE_NEWCGROUP));
    text_add(TEXT_NS, NS_CGROUP, -1, S->leaf.namespace_name, (uint32_t)str_len(S->leaf.namespace_name));
    return 0;
  }
  TRY(STEP_CGROUP_NS, 0, SYS(__NR_unshare, CLONE_NEWCGROUP));
  namespaces_note(K.proc, CLONE_NEWCGROUP);
  const int fd = (int)SYS(__NR_openat, K.proc, "self/ns/cgroup", O_RDONLY | O_CLOEXEC);
  if (fd >= 0) message_send(S->go[1], &(struct iovec){"n", 1}, 1, &fd, 1);
  sys_close(fd);
  return 0;
}

/* Two runs are to be equal: what the kernel says of it goes to the receipt. */
static long same_set(void) {
  char uts[6][65];
  long fd;
  if (K.plan->flags & PLAN_SAME) {
    TRY(STEP_SAME, 0, SYS(__NR_personality, ADDR_NO_RANDOMIZE));
    TRY(STEP_SAME, 1, SYS(__NR_uname, uts));
    text_add(TEXT_SAME, (uint32_t)SYS(__NR_personality, ~0u), -1, uts[1], (uint32_t)str_len(uts[1]));
  }
  if (K.plan->flags & PLAN_CLOCKS) { /* execve will enter them; their file is for those who may be looked at */
    TRY(STEP_SAME, 2, SYS(__NR_unshare, CLONE_NEWTIME));
    TRY(STEP_SAME, 5, SYS(__NR_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0));
    TRY(STEP_SAME, 3, fd = SYS(__NR_openat, K.proc, "self/timens_offsets", O_RDWR | O_CLOEXEC));
    TRY(STEP_SAME, 6, SYS(__NR_dup3, fd, FD_CLOCKS, O_CLOEXEC));
    SYS(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
  }
  return 0;
}

/* `late`: very few open files or little address space are for the program, not for what we do after the go. */
static long rlimits_set(int late) {
  const struct pj_limits *l = limits();
  EACH (struct pj_rlimit, r, l, l->rlimits) {
    uint64_t now[2] = {0, 0};
    const int few = r->resource == RLIMIT_NOFILE && r->soft < 64;
    if ((few || r->resource == RLIMIT_DATA || r->resource == RLIMIT_AS) != late) continue;
    if (r->soft != ~0ull) TRY(STEP_RLIMIT, NUMBER(r), SYS(__NR_prlimit64, 0, r->resource, &r->soft, NULL));
    TRY(STEP_RLIMIT, NUMBER(r), SYS(__NR_prlimit64, 0, r->resource, NULL, now));
    text_add(TEXT_RLIMIT, NUMBER(r), -1, now, sizeof now);
  }
  return 0;
}

static struct __user_cap_header_struct caps_head = {_LINUX_CAPABILITY_VERSION_3, 0 /* this process */};

/* Not from /proc/self/status: to make and forget its files for a new process takes as long as all else here. */
static void status_note(void) {
  struct pj_status s = {0};
  SYS(__NR_getresuid, &s.uid[0], &s.uid[1], &s.uid[2]);
  SYS(__NR_getresgid, &s.gid[0], &s.gid[1], &s.gid[2]);
  SYS(__NR_capget, &caps_head, s.caps);
  s.groups = (int32_t)SYS(__NR_getgroups, 0, NULL);
  s.no_new_privs = (int32_t)SYS(__NR_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
  s.seccomp = (int32_t)SYS(__NR_prctl, PR_GET_SECCOMP, 0, 0, 0, 0);
  s.pid = (int32_t)SYS(__NR_getpid);
  text_add(TEXT_STATUS, 0, -1, &s, sizeof s);
}

/* Everything that needs no request. What an armed process has seen: its template, nothing of any run. */
static long program_arm(void) {
  const struct pj_plan *p = K.plan;
  const struct pj_limits *l = limits();
  long null;
  if (read_only_set() < 0 || cgroup_enter() < 0) return -1;
  TRY(STEP_SESSION, 0, SYS(__NR_setsid));
  if (p->flags & PLAN_KEYRING) TRY(STEP_KEYRING, 0, keyring_new());
  if (same_set() < 0) return -1;
  TRY(STEP_GID, 0, SYS(__NR_setresgid, p->gid, p->gid, p->gid));
  TRY(STEP_UID, 0, SYS(__NR_setresuid, p->uid, p->uid, p->uid));
  TRY(STEP_UID, 1, SYS(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0)); /* with fs.suid_dumpable = 1 it is now */
  SYS(__NR_umask, 022);
  TRY(STEP_STDIO, 0, null = SYS(__NR_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC));
  TRY(STEP_STDIO, 1, SYS(__NR_dup3, S->pipe[0][1], 1, 0));
  TRY(STEP_STDIO, 2, SYS(__NR_dup3, S->pipe[1][1], 2, 0));
  TRY(STEP_STDIO, 3, SYS(__NR_dup3, S->go[1], FD_GO, O_CLOEXEC));
  TRY(STEP_STDIO, 4, SYS(__NR_dup3, null, 0, 0));
  if (l->affinity_len) TRY(STEP_SCHED, 0, SYS(__NR_sched_setaffinity, 0, l->affinity_len, limits_str(l->affinity)));
  TRY(STEP_CAPS, 1, SYS(__NR_capset, &caps_head, (uint32_t[6]){0}));
  TRY(STEP_NO_NEW_PRIVS, 0, SYS(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  if (K.ruleset >= 0) { /* what a program makes of its own below ours is not for the host's audit log */
    long rc = SYS(__NR_landlock_restrict_self, K.ruleset, 4 /* LOG_SUBDOMAINS_OFF, since ABI 7 */);
    TRY(STEP_LANDLOCK, PJ_NONE, rc == -EINVAL ? SYS(__NR_landlock_restrict_self, K.ruleset, 0) : rc);
  }
  status_note();
  SYS(__NR_madvise, S->request, 4096, MADV_POPULATE_WRITE); /* after the go it would take the caller's time */
  TRY(STEP_CLOSE_REST, 0, SYS(__NR_close_range, (p->flags & PLAN_CLOCKS ? FD_CLOCKS : FD_GO) + 1, ~0u, 0));
  return rlimits_set(0);
}

/* ---- after the go ---- */

/* Two clocks start at 0, now. */
static long clocks_set(void) {
  for (int clock = CLOCK_MONOTONIC; clock <= CLOCK_BOOTTIME; clock += CLOCK_BOOTTIME - CLOCK_MONOTONIC) {
    char line[48], *end = line + sizeof line - 1, *at;
    const uint64_t now = clock_ns(clock), s = 1000 * NS_PER_MS;
    at = number_before(end, s - 1 - now % s); /* - 1: s would be one ns too many */
    *--at = ' ';
    at = number_before(at, now / s + 1);
    *--at = '-', *--at = ' ', *--at = (char)('0' + clock);
    TRY(STEP_SAME, 4, SYS(__NR_write, FD_CLOCKS, at, end - at));
  }
  text_add(TEXT_CLOCKS, 0, FD_CLOCKS, NULL, 0);
  return 0;
}

/* Bytes that make execve of an ELF program fail behind its point of no return when there are not that many: the process
 * dies of SIGSEGV without having run. Under RLIMIT_AS all segments count, once, in the order that the ABI demands; else
 * what is larger than the machine is refused, if it may be written to: what is only read takes none. HOSTILE. */
static uint64_t image_bytes(const char *path) {
  Elf64_Ehdr eh;
  Elf64_Phdr ph[64];
  uint64_t most = 0, all = 0, end = 0;
  long n = 0, fd = SYS(__NR_openat, AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC, 0);
  if (fd < 0) return 0;
  if (SYS(__NR_pread64, fd, &eh, sizeof eh, 0) == (long)sizeof eh && mem_equal(eh.e_ident, "\177ELF\2", 5))
    n = SYS(__NR_pread64, fd, ph, sizeof ph, eh.e_phoff) / (long)sizeof *ph;
  sys_close((int)fd);
  for (long i = 0; i < n && i < eh.e_phnum; i++) {
    const uint64_t size = ph[i].p_memsz, of_file = ph[i].p_flags & PF_W ? 0 : ph[i].p_filesz;
    if (ph[i].p_type != PT_LOAD) continue;
    if (size > of_file && size - of_file > most) most = size - of_file;
    if (ph[i].p_vaddr >= end && ph[i].p_vaddr + size > end) all += size, end = ph[i].p_vaddr + size;
  }
  EACH (struct pj_rlimit, r, limits(), limits()->rlimits)
    if (r->resource == RLIMIT_AS && all > r->soft) return all;
  return most;
}

/* The refs of the request's tables are pointers from now on. */
static const char **strings(struct pj_table t) {
  uint64_t *ref = (uint64_t *)((uintptr_t)request() + t.off);
  for (uint32_t i = 0; i < t.count; i++) ref[i] += (uintptr_t)request();
  return (const char **)ref;
}

static long stdio_set(const struct pj_request *r, const struct fds *with) {
  uint32_t given = 0;
  for (int i = 0; i < 3; i++) given += r->stdio[i] == STDIO_FD;
  for (int i = 2; i >= 0; i--) { /* stdin last: it is the /dev/null that others may want */
    if (r->stdio[i] == STDIO_FD)
      TRY(STEP_FD, (uint32_t)i, --given < with->count ? SYS(__NR_dup3, with->fd[given], i, 0) : -EBADF);
    if (r->stdio[i] == STDIO_NULL && i > 0) TRY(STEP_FD, (uint32_t)i, SYS(__NR_dup3, 0, i, 0));
  }
  if (r->stdio[2] == STDIO_STDOUT) TRY(STEP_FD, 2, SYS(__NR_dup3, 1, 2, 0));
  if (r->flags & REQUEST_CTTY) TRY(STEP_FD, 0, SYS(__NR_ioctl, 0, TIOCSCTTY, 0));
  return 0;
}

/* What is left when the request is there. HOSTILE: the tree that it sees. */
static long program_start(void) {
  struct pj_facts *f = &S->page->facts;
  struct fds with = {0}; /* for STDIO_FD, in order */
  char go = 0;
  if (message_receive(FD_GO, &go, 1, 0, &with) != 1) sys_exit(0); /* the keeper is gone, or has no use for us */
  const struct pj_request *r = request();
  if (stdio_set(r, &with) < 0) return -1;
  TRY(STEP_CWD, 0, SYS(__NR_chdir, (const char *)r + r->cwd));
  const char **argv = strings(r->argv), **env = strings(r->env), **path = strings(r->path);
  if (rlimits_set(1) < 0 || (K.plan->flags & PLAN_CLOCKS && clocks_set() < 0)) return -1;
  f->executing = 1;
  f->exec_cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
  f->started = clock_ns(CLOCK_MONOTONIC);
  SYS(__NR_rt_sigprocmask, SIG_SETMASK, &(uint64_t){0}, NULL, 8); /* from here on a signal is the program's */
  long rc = -ENOENT, seen = 0;
  uint32_t i = 0;
  for (; i < r->path.count; i++) { /* as execvpe(3): go on after ENOENT, ENOTDIR, EACCES */
    f->image = image_bytes(path[i]);
    rc = SYS(__NR_execve, path[i], argv, env);
    if (rc == -EACCES)
      seen = rc;
    else if (rc != -ENOENT && rc != -ENOTDIR)
      break;
  }
  return fail(STEP_EXEC, i < r->path.count ? i : i - 1, seen && (rc == -ENOENT || rc == -ENOTDIR) ? seen : rc);
}

/* Where the program's process begins. Its parent, the keeper, is pid 1 of its pid namespace: with it everything ends.
 * It may be in the keeper's own memory until execve: it writes to its stack, the page and the request's tables. */
static void __attribute__((noreturn)) program_main(void *none __attribute__((unused))) {
  if (program_arm() == 0) program_start();
  sys_exit(127);
}
