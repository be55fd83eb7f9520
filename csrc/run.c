/* One run, from its go to its report: limits, output, messages meanwhile. */

/* Move what is in the pipe into the caller's memfd, up to the cap; count all of it. Bytes moved. HOSTILE. */
static uint64_t pump(int stream) {
  struct pj_facts *f = &K.page->facts;
  const uint64_t cap = request()->output, before = f->out_total[stream];
  const int fd = K.pipe[stream][0], splice = K.plan->flags & PLAN_SPLICE;
  for (int rounds = 0; rounds < 64; rounds++) { /* then let the clock be looked at */
    const uint64_t room = cap - f->out_kept[stream], most = room < 1048576 ? room : 1048576;
    int64_t at = (int64_t)f->out_kept[stream];
    long n = -EINVAL, kept = 0;
    if (room && splice) kept = n = SYS(__NR_splice, fd, NULL, FD_OUT + stream, &at, most, 2 /* SPLICE_F_NONBLOCK */);
    if (n < 0 && n != -EAGAIN && n != -EINTR) { /* not allowed, or no room left for us */
      n = SYS(__NR_read, fd, scratch, sizeof scratch);
      if (n > 0 && !splice)
        kept = SYS(__NR_pwrite64, FD_OUT + stream, scratch, (uint64_t)n < room ? (uint64_t)n : room, at);
    }
    if (kept > 0) f->out_kept[stream] += (uint64_t)kept;
    if (n <= 0) break;
    f->out_total[stream] += (uint64_t)n;
  }
  return f->out_total[stream] - before;
}

/* End the run: all that is below us, pid 1. kill(-1) takes the tasklist lock, so no fork slips past it, and it reaches
 * processes whose first thread has exited, unlike cgroup.kill. */
static void run_stop(void) {
  const long rc = SYS(__NR_kill, -1, SIGKILL);
  if (rc < 0 && rc != -ESRCH) sys_exit(1); /* the end of pid 1 kills them, whoever forbids us to */
}
static void trip(enum pj_trip why) {
  struct pj_facts *f = &K.page->facts;
  if (f->trip == TRIP_NONE) f->trip = why;
  run_stop();
}

/* The filter tells of a syscall. It has refused it for good: note which, then nothing of the run goes on. Or it is one
 * that makes something in the ipc namespace: nobody's arguments are judged here, so it may go on. HOSTILE: the call. */
static void told(void) {
  struct seccomp_notif n = {0};
  struct pj_facts *f = &K.page->facts;
  long rc = SYS(__NR_ioctl, K.listener, SECCOMP_IOCTL_NOTIF_RECV, &n);
  /* ENOENT: its caller died meanwhile, or a signal interrupted it. Where only refusals are told, that it was refused is
   * certain all the same; elsewhere who was interrupted asks again, and who died has made nothing. */
  if (rc < 0 && (rc != -ENOENT || K.plan->flags & PLAN_IPC_TOLD)) return;
  const int makes =
      n.data.nr == __NR_shmget || n.data.nr == __NR_semget || n.data.nr == __NR_msgget || n.data.nr == __NR_mq_open;
  if (rc >= 0 && makes && K.plan->flags & PLAN_IPC_TOLD && n.data.arch == ARCH) {
    struct seccomp_notif_resp go_on = {.id = n.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    K.ipc_used = 1;
    W.told++;
    SYS(__NR_ioctl, K.listener, SECCOMP_IOCTL_NOTIF_SEND, &go_on);
    return;
  }
  if (f->trip == TRIP_NONE) f->syscall = rc < 0 ? -1 : n.data.nr, f->arch = n.data.arch;
  trip(TRIP_SECURITY);
}

/* Trip what has been passed; when to look again. */
static uint64_t limits_watch(void) {
  const struct pj_facts *f = &K.page->facts;
  const struct pj_request *q = request();
  uint64_t now = clock_ns(CLOCK_MONOTONIC), next = now + 1000 * NS_PER_MS;
  if (W.tripped || f->ended) { /* who has ended was in time, whatever killing the rest takes */
    run_stop();
    if (now > (W.tripped ? W.tripped : f->ended) + LEFT_NS) K.page->facts.left = 1;
    return now + 10 * NS_PER_MS;
  }
  /* Our own way to execve is not the program's time, but has an end, too. */
  const int started = f->executing && f->started;
  if (q->wall_ns) {
    uint64_t look = (started ? f->started : W.go_at + START_NS) + q->wall_ns;
    if (now >= look) {
      children_reap(); /* we may be late ourselves */
      if (!f->ended) trip(TRIP_WALL);
    }
    if (!started && (look = W.go_at + q->wall_ns) <= now) look = now + NS_PER_MS; /* nothing tells us of its start */
    if (look < next) next = look;
  }
  if (now >= W.cpu_at) {
    const uint64_t used = minus(clock_read(), f->exec_cpu), left = minus(q->cpu_ns, used) / q->cpus;
    if (!left) trip(TRIP_CPU);
    W.cpu_at = now + (left > NS_PER_MS / 2 ? left : NS_PER_MS / 2);
  }
  if (now >= W.memory_at) {
    if (watch_changed()) trip(TRIP_MEMORY);
    W.memory_at = now + W.pause; /* the event comes before the kill */
    if (W.pause < WATCH_NS) W.pause *= 2;
  }
  if (f->out_total[0] > q->output || f->out_total[1] > q->output) trip(TRIP_OUTPUT);
  if (W.cpu_at < next) next = W.cpu_at;
  if (W.memory_at < next) next = W.memory_at;
  if (f->trip) W.tripped = now;
  return next;
}

/* A message that came during a run. */
static void run_message(long n) {
  if (n < (long)sizeof in.m) keeper_exit();
  if (in.m.op == OP_KILL)
    trip(TRIP_CALLER);
  else if (in.m.op == OP_SIGNAL && K.program > 0)
    SYS(__NR_kill, K.program, in.m.flags);
  else if (in.m.op >= OP_OPEN && in.m.op <= OP_REMOVE)
    file_request(&in.m, in.body, (uint32_t)(n - (long)sizeof in.m));
  else if (in.m.op != OP_RELEASE && in.m.op != OP_SIGNAL)
    reply_with(REPLY_OK, error_of(STEP_REQUEST, in.m.op, -EPROTO), -1);
  fds_close(&K.got);
}

/* Reap what has ended: the program, and its orphans, whose zombies would count. Nonzero when nobody is left. HOSTILE.
 */
static int children_reap(void) {
  struct pj_facts *f = &K.page->facts;
  int status = 0, most = 64;
  long pid = 1;
  while (most-- > 0 && (pid = SYS(__NR_wait4, -1, &status, __WALL | WNOHANG, NULL)) > 0) {
    W.reaped++;
    if (pid != K.program) continue;
    f->ended = clock_ns(CLOCK_MONOTONIC);
    f->status = status;
    K.program = 0;
  }
  K.more = pid > 0;
  if (pid >= 0 && f->ended) run_stop(); /* every process here descends from a child of ours */
  return pid == -ECHILD;
}

/* Until nobody is left. Limits are looked at when they could first be passed. HOSTILE: how often we are woken. */
static void run_watch(void) {
  uint64_t quiet[4] = {0, 0, 0, 0}; /* streams, listener, children: who wakes us often waits for it */
  const struct pj_request *q = request();
  W = (struct watch){.go_at = clock_ns(CLOCK_MONOTONIC), .pause = WATCH_NS};
  W.cpu_at = q->cpu_ns && row_of(CGROUP_CLOCK) >= 0 ? W.go_at + q->cpu_ns / q->cpus : UINT64_MAX;
  W.memory_at = row_of(CGROUP_WATCH) >= 0 && K.leaf.event < 0 ? 0 : UINT64_MAX;
  for (;;) {
    uint64_t next = limits_watch(), now = clock_ns(CLOCK_MONOTONIC);
    if (K.page->facts.left) break;
    for (int i = 0; i < 4; i++)
      if (quiet[i] > now && quiet[i] < next) next = quiet[i];
    struct pollfd p[6] = {{quiet[3] > now ? -1 : K.children, POLLIN, 0},
                          {FD_CONTROL, POLLIN, 0},
                          {quiet[0] > now ? -1 : K.pipe[0][0], POLLIN, 0},
                          {quiet[1] > now ? -1 : K.pipe[1][0], POLLIN, 0},
                          {W.tripped || quiet[2] > now ? -1 : K.listener, POLLIN, 0},
                          {K.leaf.event, POLLIN, 0}};
    const uint64_t wait = K.more ? 0 : minus(next, now);
    struct __kernel_timespec t = {(int64_t)(wait / 1000000000u), (int64_t)(wait % 1000000000u)};
    /* EINVAL: with one id for both and no filter, the program has lowered our RLIMIT_NOFILE. Then we are of no use. */
    if (SYS(__NR_ppoll, p, 6, &t, NULL, 8) == -EINVAL) keeper_exit();
    for (int i = 0; i < 2; i++)
      if (p[2 + i].revents && pump(i) < PUMP_WORTH) quiet[i] = clock_ns(CLOCK_MONOTONIC) + NS_PER_MS;
    if (p[1].revents) run_message(in_receive(0));
    if (p[5].revents && SYS(__NR_read, K.leaf.event, scratch, 8) == 8) W.memory_at = 0, W.pause = NS_PER_MS / 2;
    if (p[4].revents & POLLIN) told(); /* not on POLLERR: then it could wait for good */
    if (p[4].revents & POLLIN && W.told > TOLD_AT_ONCE) quiet[2] = clock_ns(CLOCK_MONOTONIC) + NS_PER_MS;
    if (p[0].revents || K.more || K.page->facts.ended) {
      SYS(__NR_read, K.children, scratch, sizeof scratch);
      if (children_reap()) break;
      if (W.reaped > TOLD_AT_ONCE) quiet[3] = clock_ns(CLOCK_MONOTONIC) + NS_PER_MS;
    }
  }
  W.go_at = 0;
}

/* SysV objects outlive the pid namespace until a worker frees the ipc namespace (nsjail#231): remove them now. HOSTILE.
 */
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
  struct pj_facts *f = &K.page->facts;
  const long rc = SYS(__NR_getrusage, -1 /* RUSAGE_CHILDREN */, f->used);
  if (rc < 0) memcpy(f->used, f->used_before, sizeof f->used), fail(STEP_ARM, 4, rc);
  if (K.ipc_used) ipc_sweep();
  f->reads_at = f->text_len;
  leaf_report();
  const uint32_t count = f->tmpfs_count = limits()->tmpfs.count;
  for (uint32_t i = 0; i < count; i++) SYS(__NR_fstatfs, K.tmpfs[i].fd, f->space[i]);
  if (K.box >= 0 && count < PJ_MAX_TMPFS) /* a session's /box */
    f->tmpfs_count += SYS(__NR_fstatfs, K.box, f->space[count]) == 0;
  for (int i = 0; i < 2; i++) /* what was written last: at most a pipe full of packets, a read each */
    for (int more = 1 << 14; more-- && pump(i);) continue;
  f->reply.kind = REPLY_REPORT;
  f->reported = clock_ns(CLOCK_MONOTONIC);
  struct iovec iov[2] = {{f, sizeof *f}, {K.page->text, f->text_len}};
  if (message_send(FD_CONTROL, iov, 2, NULL, 0) < 0) keeper_exit();
  SYS(__NR_sched_yield); /* who waits for it may have been woken on our CPU: what comes now is in nobody's way */
}
