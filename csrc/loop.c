/* The request loop, and where the keeper starts. */

/* Take a request from the `have` bytes that came with its message, or from its memfd when none did; check it. */
static long request_take(uint32_t len, uint32_t have, uint32_t *row) {
  const struct pj_limits *l = (const struct pj_limits *)(const void *)S->request;
  long rc = len > PJ_MAX_BLOB ? -EMSGSIZE : have ? (long)have : SYS(__NR_pread64, S->ask, S->request, len, 0);
  if (have && have == len) memcpy(S->request, own.in.body, len);
  if (rc >= 0) rc = rc == (long)len ? pj_check_limits(S->request, len, K.plan->cgroups, row) : -EIO;
  if (rc < 0) return rc;
  const uint32_t padded = (l->size + 7) & ~7u;
  return l->size > LIMITS_MAX || padded > len ? -EINVAL : pj_check_request(S->request + padded, len - padded, row);
}

/* Is the armed process there no longer? Idle for long, it may have been killed from outside, in a box from inside: then
 * it is looked for by its number, before all that may have ended besides. */
static int armed_gone(void) {
  if (!boxed()) return children_reap();
  if (S->program && SYS(__NR_wait4, S->program, NULL, __WALL | WNOHANG, NULL) == S->program) S->program = 0;
  return !S->program;
}

/* Have a process armed that fits the request, or tell why not: one that was may have noted its own failure already. */
static struct pj_error request_prepare(uint32_t len, uint32_t have) {
  uint32_t row = 0;
  int was_armed = S->made;
  const long rc = request_take(len, have, &row);
  if (rc < 0) return error_of(STEP_REQUEST, row, rc);
  const uint32_t size = ((const struct pj_limits *)(const void *)S->request)->size;
  if (was_armed && (limits()->size != size || !mem_equal(S->limits, S->request, size) || armed_gone())) {
    run_end();
    was_armed = 0;
    const struct pj_error e = S->page->facts.reply.error;
    if (S->touched) /* the files that were written went with it: killed, unless it says why */
      return e.step ? e : error_of(STEP_ARM, PJ_NONE, -ESRCH);
  }
  if (!was_armed) memcpy(S->limits, S->request, size);
  if (request()->flags & REQUEST_KEEP && (!boxed() || kept_full())) return error_of(STEP_REQUEST, PJ_NONE, -EUSERS);
  if (!was_armed && arm() < 0) {
    const struct pj_error e = S->page->facts.reply.error;
    run_end();
    return e;
  }
  S->page->facts.was_armed = (uint32_t)was_armed;
  return error_of(STEP_NONE, 0, 0);
}

static void run_start(uint64_t requested) {
  S->page->facts.requested = requested;
  K.go_tick = clock_ns(CLOCK_REALTIME_COARSE);
  if (K.plan->run_unshare & CLONE_NEWNET) K.net_sockets = sockets_count();
  /* From here on there may be a program: should we die, this tells the caller not to try again. */
  S->started[0] = PJ_STARTED_MAGIC, S->started[1] = S->page->facts.reply.number = own.in.m.number;
  S->started[2] = (uint32_t)S->leaf.number[0];
  long rc = 0;
  for (uint32_t i = 0; rc == 0 && i < K.got.count; i++) {
    struct statx s = {0};
    rc = SYS(__NR_statx, K.got.fd[i], "", AT_EMPTY_PATH, STATX_TYPE, &s);
    if (S_ISDIR(s.stx_mode)) rc = -EISDIR; /* a door out of the root */
    if (S_ISSOCK(s.stx_mode)) S->shared = 1;
  }
  if (rc == 0) rc = message_send(S->go[0], &(struct iovec){"g", 1}, 1, K.got.fd, K.got.count);
  if (rc < 0) {
    fail(STEP_FD, PJ_NONE, rc);
    run_stop();
  }
  fds_close(&K.got);
  run_begin();
}

/* What is asked for on the slot's socket. */
static void message_take(uint64_t now) {
  const long n = in_receive(K_MSG_DONTWAIT);
  if (n == -EAGAIN) return;
  const uint32_t op = own.in.m.op, have = (uint32_t)(n - (long)sizeof own.in.m);
  const int running = S->watch.go_at != 0, idle = !running && !S->held;
  struct pj_error e = {0};
  if (n == -EMFILE && boxed()) { /* others of a box go on, and may give some back */
    reply_with(op == OP_RUN ? REPLY_REFUSED : REPLY_OK, error_of(STEP_REQUEST, op, n), -1);
  } else if (n < (long)sizeof own.in.m) { /* hang-up, or nonsense that cannot be answered */
    if (S == &first) keeper_exit();
    S->gone = 1;
    running ? trip(TRIP_CALLER) : slot_free();
  } else if ((op == OP_RUN || op == OP_ARM) && idle && (S != &first || !boxed())) {
    if (S->over) release();
    if ((e = request_prepare(own.in.m.len, have)).step || op == OP_ARM)
      reply_with(op == OP_RUN ? REPLY_REFUSED : REPLY_OK, e, -1);
    else
      run_start(now);
  } else if (op == OP_KILL) { /* as the next two, it may come just after the end */
    if (running) trip(TRIP_CALLER);
    if (S == &first && boxed()) all_stop();
  } else if (op == OP_SIGNAL) {
    if (running && S->program > 0) SYS(__NR_kill, S->program, own.in.m.flags);
  } else if (op == OP_RELEASE) {
    if (!running && S->made) release();
  } else if (op >= OP_OPEN && op <= (running ? OP_REMOVE : OP_PIPE)) {
    file_request(&own.in.m, own.in.body, have);
  } else if (op == OP_PORT && K.plan->port && (boxed() || (idle && S->made))) {
    const long fd = port_open();
    reply_with(REPLY_OK, error_of(STEP_PORT, 0, fd), (int)fd);
    sys_close((int)fd);
  } else if (op == OP_RESET && idle && !boxed()) {
    reply_with(REPLY_OK, error_of(STEP_TMPFS, PJ_NONE, box_reset()), -1);
  } else {
    const int slot = op == OP_SLOT && S == &first && boxed();
    reply_with(REPLY_OK, error_of(STEP_REQUEST, op, slot ? slot_add() : -EPROTO), -1);
  }
  fds_close(&K.got);
}

/* A run whose end has come: its report, and what is put away. */
static void run_finish(void) {
  const int hold = request()->flags & REQUEST_HOLD;
  report();
  S->held = hold;
  if (S->gone)
    slot_free();
  else if (boxed() && !hold)
    S->over = S->page->facts.reported;
  else if (!hold)
    release();
}

/* Put away a run that is over, and arm the next one there; when to look again. Not at once, if another slot is armed:
 * who is back soon is served first, and what he starts runs meanwhile. */
static uint64_t over_tend(uint64_t now) {
  struct slot *over = NULL;
  int armed = 0, running = 0;
  EACH_SLOT {
    running |= S->watch.go_at != 0;
    armed |= S->made && !S->watch.go_at && !S->over && !S->held;
    if (S->over && (!over || S->over < over->over)) over = S;
  }
  if (!over) return UINT64_MAX;
  if (armed && !running && now < over->over + BACK_NS) return over->over + BACK_NS;
  S = over;
  release();
  return 0;
}

static void wake_by(uint32_t *n, int fd) { own.wake[(*n)++] = (struct pollfd){fd, POLLIN, 0}; }

/* Whom to wait for until `next`, in order; how many, and the instant for which others rest. */
static uint32_t wake_fill(uint64_t now, uint64_t *next) {
  uint32_t n = WAKE_SLOTS, running = 0;
  for (int i = 0; i < 3; i++)
    if (K.quiet[i] > now && K.quiet[i] < *next) *next = K.quiet[i];
  EACH_SLOT {
    if (S->at != n) S->at = n; /* that of `first` never changes: its page would be copied after each fork */
    wake_by(&n, S->gone ? -1 : S->control);
    if (!S->watch.go_at) continue;
    running += !S->watch.tripped;
    for (int i = 0; i < 2; i++) {
      if (S->watch.quiet[i] > now && S->watch.quiet[i] < *next) *next = S->watch.quiet[i];
      wake_by(&n, S->watch.quiet[i] > now ? -1 : S->pipe[i][0]);
    }
    wake_by(&n, S->leaf.event);
  }
  own.kept_at = n;
  for (uint32_t i = 0; K.quiet[2] <= now && i < 2 * K.keeps; i++)
    if (K.kept[i / 2].number[0] && K.kept[i / 2].pipe[i % 2] >= 0) wake_by(&n, K.kept[i / 2].pipe[i % 2]);
  const uint32_t all = n;
  n = WAKE_CHILDREN;
  wake_by(&n, K.quiet[0] > now ? -1 : K.children);
  wake_by(&n, K.quiet[1] <= now && (running || boxed()) ? K.listener : -1);
  return all;
}

/* Of a slot's run: output, memory. HOSTILE: how often. */
static void run_woken(void) {
  const struct pollfd *p = own.wake + S->at + 1;
  for (int i = 0; i < 2; i++)
    if (p[i].revents && pump(i) < PUMP_WORTH) S->watch.quiet[i] = clock_ns(CLOCK_MONOTONIC) + NS_PER_MS;
  if (p[2].revents && SYS(__NR_read, S->leaf.event, own.scratch, 8) == 8)
    S->watch.memory_at = 0, S->watch.pause = NS_PER_MS / 2;
}

/* What the kept ones write, some of it in each millisecond. HOSTILE: how much. */
static void kept_drain(uint32_t all, uint64_t now) {
  for (const struct pollfd *p = own.wake + own.kept_at; p < own.wake + all; p++)
    if (p->revents && (K.quiet[2] = now + NS_PER_MS) && SYS(__NR_read, p->fd, own.scratch, sizeof own.scratch) <= 0)
      for (uint32_t i = 0; i < 2 * K.keeps; i++)
        if (K.kept[i / 2].number[0] && K.kept[i / 2].pipe[i % 2] == p->fd) fd_drop(&K.kept[i / 2].pipe[i % 2]);
}

/* Limits are looked at when they could first be passed. HOSTILE: how often we are woken. */
static void __attribute__((noreturn)) serve(void) {
  for (;;) {
    uint64_t now = clock_ns(CLOCK_MONOTONIC), next = kept_tend(now), at = over_tend(now);
    if (at < next) next = at;
    int ended = 0, nobody = 0;
    EACH_SLOT {
      if (S->watch.go_at && (at = limits_watch()) < next) next = at;
      ended |= S->watch.go_at && (S->page->facts.ended || S->page->facts.left);
    }
    now = clock_ns(CLOCK_MONOTONIC);
    const uint32_t n = wake_fill(now, &next), slots = K.slots;
    const uint64_t wait = K.more ? 0 : minus(next, now);
    struct __kernel_timespec t = {(int64_t)(wait / 1000000000u), (int64_t)(wait % 1000000000u)};
    /* EINVAL: with one id for both and no filter, the program has lowered our RLIMIT_NOFILE. Then we are of no use. */
    if (SYS(__NR_ppoll, own.wake, n, next == UINT64_MAX && !K.more ? NULL : &t, NULL, 8) == -EINVAL) keeper_exit();
    now = clock_ns(CLOCK_MONOTONIC);
    kept_drain(n, now); /* first: what follows may close their fds */
    for (uint32_t i = 0; i < slots; i++) {
      if (!(S = K.slot[i]) || !S->at) continue; /* just made */
      if (S->watch.go_at) run_woken();
      if (own.wake[S->at].revents) message_take(now);
    }
    S = &first;
    if (own.wake[WAKE_LISTENER].revents & POLLIN) told(now); /* not on POLLERR: then it could wait for good */
    if (own.wake[WAKE_CHILDREN].revents || K.more || ended) {
      SYS(__NR_read, K.children, own.scratch, sizeof own.scratch);
      nobody = children_reap();
    }
    for (uint32_t i = 0; i < K.slots; i++)
      if ((S = K.slot[i]) && S->watch.go_at && run_over(nobody)) run_finish();
    S = &first;
  }
}

/* ---- start ---- */

/* Nothing of the caller's session, mask, priorities or personality is for us or the programs: ^C and ^Z at its terminal
 * must not stop enforcement, a real-time caller must not make real-time jails. */
static void caller_forget(void) {
  static const uint64_t by_default[8]; /* a struct sigaction, or more */
  const uint64_t blocked = KEEPER_BLOCKED | GUARD_BLOCKED;
  for (int i = 0; i < RLIMITS; i++) /* our own, and those of programs that are given none: as far as we may */
    if (SYS(__NR_prlimit64, 0, i, NULL, K.rlimits[i]) == 0)
      K.rlimits[i][0] = K.rlimits[i][1], SYS(__NR_prlimit64, 0, i, K.rlimits[i], NULL);
  SYS(__NR_setsid);
  SYS(__NR_umask, 022);
  sched_plain(0, 0);
  SYS(__NR_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, 0);
  SYS(__NR_personality, 0);
  SYS(__NR_rt_sigprocmask, SIG_SETMASK, &blocked, NULL, 8);
  for (int sig = 1; sig <= 64; sig++) SYS(__NR_rt_sigaction, sig, &by_default, NULL, 8); /* SIG_IGN survives execve */
}

/* The memory that we share, with programs' processes and, one page, with the embedder; and the plan, whose message
 * comes when it is written. Or the message is the janitor's first. */
static long plan_take(uint32_t *row) {
  struct pollfd either[2] = {{FD_CONTROL, POLLIN, 0}, {FD_EMBEDDER, POLLIN, 0}};
  struct page *early = S->page;
  long mapped = shared_map(0);
  if (mapped > 0) mapped = slot_share(mapped);
  struct page *page = S->page;
  S->page = early;
  long size = SYS(__NR_ppoll, either, 2, NULL, NULL, 8);
  if (size >= 0) size = in_receive(K_MSG_DONTWAIT); /* or a hang-up, or the embedder's end: it is not */
  if (own.in.m.op == OP_TIDY) janitor_main();
  if (size >= 0) size = SYS(__NR_lseek, FD_PLAN, 0, SEEK_END);
  if (size < 0 || mapped < 0) return size < 0 ? size : mapped;
  const long plan = size && size <= PJ_MAX_BLOB
                        ? SYS(__NR_mmap, NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                        : -EINVAL;
  if (plan < 0) return plan;
  S->page = page;
  K.plan = (const struct pj_plan *)plan;
  const long rc = SYS(__NR_pread64, FD_PLAN, plan, size, 0);
  return rc == size ? pj_check_plan(K.plan, (uint32_t)size, row) : rc < 0 ? rc : -EIO;
}

static void __attribute__((noreturn, used)) keeper_main(void) {
  static _Alignas(16) struct page early; /* until there is one to share */
  uint32_t row = 0;
  memset(&K, 0xff, offsetof(struct keeper, plan)); /* every fd -1 */
  slot_fds(S = &first);
  S->control = FD_CONTROL, S->out[0] = FD_OUT, S->out[1] = FD_ERR, S->ask = FD_REQUEST;
  K.slot[0] = S;
  K.slots = 1;
  for (int i = 0; i < PJ_MAX_TMPFS; i++) K.tmpfs[i].fd = K.tmpfs[i].spare = -1;
  S->page = &early;
  K.ipc_used = K.net_used = 1;
  caller_forget();
  long rc = plan_take(&row);
  if (rc < 0 || (rc = template_make()) < 0) fail(STEP_PLAN, row, rc); /* unless a step of the template has told */
  struct pj_error e = S->page->facts.reply.error;
  if (!e.step) e.err = (int32_t)-K.user_namespaces;
  reply_with(REPLY_READY, e, e.step ? -1 : K.mountinfo); /* Python reads back what was mounted */
  if (e.step) sys_exit(1);
  sys_close(K.mountinfo);
  if (!boxed() && leaf_make() < 0)
    leaf_drop(~0u), leaf_remove(); /* for the first request, on its way; it tells what goes wrong */
  own_keep();
  serve();
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tand $-16, %rsp\n\tcall keeper_main\n\tud2\n");
#else
__asm__(".globl _start\n_start:\n\tmov x29, xzr\n\tmov x30, xzr\n\tbl keeper_main\n\tbrk #1\n");
#endif
