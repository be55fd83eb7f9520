/* The last steps of the program's process before execve. Included by keeper.c.
 *
 * program_arm:    everything that does not depend on the request; then it waits for the go.
 * program_start:  fds, cwd, exec.
 * The order of the calls below is the order in which it happens: privileges only ever shrink. */

enum { FD_GO = 3, FD_CLOCKS };

/* What this run may only read, in a mount namespace of its own: the keeper's is the other runs', too. */
static long read_only_set(void) {
  const uint32_t path = limits()->read_only;
  struct mount_attr ro = {.attr_set = MOUNT_ATTR_RDONLY};
  if (path == PJ_NONE) return 0;
  TRY(STEP_RUN_MOUNT, PJ_NONE, SYS(__NR_unshare, CLONE_NEWNS));
  long fd = sys_open_beneath(AT_FDCWD, limits_str(path), O_PATH | O_DIRECTORY, 0, BENEATH);
  if (fd < 0) return fail(STEP_RUN_MOUNT, PJ_NONE, fd);
  TRY(STEP_RUN_MOUNT, PJ_NONE, SYS(__NR_mount_setattr, fd, "", AT_EMPTY_PATH, &ro, sizeof ro));
  sys_close((int)fd);
  return 0;
}

static uint32_t caps_head[2] = {0x20080522 /* _LINUX_CAPABILITY_VERSION_3 */, 0 /* this process */};

static long caps_drop(void) {
  uint32_t none[6] = {0};
  return SYS(__NR_capset, caps_head, none);
}

/* Not from /proc/self/status: to make and forget its files for a new process takes as long as all else here. */
static void status_note(void) {
  struct pj_status s = {0};
  SYS(__NR_getresuid, &s.uid[0], &s.uid[1], &s.uid[2]);
  SYS(__NR_getresgid, &s.gid[0], &s.gid[1], &s.gid[2]);
  SYS(__NR_capget, caps_head, s.caps);
  s.groups = (int32_t)SYS(__NR_getgroups, 0, NULL);
  s.no_new_privs = (int32_t)SYS(__NR_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
  s.seccomp = (int32_t)SYS(__NR_prctl, PR_GET_SECCOMP, 0, 0, 0, 0);
  s.pid = (int32_t)SYS(__NR_getpid);
  text_add(TEXT_STATUS, 0, -1, &s, sizeof s);
}

/* A leaf has one cgroup namespace, whose root it is. The first process in it makes that, and sends it to the keeper. */
static long cgroup_namespace_enter(void) {
  if (K.leaf.namespace >= 0) {
    TRY(STEP_CGROUP_NS, 1, SYS(__NR_setns, K.leaf.namespace, CLONE_NEWCGROUP));
    text_add(TEXT_NS, NS_CGROUP, -1, K.leaf.namespace_name, (uint32_t)str_len(K.leaf.namespace_name));
    return 0;
  }
  TRY(STEP_CGROUP_NS, 0, SYS(__NR_unshare, CLONE_NEWCGROUP));
  namespaces_note(K.proc, CLONE_NEWCGROUP);
  const long fd = SYS(__NR_openat, K.proc, "self/ns/cgroup", O_RDONLY | O_CLOEXEC);
  if (fd >= 0) message_send(K.go[1], "n", 1, (const int[]){(int)fd}, 1);
  sys_close((int)fd);
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

/* Everything that needs no request. What an armed process has seen: its template, nothing of any run. */
static long program_arm(void) {
  const struct pj_plan *p = K.plan;
  const struct pj_limits *l = limits();
  long clocks = -1;
  if (read_only_set() < 0) return -1;
  for (uint32_t h = 0; h < p->cgroups; h++) { /* "0" = the writing thread itself: no grace period (docs/adr/0001) */
    if (h != p->into) TRY(STEP_CGROUP_ENTER, h, SYS(__NR_write, K.leaf.tasks[h], "0", 1));
  }
  if (cgroup_namespace_enter() < 0) return -1;
  TRY(STEP_SESSION, 0, SYS(__NR_setsid));
  if (p->flags & PLAN_KEYRING) TRY(STEP_KEYRING, 0, keyring_new());
  if (p->flags & PLAN_SAME) { /* two runs are to be equal: what the kernel says of it goes to the receipt */
    char uts[6][65];
    TRY(STEP_SAME, 0, SYS(__NR_personality, 0x40000 /* ADDR_NO_RANDOMIZE */));
    TRY(STEP_SAME, 1, SYS(__NR_uname, uts));
    text_add(TEXT_SAME, (uint32_t)SYS(__NR_personality, ~0u), -1, uts[1], (uint32_t)str_len(uts[1]));
  }
  if (p->flags & PLAN_CLOCKS) { /* execve will enter them; their file is for those who may be looked at */
    TRY(STEP_SAME, 2, SYS(__NR_unshare, CLONE_NEWTIME));
    TRY(STEP_SAME, 5, SYS(__NR_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0));
    TRY(STEP_SAME, 3, clocks = SYS(__NR_openat, K.proc, "self/timens_offsets", O_RDWR | O_CLOEXEC));
    SYS(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
  }
  if (l->read_only != PJ_NONE) namespaces_note(K.proc, CLONE_NEWNS);
  TRY(STEP_GID, 0, SYS(__NR_setresgid, p->gid, p->gid, p->gid));
  TRY(STEP_UID, 0, SYS(__NR_setresuid, p->uid, p->uid, p->uid));
  TRY(STEP_UID, 1, SYS(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0)); /* with fs.suid_dumpable = 1 it is now */
  SYS(__NR_umask, 022);
  long null;
  TRY(STEP_STDIO, 0, null = SYS(__NR_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC));
  TRY(STEP_STDIO, 1, SYS(__NR_dup3, K.run.pipe[0][1], 1, 0));
  TRY(STEP_STDIO, 2, SYS(__NR_dup3, K.run.pipe[1][1], 2, 0));
  TRY(STEP_STDIO, 3, SYS(__NR_dup3, K.go[1], FD_GO, O_CLOEXEC));
  TRY(STEP_STDIO, 4, SYS(__NR_dup3, null, 0, 0));
  if (l->affinity_len) TRY(STEP_SCHED, 0, SYS(__NR_sched_setaffinity, 0, l->affinity_len, limits_str(l->affinity)));
  TRY(STEP_CAPS, 1, caps_drop());
  TRY(STEP_NO_NEW_PRIVS, 0, SYS(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  long rc =
      K.ruleset < 0 ? 0 : SYS(446 /* landlock_restrict_self */, K.ruleset, 4 /* LOG_SUBDOMAINS_OFF, since ABI 7 */);
  if (rc == -EINVAL) rc = SYS(446, K.ruleset, 0);
  TRY(STEP_LANDLOCK, PJ_NONE, rc); /* what a program makes of its own below ours is not for the host's audit log */
  status_note();
  if (clocks >= 0) TRY(STEP_STDIO, 5, SYS(__NR_dup3, clocks, FD_CLOCKS, O_CLOEXEC));
  TRY(STEP_CLOSE_REST, 0, SYS(__NR_close_range, (clocks >= 0 ? FD_CLOCKS : FD_GO) + 1, ~0u, 0));
  return rlimits_set(0);
}

/* Bytes that make execve of an ELF program fail behind its point of no return when there are not that many: the process
 * dies of SIGSEGV without having run. Under RLIMIT_AS all segments count, once, in the order that the ABI demands; else
 * what is larger than the machine is refused, if it may be written to: what is only read of a file takes no memory. */
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

/* What is left when the request is there. */
static long program_start(void) {
  const struct pj_request *r;
  struct fds with = {0}; /* for STDIO_FD, in order */
  char go = 0;
  if (message_receive(FD_GO, &go, 1, 0, &with) != 1) sys_exit(0); /* the keeper is gone, or has no use for us */
  r = request();
  uint32_t given = 0, from[3];
  for (int i = 0; i < 3; i++) from[i] = r->stdio[i] == STDIO_FD ? given++ : 0;
  for (int i = 2; i >= 0; i--) { /* stdin last: it is the /dev/null that others may want */
    if (r->stdio[i] == STDIO_FD)
      TRY(STEP_FD, (uint32_t)i, from[i] < with.count ? SYS(__NR_dup3, with.fd[from[i]], i, 0) : -EBADF);
    if (r->stdio[i] == STDIO_NULL && i > 0) TRY(STEP_FD, (uint32_t)i, SYS(__NR_dup3, 0, i, 0));
  }
  if (r->stdio[2] == STDIO_STDOUT) TRY(STEP_FD, 2, SYS(__NR_dup3, 1, 2, 0));
  if (r->flags & REQUEST_CTTY) TRY(STEP_FD, 0, SYS(__NR_ioctl, 0, 0x540e /* TIOCSCTTY */, 0));
  TRY(STEP_CWD, 0, SYS(__NR_chdir, request_str(r->cwd)));

  const char **argv = strings(r->argv), **env = strings(r->env), **path = strings(r->path);
  if (rlimits_set(1) < 0) return -1;
  struct pj_facts *f = &K.page->facts;
  if (K.plan->flags & PLAN_CLOCKS && clocks_set() < 0) return -1;
  f->executing = 1;
  f->exec_cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
  f->started = clock_ns(CLOCK_MONOTONIC);
  SYS(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &(uint64_t){0}, NULL, 8); /* from here on a signal is the program's */
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
static void __attribute__((noreturn)) program_main(void *unused) {
  (void)unused;
  if (program_arm() == 0) program_start();
  sys_exit(127);
}
