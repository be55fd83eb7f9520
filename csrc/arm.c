/* The next init: armed ahead of its run; and what is put away after it. Included by keeper.c. */

static void run_clear(void) {
  memset(&K.run, 0xff, sizeof K.run); /* every fd -1 */
  K.run.init = 0;
}

/* Let go of a run's files before the next init is cloned, which would hold copies. */
static void run_close(const struct run *r) {
  sys_close(r->pidfd);
  sys_close(r->listener);
  sys_close(r->go);
  sys_close(r->peer);
  for (int i = 0; i < 4; i++) sys_close(r->pipe[i / 2][i % 2]);
}
static void run_kill(void) {
  if (K.run.init > 0) SYS(__NR_kill, K.run.init, K_SIGKILL);
}
static void init_wait(int init) {
  if (init > 0) SYS(__NR_wait4, init, NULL, 0x40000000 /* __WALL */, NULL);
}

/* Forget the run that is armed, half made or over, and all that was made for it. */
static void run_end(void) {
  run_kill();
  run_close(&K.run);
  init_wait(K.run.init);
  leaf_drop(~0u);
  leaf_remove();
  tmpfs_drop_all(1);
  run_clear();
}
static void __attribute__((noreturn)) keeper_exit(void) {
  if (K.run.init > 0) run_end();
  sys_exit(0);
}

static long arm(void) {
  struct run *r = &K.run;
  memset(&K.page->facts, 0, sizeof K.page->facts);
  K.page->facts.init_lost = 1; /* until init says otherwise */
  K.touched = K.shared = 0;
  for (int i = 0; i < 2; i++) {
    TRY(STEP_INIT, 0, SYS(__NR_pipe2, r->pipe[i], O_CLOEXEC));
    TRY(STEP_INIT, 1, SYS(__NR_fcntl, r->pipe[i][0], F_SETFL, O_NONBLOCK));
    /* /dev/stdout can be opened to write, by anybody; to read its own output back, uncounted, by nobody but us. */
    TRY(STEP_INIT, 2, SYS(__NR_fchmod, r->pipe[i][1], 0222));
  }
  int pair[2];
  TRY(STEP_INIT, 3, SYS(__NR_socketpair, 1 /* AF_UNIX */, 5 | O_CLOEXEC /* SOCK_SEQPACKET */, 0, pair));
  r->go = pair[0];
  r->peer = pair[1];
  if (leaf_ready() < 0 || tmpfs_make() < 0 || ruleset_make() < 0) return -1;
  struct clone_args args = {
      .flags = K.plan->run_clone | CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&r->pidfd, .exit_signal = K_SIGCHLD};
  long pid = SYS(__NR_clone3, &args, sizeof args);
  if (pid == 0) init_main();
  TRY(STEP_INIT, 4, pid);
  r->init = (int)pid;
  sys_close(r->peer); /* so that each side sees the other's end */
  r->peer = -1;
  return 0; /* the pipes' other ends stay open: init tells the end, and a hang-up would only wake us */
}

/* Sockets that were sent over each other outlive all processes until the kernel's collector finds the cycle: the next
 * run could read their names. The table has a head, a line for each, and an armed init has a pair of ours. */
static int sockets_left(void) {
  const struct k_timespec ms = {0, 1000000};
  for (int tries = K.box < 0 ? 1 : 2000;; SYS(__NR_nanosleep, &ms, NULL)) { /* a session has files to lose */
    char text[512];
    long lines = 0, n = K.sockets < 0 ? 0 : SYS(__NR_pread64, K.sockets, text, sizeof text, 0);
    for (long i = 0; i < n; i++) lines += text[i] == '\n';
    if (lines <= 1 + (K.run.init > 0 ? 2 : 0)) return 0;
    if (!--tries) return 1;
  }
}

/* After a run: the next one first, it may be asked for at any moment; then what is left of this one. */
static void release(void) {
  const struct pj_facts *f = &K.page->facts;
  const int again = request()->flags & REQUEST_REARM, ran = f->reported != 0;
  int init = K.run.init;
  run_kill();
  run_close(&K.run);
  if (!ran) { /* it may still be arming, and notes its failures in the page that the next one shares */
    init_wait(init);
    init = 0;
  }
  run_clear();
  leaf_drop(f->trip || f->init_lost || f->reply.error.step || !ran || !again ? ~0u : K.leaf.stale);
  K.leaf.stale = 0;
  if (ran && again)
    tmpfs_renew();
  else
    tmpfs_drop_all(1);
  if (again && arm() < 0) run_end();
  init_wait(init);
  leaf_remove();
  if (sockets_left()) keeper_exit();
}
