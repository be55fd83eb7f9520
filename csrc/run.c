/* One run, from its go to its report: limits, output, messages meanwhile. Included by keeper.c. */

static struct {
  struct pj_message m;
  char path[PJ_PATH_MAX];
} in;

/* Move what is in the pipe into the caller's memfd, up to the cap; count all of it. Bytes moved. */
static uint64_t pump(int stream) {
  struct pj_facts *f = &K.page->facts;
  const uint64_t cap = request()->output;
  const uint64_t before = f->out_total[stream];
  int fd = K.run.pipe[stream][0];
  for (int rounds = 0; rounds < 64; rounds++) { /* then let the clock be looked at */
    uint64_t room = cap - f->out_kept[stream];
    long n;
    if (room) {
      int64_t at = (int64_t)f->out_kept[stream];
      n = SYS(__NR_splice, fd, NULL, FD_OUT + stream, &at, room < 1048576 ? room : 1048576, 2 /* SPLICE_F_NONBLOCK */);
      if (n < 0 && n != -EAGAIN && n != -EINTR)
        n = SYS(__NR_read, fd, scratch, sizeof scratch); /* no room left for us */
      else if (n > 0)
        f->out_kept[stream] += (uint64_t)n;
    } else {
      n = SYS(__NR_read, fd, scratch, sizeof scratch);
    }
    if (n <= 0) break;
    f->out_total[stream] += (uint64_t)n;
  }
  return f->out_total[stream] - before;
}

/* End the run. The leaf's own switch is the quickest; init's kill(-1) misses nothing; init then reports. */
static void run_stop(void) {
  SYS(__NR_write, row_of(CGROUP_KILL), "1", 1);
  SYS(__NR_kill, K.run.init, K_SIGTERM);
}
static void trip(enum pj_trip why) {
  struct pj_facts *f = &K.page->facts;
  if (f->trip == TRIP_NONE) f->trip = why;
  run_stop();
}

/* The filter refused a syscall for good: note which, then nothing of the run goes on. */
static void refused(void) {
  struct {
    uint64_t id;
    uint32_t pid, flags;
    int32_t nr;
    uint32_t arch;
    uint64_t ip, args[6];
  } n = {0};
  struct pj_facts *f = &K.page->facts;
  long rc = SYS(__NR_ioctl, K.run.listener, 0xc0502100 /* SECCOMP_IOCTL_NOTIF_RECV */, &n);
  if (rc < 0 && rc != -ENOENT) return;
  if (f->trip == TRIP_NONE) { /* ENOENT: the caller died meanwhile; that it was refused is certain all the same */
    f->syscall = rc < 0 ? -1 : n.nr;
    f->arch = n.arch;
  }
  trip(TRIP_SECURITY);
}

/* Init passes it on: the keeper does not know the number that the program has. A real-time signal: each one arrives. */
static void signal_program(int sig) {
  struct {
    int signo, err, code, pad, pid, uid, value, rest[25];
  } info = {.signo = K_SIGQUEUED, .code = -1 /* SI_QUEUE */, .value = sig};
  SYS(__NR_rt_sigqueueinfo, K.run.init, K_SIGQUEUED, &info);
}

static struct watch { /* of the run in progress */
  uint64_t go_at, tripped, cpu_at, memory_at;
  int clock, memory;
} W;

/* Trip what has been passed; when to look again. */
static uint64_t limits_watch(void) {
  const struct pj_facts *f = &K.page->facts;
  const struct pj_request *q = request();
  uint64_t now = clock_ns(K_CLOCK_MONOTONIC), next = now + 1000 * NS_PER_MS;
  if (W.tripped) {
    now > W.tripped + KILL_GRACE_NS ? run_kill() : run_stop();
    return now + 10 * NS_PER_MS;
  }
  /* Our own way to execve is not the program's time, but has an end, too. */
  const int started = f->state == STATE_EXEC && f->started;
  uint64_t since = started ? f->started : W.go_at + START_NS;
  if (q->wall_ns && !f->ended) { /* a program that has ended was in time, whatever killing the rest takes */
    if (now >= since + q->wall_ns)
      trip(TRIP_WALL);
    else if (since + q->wall_ns < next)
      next = since + q->wall_ns;
    if (!started) next = now + NS_PER_MS; /* nothing else tells us of its start */
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
    W.memory_at = now + WATCH_NS;
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
    W.tripped = clock_ns(K_CLOCK_MONOTONIC);
  } else if (in.m.op == OP_SIGNAL) {
    signal_program((int)in.m.flags);
  } else if (in.m.op >= OP_OPEN && in.m.op <= OP_REMOVE) {
    file_request(&in.m, in.path, (uint32_t)(n - (long)sizeof in.m));
  } else if (in.m.op != OP_RELEASE) {
    reply_with(REPLY_OK, (struct pj_error){STEP_REQUEST, in.m.op, EPROTO}, -1);
  }
  fds_close();
}

/* Until init has reported. Limits are looked at when they could first be passed. */
static void run_watch(void) {
  struct run *r = &K.run;
  uint64_t quiet[2] = {0, 0};
  W = (struct watch){clock_ns(K_CLOCK_MONOTONIC), 0, 0, 0, row_of(CGROUP_CLOCK), row_of(CGROUP_WATCH)};
  K.running = 1;
  for (;;) {
    uint64_t next = limits_watch(), now = clock_ns(K_CLOCK_MONOTONIC);
    for (int i = 0; i < 2; i++)
      if (quiet[i] > now && quiet[i] < next) next = quiet[i];
    struct k_pollfd p[5] = {{r->go, K_POLLIN, 0},
                            {FD_CONTROL, K_POLLIN, 0},
                            {quiet[0] > now ? -1 : r->pipe[0][0], K_POLLIN, 0},
                            {quiet[1] > now ? -1 : r->pipe[1][0], K_POLLIN, 0},
                            {W.tripped ? -1 : r->listener, K_POLLIN, 0}};
    uint64_t wait = next > now ? next - now : 0;
    struct k_timespec t = {(int64_t)(wait / 1000000000u), (int64_t)(wait % 1000000000u)};
    SYS(__NR_ppoll, p, 5, &t, NULL, 8);
    for (int i = 0; i < 2; i++)
      if (p[2 + i].revents && pump(i) < PUMP_WORTH) quiet[i] = clock_ns(K_CLOCK_MONOTONIC) + NS_PER_MS;
    if (p[1].revents) run_message(message_receive(FD_CONTROL, &in, sizeof in));
    if (p[4].revents & K_POLLIN)
      refused();
    else if (p[4].revents) { /* the last process under the filter is gone */
      sys_close(r->listener);
      r->listener = -1;
    }
    if (p[0].revents) {
      char what = 0;
      if (message_receive(r->go, &what, 1) != 1 || what != 'l' || !K.nfds) break; /* done, or init was lost */
      r->listener = K.fds[0];
      K.nfds = 0;
    }
  }
  K.running = 0;
}

static void tmpfs_note(uint32_t i, const struct k_statfs *s) {
  struct pj_facts *f = &K.page->facts;
  f->tmpfs_free[i] = s->bavail * (uint64_t)s->bsize;
  f->tmpfs_size[i] = s->blocks * (uint64_t)s->bsize;
  f->tmpfs_inodes_free[i] = s->ffree;
  f->tmpfs_inodes[i] = s->files;
}

static void report(void) {
  struct run *r = &K.run;
  struct pj_facts *f = &K.page->facts;
  const struct pj_limits *l = limits();
  if (f->init_lost) { /* its socket hangs up before its pid namespace is empty: wait for that */
    run_kill();
    SYS(__NR_waitid, 1 /* P_PID */, r->init, NULL, 4 | 0x01000000 | 0x40000000 /* WEXITED|WNOWAIT|__WALL */, NULL);
  }
  f->reads_at = f->text_len;
  leaf_report();
  for (uint32_t i = 0; i < l->tmpfs.count; i++) {
    struct k_statfs s = {0};
    if (SYS(__NR_fstatfs, K.tmpfs[i].fd, &s) < 0) continue;
    tmpfs_note(i, &s);
  }
  f->tmpfs_count = l->tmpfs.count;
  struct k_statfs w = {0};
  if (K.box >= 0 && f->tmpfs_count < PJ_MAX_TMPFS && SYS(__NR_fstatfs, K.box, &w) == 0) /* a session's workspace */
    tmpfs_note(f->tmpfs_count++, &w);
  for (int i = 0; i < 2; i++) pump(i); /* what was written last; nobody is left to write more */
  f->reply.kind = REPLY_REPORT;
  f->reported = clock_ns(K_CLOCK_MONOTONIC);
  struct k_iovec iov[2] = {{f, sizeof *f}, {K.page->text, f->text_len}};
  if (message_send2(FD_CONTROL, iov, 2, NULL, 0) < 0) keeper_exit();
}
