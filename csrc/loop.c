/* The request loop, and where the keeper starts. */

/* Take a request from the `have` bytes that came with its message, or from its memfd when none did; check it. */
static long request_take(uint32_t len, uint32_t have, uint32_t *row) {
  const struct pj_limits *l = (const struct pj_limits *)(const void *)K.request;
  long rc = len > PJ_MAX_BLOB ? -EMSGSIZE : have ? (long)have : SYS(__NR_pread64, FD_REQUEST, K.request, len, 0);
  if (have && have == len) memcpy(K.request, in.body, len);
  if (rc >= 0) rc = rc == (long)len ? pj_check_limits(K.request, len, K.plan->cgroups, row) : -EIO;
  if (rc < 0) return rc;
  const uint32_t padded = (l->size + 7) & ~7u;
  return l->size > LIMITS_MAX || padded > len ? -EINVAL : pj_check_request(K.request + padded, len - padded, row);
}

/* Have a process armed that fits the request, or tell why not: one that was may have noted its own failure already. */
static struct pj_error request_prepare(uint32_t len, uint32_t have) {
  uint32_t row = 0;
  int was_armed = K.made;
  const long rc = request_take(len, have, &row);
  if (rc < 0) return error_of(STEP_REQUEST, row, rc);
  const uint32_t size = ((const struct pj_limits *)(const void *)K.request)->size;
  /* idle for long, it may have been killed from outside */
  if (was_armed && (limits()->size != size || !mem_equal(K.limits, K.request, size) || children_reap())) {
    run_end();
    was_armed = 0;
    const struct pj_error e = K.page->facts.reply.error;
    if (K.touched) /* the files that were written went with it: killed, unless it says why */
      return e.step ? e : error_of(STEP_ARM, PJ_NONE, -ESRCH);
  }
  if (!was_armed) memcpy(K.limits, K.request, size);
  if (!was_armed && arm() < 0) {
    const struct pj_error e = K.page->facts.reply.error;
    run_end();
    return e;
  }
  K.page->facts.was_armed = (uint32_t)was_armed;
  return error_of(STEP_NONE, 0, 0);
}

static void run_start(uint64_t requested) {
  K.page->facts.requested = requested;
  K.go_tick = clock_ns(CLOCK_REALTIME_COARSE);
  /* From here on there may be a program: should we die, this tells the caller not to try again. */
  K.started[0] = PJ_STARTED_MAGIC, K.started[1] = K.page->facts.reply.number = in.m.number;
  long rc = 0;
  for (uint32_t i = 0; rc == 0 && i < K.got.count; i++) {
    struct statx s = {0};
    rc = SYS(__NR_statx, K.got.fd[i], "", AT_EMPTY_PATH, STATX_TYPE, &s);
    if (S_ISDIR(s.stx_mode)) rc = -EISDIR; /* a door out of the root */
    if (S_ISSOCK(s.stx_mode)) K.shared = 1;
  }
  if (rc == 0) rc = message_send(K.go[0], &(struct iovec){"g", 1}, 1, K.got.fd, K.got.count);
  if (rc < 0) {
    fail(STEP_FD, PJ_NONE, rc);
    run_stop();
  }
  fds_close(&K.got);
  run_watch();
  report();
}

static void __attribute__((noreturn)) serve(void) {
  int held = 0;
  for (;;) {
    long n = in_receive(0);
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    if (n < (long)sizeof in.m) keeper_exit(); /* hang-up, or nonsense that cannot be answered */
    uint32_t op = in.m.op, have = (uint32_t)(n - (long)sizeof in.m);
    struct pj_error e = {0};
    if ((op == OP_RUN || op == OP_ARM) && !held) {
      if ((e = request_prepare(in.m.len, have)).step || op == OP_ARM) {
        reply_with(op == OP_RUN ? REPLY_REFUSED : REPLY_OK, e, -1);
      } else {
        run_start(now);
        if (!(held = request()->flags & REQUEST_HOLD)) op = OP_RELEASE;
      }
    } else if (op >= OP_OPEN && op <= OP_PIPE) {
      file_request(&in.m, in.body, have);
    } else if (op == OP_RESET && !held) {
      reply_with(REPLY_OK, error_of(STEP_TMPFS, PJ_NONE, box_reset()), -1);
    } else if (op != OP_KILL && op != OP_SIGNAL && op != OP_RELEASE) { /* the first two may come just after the end */
      reply_with(REPLY_OK, error_of(STEP_REQUEST, op, -EPROTO), -1);
    }
    fds_close(&K.got);
    if (op == OP_RELEASE && K.made) {
      held = 0;
      release();
    }
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
  struct pollfd first[2] = {{FD_CONTROL, POLLIN, 0}, {FD_EMBEDDER, POLLIN, 0}};
  const int ours = MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, rw = PROT_READ | PROT_WRITE;
  const long shared = SYS(__NR_mmap, NULL, PJ_MAX_BLOB + 65536, rw, ours, -1, 0);
  SYS(__NR_ftruncate, FD_REQUEST, 4096);
  const long marks = SYS(__NR_mmap, NULL, 4096, rw, MAP_SHARED, FD_REQUEST, 0);
  long size = SYS(__NR_ppoll, first, 2, NULL, NULL, 8);
  if (size >= 0) size = in_receive(K_MSG_DONTWAIT); /* or a hang-up, or the embedder's end: it is not */
  if (in.m.op == OP_TIDY) janitor_main();
  if (size >= 0) size = SYS(__NR_lseek, FD_PLAN, 0, SEEK_END);
  if (size < 0 || shared < 0 || marks < 0) return size < 0 ? size : shared < 0 ? shared : marks;
  const long plan =
      size && size <= PJ_MAX_BLOB ? SYS(__NR_mmap, NULL, size, rw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : -EINVAL;
  if (plan < 0) return plan;
  K.started = (uint32_t *)marks;
  K.request = (char *)shared;
  K.page = (struct page *)(shared + PJ_MAX_BLOB);
  K.plan = (const struct pj_plan *)plan;
  const long rc = SYS(__NR_pread64, FD_PLAN, plan, size, 0);
  return rc == size ? pj_check_plan(K.plan, (uint32_t)size, row) : rc < 0 ? rc : -EIO;
}

static void __attribute__((noreturn, used)) keeper_main(void) {
  static _Alignas(16) struct page early; /* until there is one to share */
  uint32_t row = 0;
  memset(&K, 0xff, offsetof(struct keeper, leaf) + offsetof(struct leaf, number)); /* every fd -1 */
  for (int i = 0; i < PJ_MAX_TMPFS; i++) K.tmpfs[i].fd = K.tmpfs[i].spare = -1;
  K.page = &early;
  K.ipc_used = 1;
  caller_forget();
  long rc = plan_take(&row);
  if (rc < 0 || (rc = template_make()) < 0) fail(STEP_PLAN, row, rc); /* unless a step of the template has told */
  struct pj_error e = K.page->facts.reply.error;
  if (!e.step) e.err = (int32_t)-K.user_namespaces;
  reply_with(REPLY_READY, e, e.step ? -1 : K.mountinfo); /* Python reads back what was mounted */
  if (e.step) sys_exit(1);
  sys_close(K.mountinfo);
  if (leaf_make() < 0) leaf_drop(~0u), leaf_remove(); /* for the first request, on its way; it tells what goes wrong */
  serve();
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tand $-16, %rsp\n\tcall keeper_main\n\tud2\n");
#else
__asm__(".globl _start\n_start:\n\tmov x29, xzr\n\tmov x30, xzr\n\tbl keeper_main\n\tbrk #1\n");
#endif
