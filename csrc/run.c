/* One run, from its go to its report: limits, output, messages meanwhile. */

/* Move what is in the pipe into the caller's memfd, up to the cap; count all of it. Bytes moved. HOSTILE. */
static uint64_t pump(int stream) {
  struct pj_facts *f = &S->page->facts;
  const uint64_t cap = request()->output, before = f->out_total[stream];
  const int fd = S->pipe[stream][0], splice = K.plan->flags & PLAN_SPLICE;
  for (int rounds = 0; rounds < 64; rounds++) { /* then let the clock be looked at */
    const uint64_t room = cap - f->out_kept[stream], most = room < 1048576 ? room : 1048576;
    int64_t at = (int64_t)f->out_kept[stream];
    long n = -EINVAL, kept = 0;
    if (room && splice) kept = n = SYS(__NR_splice, fd, NULL, S->out[stream], &at, most, 2 /* SPLICE_F_NONBLOCK */);
    if (n < 0 && n != -EAGAIN && n != -EINTR) { /* not allowed, or no room left for us */
      n = SYS(__NR_read, fd, own.scratch, sizeof own.scratch);
      if (n > 0 && !splice)
        kept = SYS(__NR_pwrite64, S->out[stream], own.scratch, (uint64_t)n < room ? (uint64_t)n : room, at);
    }
    if (kept > 0) f->out_kept[stream] += (uint64_t)kept;
    if (n <= 0) break;
    f->out_total[stream] += (uint64_t)n;
  }
  return f->out_total[stream] - before;
}

/* End the run: all that is below us, pid 1. kill(-1) takes the tasklist lock, so no fork slips past it, and it reaches
 * processes whose first thread has exited, unlike cgroup.kill. In a box: all that is in its leaf. */
static void run_stop(void) {
  if (boxed()) {
    leaf_stop();
    return;
  }
  const long rc = SYS(__NR_kill, -1, SIGKILL);
  if (rc < 0 && rc != -ESRCH) sys_exit(1); /* the end of pid 1 kills them, whoever forbids us to */
}
static void trip(enum pj_trip why) {
  struct pj_facts *f = &S->page->facts;
  if (f->trip == TRIP_NONE) f->trip = why;
  run_stop();
}

/* A box: each run, and whoever was kept, the armed ones, too. */
static void all_stop(void) {
  EACH_SLOT if (S->watch.go_at) trip(TRIP_CALLER);
  SYS(__NR_kill, -1, SIGKILL);
  S = &first;
}

/* Whose run has this thread; 0 when it was kept: then its process ends. */
static int caller_find(long thread) {
  EACH_SLOT if (S->watch.go_at && leaf_threads(leaf_number(S->leaf.number), 0, thread) > 0) return 1;
  S = &first;
  if (thread > 1) SYS(__NR_kill, thread, SIGKILL);
  return 0;
}

/* The filter tells of a syscall. It has refused it for good: note which, then nothing of the run goes on. Or it is one
 * that makes something in the ipc namespace: nobody's arguments are judged here, so it may go on. HOSTILE: the call. */
static void told(uint64_t now) {
  struct seccomp_notif n = {0};
  long rc = SYS(__NR_ioctl, K.listener, SECCOMP_IOCTL_NOTIF_RECV, &n);
  /* ENOENT: its caller died meanwhile, or a signal interrupted it. Where only refusals are told, that it was refused is
   * certain all the same; elsewhere who was interrupted asks again, and who died has made nothing. */
  if (rc < 0 && (rc != -ENOENT || K.plan->flags & PLAN_IPC_TOLD)) return;
  const int makes =
      n.data.nr == __NR_shmget || n.data.nr == __NR_semget || n.data.nr == __NR_msgget || n.data.nr == __NR_mq_open;
  if (rc >= 0 && makes && K.plan->flags & PLAN_IPC_TOLD && n.data.arch == ARCH) {
    struct seccomp_notif_resp go_on = {.id = n.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    K.ipc_used = 1;
    if (++K.told > TOLD_AT_ONCE) K.quiet[1] = now + NS_PER_MS;
    SYS(__NR_ioctl, K.listener, SECCOMP_IOCTL_NOTIF_SEND, &go_on);
    return;
  }
  if (boxed() && (rc < 0 || !caller_find((long)n.pid))) return; /* nobody's call, or of one that has been kept */
  struct pj_facts *f = &S->page->facts;
  if (f->trip == TRIP_NONE) f->syscall = rc < 0 ? -1 : n.data.nr, f->arch = n.data.arch;
  trip(TRIP_SECURITY);
}

/* Trip what has been passed; when to look again. */
static uint64_t limits_watch(void) {
  const struct pj_facts *f = &S->page->facts;
  const struct pj_request *q = request();
  uint64_t now = clock_ns(CLOCK_MONOTONIC), next = now + 1000 * NS_PER_MS;
  if (f->ended && !S->watch.tripped && q->flags & REQUEST_KEEP) return now; /* over, or nearly: whoever is left stays */
  if (S->watch.tripped || f->ended) { /* who has ended was in time, whatever killing the rest takes */
    run_stop();
    const uint64_t late = (S->watch.tripped ? S->watch.tripped : f->ended) + (boxed() ? CROWDED_NS : LEFT_NS);
    if (now > late) S->page->facts.left = 1;
    return now + 10 * NS_PER_MS;
  }
  /* Our own way to execve is not the program's time, but has an end, too. */
  const int started = f->executing && f->started;
  if (q->wall_ns) {
    uint64_t look = (started ? f->started : S->watch.go_at + START_NS) + q->wall_ns;
    if (now >= look) {
      children_reap(); /* we may be late ourselves */
      if (!f->ended) trip(TRIP_WALL);
    }
    if (!started && (look = S->watch.go_at + q->wall_ns) <= now)
      look = now + NS_PER_MS; /* nothing tells us of its start */
    if (look < next) next = look;
  }
  if (now >= S->watch.cpu_at) {
    const uint64_t used = minus(clock_read(), f->exec_cpu), left = minus(q->cpu_ns, used) / q->cpus;
    if (!left) trip(TRIP_CPU);
    S->watch.cpu_at = now + (left > NS_PER_MS / 2 ? left : NS_PER_MS / 2);
  }
  if (now >= S->watch.memory_at) {
    if (watch_changed()) trip(TRIP_MEMORY);
    S->watch.memory_at = now + S->watch.pause; /* the event comes before the kill */
    if (S->watch.pause < WATCH_NS) S->watch.pause *= 2;
  }
  if (f->out_total[0] > q->output || f->out_total[1] > q->output) trip(TRIP_OUTPUT);
  if (S->watch.cpu_at < next) next = S->watch.cpu_at;
  if (S->watch.memory_at < next) next = S->watch.memory_at;
  if (f->trip) S->watch.tripped = now;
  return next;
}

/* Reap what has ended: the programs, and orphans, whose zombies would count. Nonzero when nobody is left. HOSTILE. */
static int children_reap(void) {
  struct slot *mine = S;
  uint64_t used[18];
  int status = 0, most = 64;
  long pid = 1;
  while (most-- > 0 && (pid = SYS(__NR_wait4, -1, &status, __WALL | WNOHANG, used)) > 0) {
    if (++K.reaped > TOLD_AT_ONCE) K.quiet[0] = clock_ns(CLOCK_MONOTONIC) + NS_PER_MS;
    K.tend = boxed();
    EACH_SLOT {
      struct pj_facts *f = &S->page->facts;
      if (pid != S->program) continue;
      f->ended = clock_ns(CLOCK_MONOTONIC);
      f->status = status;
      if (boxed()) memcpy(f->used, used, sizeof used); /* its own, and that of whom it has waited for */
      S->program = 0;
    }
  }
  K.more = pid > 0;
  S = mine;
  if (!boxed() && pid >= 0 && S->page->facts.ended) run_stop(); /* every process here descends from a child of ours */
  return pid == -ECHILD;
}

/* After a look at the children: is nobody left of the run, or nobody whom it would end? */
static int run_over(int nobody) {
  const struct pj_facts *f = &S->page->facts;
  if (f->left || !boxed()) return f->left || nobody;
  if (!f->ended) return 0;
  if (leaf_empty()) return 1;
  if (request()->flags & REQUEST_KEEP && !f->trip) return 1;
  run_stop();
  return 0;
}

/* For who is at work for long. */
static void limits_look(void) {
  struct slot *mine = S;
  int running = 0;
  EACH_SLOT if (S->watch.go_at) running = 1, limits_watch();
  if (running) children_reap();
  S = mine;
}

static void run_begin(void) {
  const struct pj_request *q = request();
  K.told = K.reaped = 0;
  S->watch = (struct watch){.go_at = clock_ns(CLOCK_MONOTONIC), .pause = WATCH_NS};
  S->watch.cpu_at = q->cpu_ns && row_of(CGROUP_CLOCK) >= 0 ? S->watch.go_at + q->cpu_ns / q->cpus : UINT64_MAX;
  S->watch.memory_at = row_of(CGROUP_WATCH) >= 0 && S->leaf.event < 0 ? 0 : UINT64_MAX;
}

/* SysV objects outlive the pid namespace until a worker frees the ipc namespace (nsjail#231): remove them. HOSTILE. */
static void ipc_sweep(void) {
  char info[256], ds[256];
  /* what to call, its ..._INFO and ..._STAT; IPC_RMID is 0, so that semctl's fits all */
  static const int kind[3][3] = {{__NR_shmctl, 14, 13}, {__NR_msgctl, 12, 11}, {__NR_semctl, 19, 18}};
  for (int k = 0; k < 3; k++) {
    const int nr = kind[k][0], sem = nr == __NR_semctl;
    long top = sem ? SYS(nr, 0, 0, kind[k][1], info) : SYS(nr, 0, kind[k][1], info);
    for (long i = 0; i <= top; i++) {
      long id = sem ? SYS(nr, i, 0, kind[k][2], ds) : SYS(nr, i, kind[k][2], ds);
      if (id >= 0) SYS(nr, id, 0, 0, 0);
    }
  }
}

/* HOSTILE: what the kernel has counted of the run. */
static void report(void) {
  struct pj_facts *f = &S->page->facts;
  const long rc = boxed() ? 0 : SYS(__NR_getrusage, -1 /* RUSAGE_CHILDREN */, f->used);
  if (rc < 0) memcpy(f->used, f->used_before, sizeof f->used), fail(STEP_ARM, 4, rc);
  if (K.ipc_used && !boxed()) ipc_sweep();
  if (K.plan->run_unshare & CLONE_NEWNET) /* what cannot be told from a new one serves the next run, too */
    f->network = K.net_used = !K.net_len || K.net_sockets == UINT64_MAX || sockets_count() != K.net_sockets ||
                              net_look(own.scratch, K.net) != K.net_len;
  f->reads_at = f->text_len;
  leaf_report();
  const uint32_t count = f->tmpfs_count = limits()->tmpfs.count;
  for (uint32_t i = 0; i < count; i++) SYS(__NR_fstatfs, K.tmpfs[i].fd, f->space[i]);
  if (K.box >= 0 && count < PJ_MAX_TMPFS) /* a session's /box */
    f->tmpfs_count += SYS(__NR_fstatfs, K.box, f->space[count]) == 0;
  for (int i = 0; i < 2; i++) { /* what is in the pipes now: others may write on, who were kept or got an end of it */
    int left = 1 << 20;         /* or what it is, if that is told */
    SYS(__NR_ioctl, S->pipe[i][0], FIONREAD, &left);
    for (uint64_t n = 1; n && left > 0; left -= (int)n) n = pump(i);
  }
  S->watch.go_at = 0;
  const int kept = f->left ? boxed() : (request()->flags & REQUEST_KEEP) != 0;
  if (kept && leaf_threads(leaf_number(S->leaf.number), 0, 0))
    leaf_keep();
  else
    S->started[2] = 0;
  f->reply.kind = REPLY_REPORT;
  f->reported = clock_ns(CLOCK_MONOTONIC);
  struct iovec iov[2] = {{f, sizeof *f}, {S->page->text, f->text_len}};
  if (message_send(S->control, iov, 2, NULL, 0) < 0 && S == &first) keeper_exit();
  SYS(__NR_sched_yield); /* who waits for it may have been woken on our CPU: what comes now is in nobody's way */
}
