/* The request loop, and where the keeper starts. Included by keeper.c. */

/* ---- requests ---- */

/* Take a request from the `have` bytes that came with its message, or from its memfd when none did; check it, have a
 * process armed that fits it. What is wrong with the request goes to *e; what goes wrong while arming is on the page,
 * where an armed program may have noted its own failure already. */
static long request_prepare(uint32_t len, uint32_t have, struct pj_error *e) {
  uint32_t row = 0, size = 0;
  int was_armed = K.run.made;
  long rc = len > PJ_MAX_BLOB ? -EMSGSIZE : have ? (long)have : SYS(__NR_pread64, FD_REQUEST, K.request, len, 0);
  if (have && have == len) memcpy(K.request, in.body, len);
  if (rc >= 0) rc = rc == (long)len ? pj_check_limits(K.request, len, K.plan->cgroups, &row) : -EIO;
  if (rc == 0) {
    size = ((const struct pj_limits *)(const void *)K.request)->size;
    if (size > LIMITS_MAX || ((size + 7) & ~7u) > len) rc = -EINVAL;
  }
  if (rc == 0) {
    uint32_t padded = (size + 7) & ~7u;
    rc = pj_check_request(K.request + padded, len - padded, &row);
  }
  if (rc < 0) {
    *e = (struct pj_error){STEP_REQUEST, row, (int32_t)-rc};
    return -1;
  }
  /* idle for long, it may have been killed from outside */
  if (was_armed && (limits()->size != size || !mem_equal(K.limits, K.request, size) || children_reap())) {
    run_end();
    was_armed = 0;
    if (K.touched) { /* the files that were written went with it: killed, unless it says why */
      *e = K.page->facts.reply.error;
      if (!e->step) *e = (struct pj_error){STEP_ARM, PJ_NONE, ESRCH};
      return -1;
    }
  }
  if (!was_armed) {
    memcpy(K.limits, K.request, size);
    if (arm() < 0) {
      *e = K.page->facts.reply.error;
      run_end();
      return -1;
    }
  }
  K.page->facts.was_armed = (uint32_t)was_armed;
  return 0;
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
  if (rc == 0) rc = message_send(K.go[0], "g", 1, K.got.fd, K.got.count);
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
      if (request_prepare(in.m.len, have, &e) < 0 || op == OP_ARM) {
        reply_with(op == OP_RUN ? REPLY_REFUSED : REPLY_OK, e, -1);
      } else {
        run_start(now);
        held = request()->flags & REQUEST_HOLD;
        if (!held) op = OP_RELEASE;
      }
    } else if (op >= OP_OPEN && op <= OP_PIPE) {
      file_request(&in.m, in.body, have);
    } else if (op == OP_RESET && !held) {
      long rc = box_reset();
      if (rc < 0) e = (struct pj_error){STEP_TMPFS, PJ_NONE, (int32_t)-rc};
      reply_with(REPLY_OK, e, -1);
    } else if (op != OP_KILL && op != OP_SIGNAL && op != OP_RELEASE) { /* the first two may come just after the end */
      reply_with(REPLY_OK, (struct pj_error){STEP_REQUEST, op, EPROTO}, -1);
    }
    fds_close(&K.got);
    if (op == OP_RELEASE && K.run.made) {
      held = 0;
      release();
    }
  }
}

/* ---- start ---- */

static void __attribute__((noreturn, used)) keeper_main(void) {
  static _Alignas(16) struct page early; /* until there is one to share */
  static const uint64_t by_default[8];   /* a struct sigaction, or more */
  const uint64_t blocked = KEEPER_BLOCKED | GUARD_BLOCKED;
  struct pollfd first[2] = {{FD_CONTROL, POLLIN, 0}, {FD_EMBEDDER, POLLIN, 0}};
  uint32_t row = 0;
  K.page = &early;
  K.go[0] = K.go[1] = K.box = K.newroot = K.mountinfo = K.sockets = K.unix = K.ruleset = K.proc = K.last_pid =
      K.children = K.listener = -1;
  for (int i = 0; i < PJ_MAX_TMPFS; i++) K.tmpfs[i].fd = K.tmpfs[i].spare = -1;
  K.ipc_used = 1;
  memset(K.run.pipe, 0xff, sizeof K.run.pipe); /* every fd -1 */
  memset(&K.leaf, 0xff, offsetof(struct leaf, number));
  /* Nothing of the caller's session, mask, priorities or personality is for us or the programs: ^C and ^Z at its
   * terminal must not stop enforcement, a real-time caller must not make real-time jails. */
  for (int i = 0; i < RLIMITS; i++) /* our own, and those of programs that are given none: as far as we may */
    if (SYS(__NR_prlimit64, 0, i, NULL, K.rlimits[i]) == 0)
      K.rlimits[i][0] = K.rlimits[i][1], SYS(__NR_prlimit64, 0, i, K.rlimits[i], NULL);
  SYS(__NR_setsid);
  SYS(__NR_umask, 022);
  SYS(__NR_sched_setscheduler, 0, 0 /* SCHED_OTHER */, &(int){0});
  if (SYS(__NR_getpriority, 0, 0) > 20) SYS(__NR_setpriority, 0, 0, 0); /* the raw result is 20 - nice */
  SYS(__NR_ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, 0);
  SYS(__NR_personality, 0);
  SYS(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, &blocked, NULL, 8);
  for (int sig = 1; sig <= 64; sig++) SYS(__NR_rt_sigaction, sig, &by_default, NULL, 8); /* SIG_IGN survives execve */
  long shared = SYS(__NR_mmap, NULL, PJ_MAX_BLOB + 65536, 3, 0x21 | 0x4000 /* SHARED|ANON|NORESERVE */, -1, 0);
  SYS(__NR_ftruncate, FD_REQUEST, 4096);
  long marks = SYS(__NR_mmap, NULL, 4096, 3, 1 /* SHARED */, FD_REQUEST, 0);
  long written = SYS(__NR_ppoll, first, 2, NULL, NULL, 8);
  if (written >= 0) written = in_receive(K_MSG_DONTWAIT); /* or a hang-up, or the embedder's end: it is not */
  if (in.m.op == OP_TIDY) janitor_main();
  long size = written < 0 ? written : SYS(__NR_lseek, FD_PLAN, 0, 2 /* SEEK_END */);
  long plan = size > 0 && size <= PJ_MAX_BLOB ? SYS(__NR_mmap, NULL, size, 3, 0x22 /* PRIVATE|ANON */, -1, 0) : -EINVAL;
  long rc = size < 0 ? size : NO_MAP(shared) ? shared : NO_MAP(marks) ? marks : NO_MAP(plan) ? plan : 0;
  if (rc == 0) {
    K.started = (uint32_t *)marks;
    K.request = (char *)shared;
    K.page = (struct page *)(shared + PJ_MAX_BLOB);
    rc = SYS(__NR_pread64, FD_PLAN, plan, size, 0);
    if (rc >= 0) rc = rc == size ? pj_check_plan((const void *)plan, (uint32_t)size, &row) : -EIO;
  }
  K.plan = (const struct pj_plan *)plan;
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
