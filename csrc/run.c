/* One run, from its go to its report: limits, output, messages meanwhile. Included by keeper.c. */

/* Move what is in the pipe into the caller's memfd, up to the cap; count all of it. Bytes moved. */
static uint64_t pump(int stream) {
  struct pj_facts *f = &K.page->facts;
  const uint64_t cap = request()->output;
  const uint64_t before = f->out_total[stream];
  const int splice = K.plan->flags & PLAN_SPLICE || !K.plan->seccomp.count;
  int fd = K.run.pipe[stream][0];
  for (int rounds = 0; rounds < 64; rounds++) { /* then let the clock be looked at */
    uint64_t room = cap - f->out_kept[stream];
    int64_t at = (int64_t)f->out_kept[stream];
    long n = -EINVAL;
    if (room && splice) {
      n = SYS(__NR_splice, fd, NULL, FD_OUT + stream, &at, room < 1048576 ? room : 1048576, 2 /* SPLICE_F_NONBLOCK */);
      if (n > 0) f->out_kept[stream] += (uint64_t)n;
    }
    if (n < 0 && n != -EAGAIN && n != -EINTR) { /* not allowed, or no room left for us */
      n = SYS(__NR_read, fd, scratch, sizeof scratch);
      const long some = n <= 0 || splice
                            ? 0
                            : SYS(__NR_pwrite64, FD_OUT + stream, scratch, (uint64_t)n < room ? (uint64_t)n : room, at);
      if (some > 0) f->out_kept[stream] += (uint64_t)some;
    }
    if (n <= 0) break;
    f->out_total[stream] += (uint64_t)n;
  }
  return f->out_total[stream] - before;
}

/* End the run: all that is below us, pid 1. kill(-1) takes the tasklist lock, so no fork slips past it, and it reaches
 * processes whose first thread has exited, unlike cgroup.kill. */
static void run_stop(void) {
  const long rc = SYS(__NR_kill, -1, K_SIGKILL);
  if (rc < 0 && rc != -ESRCH) sys_exit(1); /* the end of pid 1 kills them, whoever forbids us to */
}
static void trip(enum pj_trip why) {
  struct pj_facts *f = &K.page->facts;
  if (f->trip == TRIP_NONE) f->trip = why;
  run_stop();
}

static struct watch { /* of the run in progress */
  uint64_t go_at, tripped, cpu_at, memory_at, pause;
  int clock, memory;
  uint32_t told, reaped; /* calls that went on; children */
} W;

/* The filter tells of a syscall. It has refused it for good: note which, then nothing of the run goes on. Or it is one
 * that makes something in the ipc namespace: nobody's arguments are judged here, so it may go on. */
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
  if (f->trip == TRIP_NONE) {
    f->syscall = rc < 0 ? -1 : n.data.nr;
    f->arch = n.data.arch;
  }
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
  uint64_t since = started ? f->started : W.go_at + START_NS;
  if (q->wall_ns) {
    uint64_t look = since + q->wall_ns;
    if (now >= look) {
      children_reap(); /* we may be late ourselves */
      if (!f->ended) trip(TRIP_WALL);
    }
    if (!started && (look = W.go_at + q->wall_ns) <= now) look = now + NS_PER_MS; /* nothing tells us of its start */
    if (look < next) next = look;
  }
  if (q->cpu_ns && W.clock >= 0 && now >= W.cpu_at) {
    uint64_t used = clock_read();
    used = used > f->exec_cpu ? used - f->exec_cpu : 0;
    uint64_t left = used < q->cpu_ns ? (q->cpu_ns - used) / q->cpus : 0;
    if (!left) trip(TRIP_CPU);
    W.cpu_at = now + (left > NS_PER_MS / 2 ? left : NS_PER_MS / 2);
  }
  if (W.memory >= 0 && now >= W.memory_at) {
    if (watch_changed()) trip(TRIP_MEMORY);
    W.memory_at = now + W.pause; /* the event comes before the kill */
    if (W.pause < WATCH_NS) W.pause *= 2;
  }
  if (f->out_total[0] > q->output || f->out_total[1] > q->output) trip(TRIP_OUTPUT);
  if (q->cpu_ns && W.clock >= 0 && W.cpu_at < next) next = W.cpu_at;
  if (W.memory >= 0 && W.memory_at < next) next = W.memory_at;
  if (f->trip) W.tripped = now;
  return next;
}

/* A message that came during a run. */
static void run_message(long n) {
  if (n < (long)sizeof in.m) keeper_exit();
  if (in.m.op == OP_KILL) {
    trip(TRIP_CALLER);
    W.tripped = clock_ns(CLOCK_MONOTONIC);
  } else if (in.m.op == OP_SIGNAL) {
    if (K.run.program > 0) SYS(__NR_kill, K.run.program, in.m.flags);
  } else if (in.m.op >= OP_OPEN && in.m.op <= OP_REMOVE) {
    file_request(&in.m, in.body, (uint32_t)(n - (long)sizeof in.m));
  } else if (in.m.op != OP_RELEASE) {
    reply_with(REPLY_OK, (struct pj_error){STEP_REQUEST, in.m.op, EPROTO}, -1);
  }
  fds_close(&K.got);
}

/* Reap what has ended: the program, and its orphans, whose zombies would count; some, for there may be no end of them.
 * Nonzero when nobody is left. */
static int children_reap(void) {
  struct pj_facts *f = &K.page->facts;
  int status = 0, most = 64;
  long pid = 1;
  while (most-- > 0 && (pid = SYS(__NR_wait4, -1, &status, 0x40000001 /* __WALL | WNOHANG */, NULL)) > 0) {
    W.reaped++;
    if (pid != K.run.program) continue;
    f->ended = clock_ns(CLOCK_MONOTONIC);
    f->status = status;
    K.run.program = 0;
  }
  K.more = pid > 0;
  if (pid >= 0 && f->ended) run_stop(); /* every process here descends from a child of ours */
  return pid == -ECHILD;
}

/* Until nobody is left. Limits are looked at when they could first be passed. */
static void run_watch(void) {
  uint64_t quiet[4] = {0, 0, 0, 0}; /* streams, listener, children: who wakes us often waits for it */
  W = (struct watch){clock_ns(CLOCK_MONOTONIC), 0, 0, 0, WATCH_NS, row_of(CGROUP_CLOCK), row_of(CGROUP_WATCH), 0, 0};
  W.cpu_at = W.go_at + request()->cpu_ns / request()->cpus, W.memory_at = K.leaf.event >= 0 ? UINT64_MAX : 0;
  K.running = 1;
  for (;;) {
    uint64_t next = limits_watch(), now = clock_ns(CLOCK_MONOTONIC);
    if (K.page->facts.left) break;
    for (int i = 0; i < 4; i++)
      if (quiet[i] > now && quiet[i] < next) next = quiet[i];
    struct pollfd p[6] = {{quiet[3] > now ? -1 : K.children, POLLIN, 0},
                          {FD_CONTROL, POLLIN, 0},
                          {quiet[0] > now ? -1 : K.run.pipe[0][0], POLLIN, 0},
                          {quiet[1] > now ? -1 : K.run.pipe[1][0], POLLIN, 0},
                          {W.tripped || quiet[2] > now ? -1 : K.listener, POLLIN, 0},
                          {K.leaf.event, POLLIN, 0}};
    uint64_t wait = next > now && !K.more ? next - now : 0;
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
  K.running = 0;
}

/* SysV objects outlive the pid namespace until a worker frees the ipc namespace (nsjail#231): remove them now. */
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

static int tmpfs_note(uint32_t i, int fd) {
  struct pj_facts *f = &K.page->facts;
  struct statfs s = {0};
  if (SYS(__NR_fstatfs, fd, &s) < 0) return 0;
  f->tmpfs_free[i] = s.f_bavail * (uint64_t)s.f_bsize;
  f->tmpfs_size[i] = s.f_blocks * (uint64_t)s.f_bsize;
  f->tmpfs_inodes_free[i] = s.f_ffree;
  f->tmpfs_inodes[i] = s.f_files;
  return 1;
}

static void report(void) {
  struct pj_facts *f = &K.page->facts;
  const long rc = SYS(__NR_getrusage, -1 /* RUSAGE_CHILDREN */, f->used);
  if (rc < 0) memcpy(f->used, f->used_before, sizeof f->used), fail(STEP_ARM, 4, rc);
  if (K.ipc_used) ipc_sweep();
  f->reads_at = f->text_len;
  leaf_report();
  const uint32_t count = f->tmpfs_count = limits()->tmpfs.count;
  for (uint32_t i = 0; i < count; i++) tmpfs_note(i, K.tmpfs[i].fd);
  if (K.box >= 0 && count < PJ_MAX_TMPFS) f->tmpfs_count += (uint32_t)tmpfs_note(count, K.box); /* a session's /box */
  for (int i = 0; i < 2; i++) /* what was written last: at most a pipe full of packets, a read each */
    for (int more = 1 << 14; more-- && pump(i);) continue;
  f->reply.kind = REPLY_REPORT;
  f->reported = clock_ns(CLOCK_MONOTONIC);
  struct iovec iov[2] = {{f, sizeof *f}, {K.page->text, f->text_len}};
  if (message_send2(FD_CONTROL, iov, 2, NULL, 0) < 0) keeper_exit();
  SYS(__NR_sched_yield); /* who waits for it may have been woken on our CPU: what comes now is in nobody's way */
}
