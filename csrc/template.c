/* The template of a jail, made once: namespaces, the root, /proc; and how the keeper becomes pid 1 of it. */

/* A user namespace with these maps, for a mount to show its owners by: its fd. Somebody has to be in it until it is
 * open, and has all that we have: no longer than we are there. */
static long idmap_make(const char *maps) {
  struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
  const char *groups = maps + str_len(maps) + 1;
  char path[32], *at = path + sizeof path - 1;
  const long us = SYS(__NR_getpid), pid = SYS(__NR_clone3, &args, sizeof args);
  if (pid < 0) return pid;
  while (pid == 0) SYS(__NR_kill, us, 0) == 0 ? rest(100 * NS_PER_MS) : sys_exit(0);
  *at = 0;
  at = number_before(at, (uint64_t)pid) - 6;
  memcpy(at, "/proc/", 6);
  const int dir = (int)SYS(__NR_openat, AT_FDCWD, at, O_PATH | O_DIRECTORY | O_CLOEXEC);
  long rc = dir < 0 ? dir : file_write(dir, "uid_map", 0, 0, maps, str_len(maps));
  if (rc == 0) rc = file_write(dir, "gid_map", 0, 0, groups, str_len(groups));
  if (rc == 0) rc = SYS(__NR_openat, dir, "ns/user", O_RDONLY | O_CLOEXEC);
  const long gone = SYS(__NR_kill, pid, SIGKILL);
  sys_close(dir);
  if (gone == 0) SYS(__NR_wait4, pid, NULL, __WALL, NULL);
  if (gone < 0 && rc >= 0) sys_close((int)rc), rc = gone; /* then so are we, soon, and it with us */
  return rc;
}

/* Open a bind source once: what is mounted later is this very inode, whatever its path becomes. */
static long source_open(const struct pj_mount *m) {
  struct statx st = {0};
  struct mount_attr attr = {.attr_set = m->attr};
  const uint64_t resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  long fd = sys_open_beneath(AT_FDCWD, plan_str(m->source), O_PATH | O_NOFOLLOW, 0, resolve);
  if (fd < 0) return fd;
  long tree = SYS(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_TYPE, &st);
  const int is_dir = S_ISDIR(st.stx_mode);
  if (tree == 0 && is_dir != !!(m->flags & MOUNT_IS_DIR)) tree = is_dir ? -EISDIR : -ENOTDIR;
  if (tree == 0 && S_ISLNK(st.stx_mode)) tree = -ELOOP;
  if (tree == 0) tree = mount_clone((int)fd, is_dir && !m->data_len ? AT_RECURSIVE : 0);
  sys_close((int)fd);
  if (tree < 0) return tree;
  if (m->data_len) attr.attr_set |= MOUNT_ATTR_IDMAP, attr.userns_fd = (uint64_t)K.owners;
  long rc = SYS(__NR_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr);
  if (rc < 0) sys_close((int)tree);
  return rc < 0 ? rc : tree;
}

static long net_lo_up(void) {
  const short ifr[20] = {'l' | 'o' << 8, [8] = 1 /* IFF_UP */}; /* a struct ifreq */
  long s = SYS(__NR_socket, 2 /* AF_INET */, 2 | O_CLOEXEC /* SOCK_DGRAM */, 0);
  if (s < 0) return s;
  long rc = SYS(__NR_ioctl, s, 0x8914 /* SIOCSIFFLAGS */, ifr);
  sys_close((int)s);
  return rc;
}

/* OP_PORT: a socket that listens in our network namespace, for who accepts outside: it stays in the one that it was
 * made in. We keep no end of it: with who accepts its connections end, and no more are taken. */
static long port_open(void) {
  const uint32_t port = K.plan->port; /* in a struct sockaddr_in: */
  const uint8_t address[16] = {2 /* AF_INET */, 0, (uint8_t)(port >> 8), (uint8_t)port, 127, 0, 0, 1};
  long s = SYS(__NR_socket, 2, 1 | O_CLOEXEC /* SOCK_STREAM */, 0);
  SYS(__NR_setsockopt, s, 1, 2 /* SO_REUSEADDR */, &(int){1}, sizeof(int)); /* beside a box's last connections */
  long rc = s < 0 ? s : SYS(__NR_bind, s, address, sizeof address);
  if (rc == 0) rc = SYS(__NR_listen, s, 4096); /* or what net.core.somaxconn allows */
  if (rc < 0) sys_close((int)s);
  return rc < 0 ? rc : s;
}

/* SIGXFSZ: beyond the caller's RLIMIT_FSIZE, splice says EFBIG and we go on. Pid 1 ignores signals from inside that it
 * does not block, so it blocks no other. */
static const uint64_t KEEPER_BLOCKED = 1ull << 24 | 1ull << (SIGCHLD - 1);
static const uint64_t GUARD_BLOCKED =
    1ull << (SIGCHLD - 1) | 1ull << (SIGTERM - 1) | 1ull << (SIGCONT - 1) | 1ull << (SIGHUP - 1);

/* Outside of the keeper's namespaces, with the embedder's rights: who sees us end knows that nothing in them is left.
 * SIGTERM ends it, by SIGKILL. When the embedder ends we hang up in its place: a child that it forked may hold its
 * socket. Its pidfd tells of that whatever its ids and its pid namespace are; PDEATHSIG and getppid() do not. */
static void __attribute__((noreturn)) guard_main(long keeper, int signals) {
  struct pollfd wait[2] = {{FD_EMBEDDER, POLLIN, 0}, {FD_EMBEDDER + 1, POLLIN, 0}};
  uint32_t told[32]; /* a struct signalfd_siginfo: its number first */
  int status = 0;
  SYS(__NR_chdir, "/");
  SYS(__NR_dup3, signals, FD_EMBEDDER + 1, 0);
  SYS(__NR_close_range, FD_EMBEDDER + 2, ~0u, 0);
  while (SYS(__NR_wait4, keeper, &status, WNOHANG, NULL) == 0) {
    struct __kernel_timespec soon = {0, 700 * NS_PER_MS}; /* for the keeper to leave; ppoll(2) counts it down */
    const long ready = SYS(__NR_ppoll, wait, 2, wait[0].fd < 0 ? &soon : NULL, NULL, 8);
    if (wait[0].revents) SYS(__NR_shutdown, FD_CONTROL, 2 /* SHUT_RDWR */), wait[0].fd = -1;
    const uint32_t sig = SYS(__NR_read, FD_EMBEDDER + 1, told, sizeof told) > 0 ? told[0] : 0;
    if (sig == SIGTERM || sig == SIGCONT || ready == 0) SYS(__NR_kill, keeper, sig == SIGCONT ? SIGCONT : SIGKILL);
  }
  sys_exit(status & 0x7f ? 128 + (status & 0x7f) : status >> 8);
}

/* Any change of ids takes both back (commit_creds()): no ptrace, no /proc/PID/mem; and to end with the guard. */
static long self_guard(void) {
  long rc = SYS(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
  return rc < 0 ? rc : SYS(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

/* Go on as pid 1 of new namespaces: what dies here with its parent gone is ours to reap, what is left at our end is
 * killed by the kernel. On v2 we are born in the cgroup that is ours. The guard tells the embedder who we are. */
static long init_clone(uint64_t namespaces) {
  const uint32_t into = K.plan->into;
  int pidfd = -1, home = -1, signals;
  struct clone_args args = {
      .flags = namespaces | CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&pidfd, .exit_signal = SIGCHLD};
  if (into != PJ_NONE) {
    TRY(STEP_CGROUP, PJ_NONE,
        home = (int)SYS(__NR_openat, FD_CGROUP + into, own.in.body, O_PATH | O_DIRECTORY | O_CLOEXEC));
    args.flags |= CLONE_INTO_CGROUP, args.cgroup = (uint64_t)home;
  }
  TRY(STEP_INIT, 2, signals = (int)SYS(__NR_signalfd4, -1, &GUARD_BLOCKED, 8, O_CLOEXEC | O_NONBLOCK));
  long pid = SYS(__NR_clone3, &args, sizeof args);
  if (pid > 0) reply_with(REPLY_MAPS, S->page->facts.reply.error, pidfd), guard_main(pid, signals);
  sys_close(signals), sys_close(FD_EMBEDDER), sys_close(home);
  TRY(STEP_NAMESPACES, 0, pid);
  TRY(STEP_INIT, 4, SYS(__NR_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
  return 0;
}

static long init_become(void) {
  SYS(__NR_rt_sigprocmask, SIG_SETMASK, &KEEPER_BLOCKED, NULL, 8);
  if (K.plan->keeper_uid != K.plan->uid) {
    TRY(STEP_KEEPER_IDS, 0, SYS(__NR_setresgid, K.plan->keeper_gid, K.plan->keeper_gid, K.plan->keeper_gid));
    TRY(STEP_KEEPER_IDS, 1, SYS(__NR_setresuid, K.plan->keeper_uid, K.plan->keeper_uid, K.plan->keeper_uid));
  }
  TRY(STEP_INIT, 1, self_guard());
  TRY(STEP_INIT, 3, SYS(__NR_getpid) == 1 ? 0 : -EPERM); /* kill(-1) is for our own pid namespace */
  /* A short slice (since Linux 6.12): who wakes up to enforce a limit goes before those who compute. Not inherited. */
  sched_plain(SCHED_FLAG_RESET_ON_FORK, 100000);
  TRY(STEP_INIT, 2,
      K.children = (int)SYS(__NR_signalfd4, -1, &(uint64_t){1ull << (SIGCHLD - 1)}, 8, O_CLOEXEC | O_NONBLOCK));
  return 0;
}

/* A procfs of this pid namespace in the place of the caller's, which had to be there until now: the kernel gives a user
 * namespace a new one only where one is already fully visible (mount_too_revealing()). */
static long proc_mount(int outer) {
  struct pj_mount other = K.plan->proc;
  other.attr &= ~(uint64_t)MOUNT_ATTR_RDONLY;
  const long fd = K.proc = (int)fs_make(plan_str(0), &K.plan->proc);
  if (K.plan->flags & PLAN_CLOCKS) /* one more that is mounted nowhere, to write to */
    TRY(STEP_PROC, 3, K.proc = (int)fs_make(plan_str(0), &other));
  /* The caller's procfs has one of these for each user namespace: among a thousand it takes 2 ms to find ours. */
  other.data_len = 0;
  const long all = fs_make(plan_str(0), &other);
  /* A second fence: no user namespaces below ours (the opener's limit). The receipt says where /proc/sys refuses. */
  K.user_namespaces = file_write(all >= 0 ? (int)all : outer, "sys/user/max_user_namespaces", 0, 0, "0", 1);
  sys_close((int)all);
  long gone = SYS(__NR_umount2, "/proc", 2 /* MNT_DETACH */); /* ours to see no longer, whatever comes */
  if (gone < 0 && gone != -EINVAL) return fail(STEP_PROC, 2, gone);
  if (!*plan_str(K.plan->proc.target)) return 0;
  if (fd < 0) return fail(STEP_PROC, 0, fd);
  TRY(STEP_PROC, 1, SYS(__NR_move_mount, fd, "", AT_FDCWD, "/proc", MOVE_MOUNT_F_EMPTY_PATH));
  return 0;
}

/* From the caller's namespaces into those of the jail. `source`: the mounts that are opened on the way, by row. */
static long namespaces_enter(int *source) {
  const struct pj_plan *p = K.plan;
  struct mount_attr private = {.propagation = MS_PRIVATE};
  long rc;
  TRY(STEP_PRIVATE, 0, SYS(__NR_unshare, p->unshare_first));
  TRY(STEP_PRIVATE, 1, SYS(__NR_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &private, sizeof private));
  EACH (struct pj_mount, m, p, p->mounts) {
    if (m->kind != MOUNT_BIND) continue; /* with the caller's own rights: what it cannot open, its jails cannot see */
    if (m->data_len) TRY(STEP_IDMAP, NUMBER(m), K.owners = (int)idmap_make(plan_str(m->data)));
    TRY(STEP_SOURCE, NUMBER(m), source[NUMBER(m)] = (int)source_open(m));
    fd_drop(&K.owners);
  }
  if (p->unshare_second & CLONE_NEWUSER) TRY(STEP_GROUPS, 0, SYS(__NR_setgroups, 0, NULL)); /* we may, and only now */
  /* The network namespace takes longest, and no maps: the caller writes them meanwhile. Only whether there is an id 0
   * when it is made decides who owns its files in /proc. */
  const uint64_t late = p->uid && p->gid ? CLONE_NEWNET : 0;
  if (init_clone(p->unshare_second & ~late) < 0) return -1;
  TRY(STEP_NAMESPACES, 1, SYS(__NR_unshare, p->unshare_second & late));
  TRY(STEP_WAIT_GO, 0, rc = in_receive(0));
  if (rc < (long)sizeof own.in.m || own.in.m.op != OP_GO) return fail(STEP_WAIT_GO, 1, -EPROTO);
  fds_close(&K.got);
  for (uint32_t h = 0; h < p->cgroups; h++) { /* our own, in the place of the one that they are in */
    TRY(STEP_CGROUP, PJ_NONE, rc = SYS(__NR_openat, FD_CGROUP + h, own.in.body, O_PATH | O_DIRECTORY | O_CLOEXEC));
    TRY(STEP_CGROUP, PJ_NONE, SYS(__NR_dup3, rc, FD_CGROUP + h, O_CLOEXEC));
    sys_close((int)rc);
  }
  TRY(STEP_NODUMP, 0, SYS(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0));
  return 0;
}

/* MOUNT_PART. */
static long part_make(int workspace, const struct pj_mount *m) {
  const char *name = plan_str(m->source);
  SYS(__NR_umask, 0);
  long rc = SYS(__NR_mkdirat, workspace, name, m->attr);
  SYS(__NR_umask, 022);
  if (rc == 0) rc = SYS(__NR_fchownat, workspace, name, K.plan->uid, K.plan->gid, AT_SYMLINK_NOFOLLOW);
  return rc < 0 ? rc : SYS(__NR_open_tree, workspace, name, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

/* The plan's first row is the new root, on top of "/" until pivot_root; the others are below it. One may be the root
 * from then on, on top of it: an overlay of what is there, by paths from there. */
static long root_make(const int *source) {
  const struct pj_plan *p = K.plan;
  int workspace = -1;
  EACH (struct pj_mount, m, p, p->mounts) {
    const uint32_t i = NUMBER(m), is_root = i == 0 || m->flags & MOUNT_IS_ROOT;
    long fd = m->kind == MOUNT_BIND ? source[i] : -1;
    if (m->kind == MOUNT_FS) TRY(STEP_MOUNT, i, fd = fs_make(plan_str(0), m));
    if (m->kind == MOUNT_PART) TRY(STEP_MOUNT, i, fd = part_make(workspace, m));
    if (is_root) {
      if (i) TRY(STEP_NEWROOT, i, K.upper = (int)sys_open_beneath(K.newroot, plan_str(m->target), O_PATH, 0, BENEATH));
      sys_close(K.newroot);
      K.newroot = (int)fd;
      TRY(STEP_NEWROOT, i, SYS(__NR_move_mount, fd, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH));
      TRY(STEP_NEWROOT, i, SYS(__NR_fchdir, fd)); /* "/" follows no mount, and no "." leads out of what is ours */
    } else if (fd < 0) {
      TRY(STEP_MOUNT, i, entry_make(K.newroot, m));
    } else {
      TRY(STEP_MOUNT, i, mount_attach((int)fd, K.newroot, plan_str(m->target)));
      if (m->flags & MOUNT_IS_BOX) K.box = (int)fd, K.box_row = i;
      if (!(m->flags & MOUNT_IS_BOX)) sys_close((int)fd);
      if (m->flags & MOUNT_IS_BOX && m->kind == MOUNT_FS) workspace = K.box;
    }
  }
  return 0;
}

static long root_enter(void) {
  struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
  TRY(STEP_PIVOT, 0, SYS(__NR_fchdir, K.newroot));
  TRY(STEP_PIVOT, 1, SYS(__NR_pivot_root, ".", "."));
  /* What was on top of it goes first: our root before the one that can be written to is still there. */
  if (K.upper >= 0) TRY(STEP_PIVOT, 2, SYS(__NR_umount2, ".", 2 /* MNT_DETACH */));
  TRY(STEP_PIVOT, 2, SYS(__NR_umount2, ".", 2));
  TRY(STEP_PIVOT, 3, SYS(__NR_chdir, "/"));
  if (K.upper < 0)
    TRY(STEP_ROOT_RO, 0, SYS(__NR_mount_setattr, K.newroot, "", AT_EMPTY_PATH, &read_only, sizeof read_only));
  return 0;
}

static long template_make(void) {
  const struct pj_plan *p = K.plan;
  const uint64_t all = p->unshare_first | p->unshare_second;
  static int source[PJ_MAX_ROWS];
  if (namespaces_enter(source) < 0 || init_become() < 0 || root_make(source) < 0) return -1;
  const int proc = (int)SYS(__NR_openat, AT_FDCWD, "/proc", O_PATH | O_CLOEXEC); /* the outer one, about to go */
  if (root_enter() < 0) return -1;
  if (p->hostname != PJ_NONE)
    TRY(STEP_HOSTNAME, 0, SYS(__NR_sethostname, plan_str(p->hostname), str_len(plan_str(p->hostname))));
  TRY(STEP_CAPS, 0, exec_rights_drop());
  K.mountinfo = (int)SYS(__NR_openat, proc, "self/mountinfo", O_RDONLY | O_CLOEXEC);
  const int status = (int)SYS(__NR_openat, proc, "self/status", O_RDONLY | O_CLOEXEC);
  if (status >= 0) text_add(TEXT_CAPS, 0, status, NULL, 0); /* of the bounding and ambient sets no run has more */
  sys_close(status);
  /* No key of the caller's is there; where the filter refuses the calls, one empty keyring does for all runs. */
  TRY(STEP_KEYRING, 0, keyring_new());
  if (p->flags & PLAN_LO) TRY(STEP_NET_LO, 0, net_lo_up());
  namespaces_note(proc, all);
  if (all & CLONE_NEWNET) { /* else each run has one of its own */
    K.sockets = (int)SYS(__NR_openat, proc, "self/net/sockstat", O_RDONLY | O_CLOEXEC);
    K.unix = (int)SYS(__NR_openat, proc, "self/net/unix", O_RDONLY | O_CLOEXEC);
  }
  K.last_pid = (int)SYS(__NR_openat, proc, "sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
  if (proc_mount(proc) < 0) return -1;
  sys_close(proc);
  return filter_install();
}
