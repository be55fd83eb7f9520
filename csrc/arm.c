/* The next run: its process armed ahead; and what is put away after it. */

/* Let go of a run's files before the next process is cloned, which would hold copies. */
static void run_close(void) {
  for (int i = 0; i < 4; i++) fd_drop(&S->pipe[i / 2][i % 2]);
  S->made = S->program = 0;
}

/* Forget the run that is armed, half made or over, and all that was made for it. */
static void run_end(void) {
  if (boxed() && S->program > 0) SYS(__NR_kill, S->program, SIGKILL), SYS(__NR_wait4, S->program, NULL, __WALL, NULL);
  if (!boxed()) {
    do run_stop();
    while (SYS(__NR_wait4, -1, NULL, __WALL, NULL) != -ECHILD);
  }
  run_close();
  fd_drop(&S->go[0]), fd_drop(&S->go[1]);
  leaf_drop(~0u);
  leaf_remove();
  if (!boxed()) tmpfs_drop_all(1);
}
static void __attribute__((noreturn)) keeper_exit(void) {
  /* Before there are K.children we are not pid 1, and nobody below is ours. */
  if (K.children >= 0 && !S->page->facts.left) {
    if (boxed()) SYS(__NR_kill, -1, SIGKILL); /* their leaves are left to who cleans up after us */
    run_end();
  }
  sys_exit(0);
}

/* How many sockets there are in our network namespace. HOSTILE: that. */
static uint64_t sockets_count(void) {
  const long n = SYS(__NR_pread64, K.sockets, own.scratch, sizeof own.scratch, 0);
  return n > 24 && mem_equal(own.scratch, "sockets: used ", 14) ? parse_u64(own.scratch + 14, 10) : UINT64_MAX;
}

/* What can be read of our network namespace and outlives a run's sockets: counts, also of packets that were not sent;
 * labels that are kept for a while. Its length; 0 when it is not known, or not `like` what it was. HOSTILE: all of it.
 */
static uint64_t net_look(char *into, const char *like) {
  static const char *const name[] = {"self/net/dev",     "self/net/snmp",          "self/net/snmp6",
                                     "self/net/netstat", "self/net/ip6_flowlabel", "self/net/rt6_stats"};
  long all = 0, n = 0;
  for (uint32_t i = 0; i < sizeof name / sizeof *name && n >= 0; i++) {
    const long fd = SYS(__NR_openat, K.proc, name[i], O_RDONLY | O_CLOEXEC);
    n = fd == -ENOENT ? 0 /* no IPv6 */ : SYS(__NR_pread64, fd, into + all, NET_SIZE - all, 0);
    sys_close((int)fd);
    if (n > 0 && like && !mem_equal(into + all, like + all, (size_t)n)) n = -1;
    all += n;
  }
  return n < 0 || all >= NET_SIZE ? 0 : (uint64_t)all;
}

/* What is to be known of a new one. */
static long net_new(void) {
  K.net_used = 1; /* of no use yet */
  fd_drop(&K.sockets);
  TRY(STEP_NET_LO, 0, net_lo_up());
  K.sockets = (int)SYS(__NR_openat, K.proc, "self/net/sockstat", O_RDONLY | O_CLOEXEC);
  if (!K.net_len) K.net_len = net_look(K.net, NULL); /* all new ones are the same */
  return K.net_used = 0;
}

/* What no two runs share, of which an earlier one may have left something. */
static long namespaces_renew(void) {
  const struct pj_plan *p = K.plan;
  if (boxed()) return 0;
  const uint64_t made = p->run_unshare & ~((K.ipc_used ? 0 : CLONE_NEWIPC) | (K.net_used ? 0 : CLONE_NEWNET));
  TRY(STEP_RUN_NAMESPACES, 0, SYS(__NR_unshare, made));
  if (made & CLONE_NEWNET && net_new() < 0) return -1;
  namespaces_note(K.proc, made);
  if (!text_keep(TEXT_NS, NS_IPC, K.ipc_name)) text_add(TEXT_NS, NS_IPC, -1, K.ipc_name, (uint32_t)str_len(K.ipc_name));
  if (p->run_unshare & CLONE_NEWNET && !text_keep(TEXT_NS, NS_NET, K.net_name))
    text_add(TEXT_NS, NS_NET, -1, K.net_name, (uint32_t)str_len(K.net_name));
  K.ipc_used = !(p->flags & PLAN_IPC_KEPT);
  /* The next process is number 2, as the first ever was. */
  if (K.last_pid >= 0) TRY(STEP_RUN_NAMESPACES, 1, SYS(__NR_pwrite64, K.last_pid, "1", 1, 0));
  return 0;
}

static long arm(void) {
  const uint32_t into = K.plan->into;
  memset(&S->page->facts, 0, sizeof S->page->facts);
  S->touched = S->shared = 0;
  S->made = 1;
  for (int i = 0; i < 2; i++) {
    TRY(STEP_ARM, 0, SYS(__NR_pipe2, S->pipe[i], O_CLOEXEC));
    TRY(STEP_ARM, 1, SYS(__NR_fcntl, S->pipe[i][0], F_SETFL, O_NONBLOCK));
    /* /dev/stdout can be opened to write, by anybody; to read its own output back, uncounted, by nobody but us. */
    TRY(STEP_ARM, 2, SYS(__NR_fchmod, S->pipe[i][1], 0222));
  }
  if (S->go[0] < 0)
    TRY(STEP_ARM, 3, SYS(__NR_socketpair, 1 /* AF_UNIX */, 5 | O_CLOEXEC /* SOCK_SEQPACKET */, 0, S->go));
  if (leaf_ready() < 0 || namespaces_renew() < 0 || tmpfs_make() < 0 || ruleset_make() < 0) return -1;
  if (!boxed())
    TRY(STEP_ARM, 4, SYS(__NR_getrusage, -1 /* RUSAGE_CHILDREN: all there ever were */, S->page->facts.used_before));
  static _Alignas(4096) char stack[32768];
  struct clone_args args = {.exit_signal = SIGCHLD, .stack = (uint64_t)(uintptr_t)stack, .stack_size = sizeof stack};
  if (into != PJ_NONE) args.flags = CLONE_INTO_CGROUP, args.cgroup = (uint64_t)S->leaf.dir[into];
  /* Where others fill the memory of a box, their victim may be this process, and who shares its memory. */
  if (limits()->flags & LIMITS_ROOMY && !(K.plan->flags & PLAN_CLOCKS) && !boxed()) args.flags |= CLONE_VM;
  SYS(__NR_rt_sigprocmask, SIG_SETMASK, &(uint64_t){~0ull}, NULL, 8); /* its own; a signal may come at once */
  long pid = sys_clone(&args, program_main, NULL);
  SYS(__NR_rt_sigprocmask, SIG_SETMASK, &KEEPER_BLOCKED, NULL, 8);
  TRY(STEP_FORK, 0, pid);
  S->program = (int)pid;
  return 0; /* the other ends of pipes and pair stay open here: we are told of the end, a hang-up would only wake us */
}

/* Sockets that were sent over each other outlive all processes until the kernel's collector finds the cycle: the next
 * run could read their names. There is a pair of ours. To count all sockets is quick; netlink's are counted for a while
 * after their end, so with more than ours the table of named ones decides: a head, and a line for each. HOSTILE. */
static int sockets_left(void) {
  const uint64_t ours = S->go[0] >= 0 ? 2 : 0;
  for (int tries = K.box < 0 ? 1 : 2000;; rest(NS_PER_MS)) { /* a session has files to lose */
    uint64_t lines = 0;
    if (K.plan->run_unshare & CLONE_NEWNET || (K.sockets < 0 && K.unix < 0))
      return 0; /* each run's own; the caller's */
    if (sockets_count() <= ours) return 0;
    long n = SYS(__NR_pread64, K.unix, own.scratch, sizeof own.scratch, 0);
    for (long i = 0; i < n; i++) lines += own.scratch[i] == '\n';
    if (n > 0 && lines <= 1 + ours) return 0;
    if (!--tries) return 1;
    sys_close((int)SYS(__NR_socket, 1 /* AF_UNIX */, 5 | O_CLOEXEC, 0)); /* its end starts the collector */
  }
}

/* With one id for both, only the filter keeps a program from prlimit(1, ...): it would be the next one's. HOSTILE. */
static int rlimits_changed(void) {
  for (int i = 0; i < RLIMITS && K.plan->uid == K.plan->keeper_uid; i++) {
    uint64_t now[2] = {0, 0};
    SYS(__NR_prlimit64, 0, i, NULL, now);
    if (!mem_equal(now, K.rlimits[i], sizeof now)) return 1;
  }
  return 0;
}

/* After a run: the next one first, it may be asked for at any moment; then what is left of this one. */
static void release(void) {
  const struct pj_facts *f = &S->page->facts;
  const int again = request()->flags & REQUEST_REARM, ran = f->reported != 0;
  if (rlimits_changed() || (f->left && !boxed())) keeper_exit();
  S->held = 0;
  S->over = 0;
  if (!ran) {
    run_end();
  } else {
    leaf_namespace_take();
    if (!f->executing || S->leaf.namespace < 0) /* a message may be left in it */
      fd_drop(&S->go[0]), fd_drop(&S->go[1]);
    run_close();
    leaf_drop(f->trip || f->reply.error.step || !again ? ~0u : S->leaf.stale);
    S->leaf.stale = 0;
    if (!boxed()) again ? tmpfs_renew() : tmpfs_drop_all(1);
  }
  if (again && arm() < 0) run_end();
  leaf_remove();
  /* A process number would tell of earlier runs; a session has files to lose, a box is all of one tenant. */
  if (boxed()) return;
  if (sockets_left() || (K.last_pid < 0 && K.box < 0)) keeper_exit();
}
