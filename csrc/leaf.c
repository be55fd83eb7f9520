/* One run's cgroup leaf: made, limited, read back, watched, removed. C does not know v1 from v2: rows say which file
 * of which hierarchy. Included by keeper.c. */

static long leaf_make(void) {
  struct run *r = &K.run;
  const struct pj_limits *l = limits();
  char *n = r->name; /* "r" and the number of the run, unique below this keeper's directory */
  char digits[20];
  int d = 0;
  for (uint64_t v = ++K.sequence; v || !d; v /= 10) digits[d++] = (char)('0' + v % 10);
  *n++ = 'r';
  while (d) *n++ = digits[--d];
  *n = 0;
  for (uint32_t h = 0; h < K.plan->cgroups; h++) {
    TRY(STEP_CGROUP, PJ_NONE, SYS(__NR_mkdirat, FD_CGROUP + h, r->name, 0755));
    TRY(STEP_CGROUP, PJ_NONE,
        r->leaf[h] = (int)SYS(__NR_openat, FD_CGROUP + h, r->name, O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (h != K.plan->into)
      TRY(STEP_CGROUP, PJ_NONE, r->tasks[h] = (int)SYS(__NR_openat, r->leaf[h], "tasks", O_WRONLY | O_CLOEXEC));
  }
  for (uint32_t i = 0; i < l->cgroup.count; i++) {
    const struct pj_cgroup_row *c = ROW(l, l->cgroup, struct pj_cgroup_row, i);
    int mode = c->when == CGROUP_SET ? O_RDWR : c->when == CGROUP_KILL ? O_WRONLY : O_RDONLY;
    long fd = SYS(__NR_openat, r->leaf[c->hierarchy], limits_str(c->file), mode | O_CLOEXEC);
    if (c->when == CGROUP_READ || c->when == CGROUP_KILL) { /* a file this kernel lacks: the report says so */
      r->row[i] = (int)fd;
      if (c->when == CGROUP_KILL && fd >= 0) r->kill = (int)fd;
      continue;
    }
    TRY(STEP_CGROUP, i, fd);
    r->row[i] = (int)fd;
    if (c->when == CGROUP_CLOCK) r->clock = (int)fd;
    if (c->when == CGROUP_WATCH) {
      r->watch = (int)fd;
      text_add(TEXT_SET, i, (int)fd, NULL, 0);
    }
    if (c->when == CGROUP_SET) {
      const char *value = limits_str(c->value);
      TRY(STEP_CGROUP, i, SYS(__NR_write, fd, value, str_len(value)));
      text_add(TEXT_SET, i, (int)fd, NULL, 0);
    }
  }
  return 0;
}

static void leaf_close(const struct run *r) {
  for (uint32_t h = 0; h < K.plan->cgroups; h++) {
    sys_close(r->tasks[h]);
    sys_close(r->leaf[h]);
  }
  for (uint32_t i = 0; i < MAX_CGROUP_ROWS; i++) sys_close(r->row[i]);
}

static void leaf_remove(const struct run *r) {
  for (uint32_t h = 0; r->name[0] && h < K.plan->cgroups; h++) {
    /* EBUSY while the last exit is still being worked off; what stays is left to Python's clean-up */
    for (int tries = 0; tries < 200; tries++) {
      struct k_timespec ms = {0, 1000000};
      if (SYS(__NR_unlinkat, FD_CGROUP + h, r->name, AT_REMOVEDIR_) != -EBUSY) break;
      SYS(__NR_nanosleep, &ms, NULL);
    }
  }
}

/* CPU time of the leaf, ns: cpuacct.usage is a number of ns, cpu.stat starts with "usage_usec N". */
static uint64_t clock_read(void) {
  char buf[256];
  long n = SYS(__NR_pread64, K.run.clock, buf, sizeof buf, 0);
  if (n <= 0) return 0;
  if (buf[0] != 'u') return parse_u64(buf, (size_t)n);
  return n > 11 ? parse_u64(buf + 11, (size_t)n - 11) * 1000 : 0;
}

/* Did the watched text change since the start? */
static int watch_changed(void) {
  char buf[512];
  const struct pj_limits *l = limits();
  if (K.run.watch < 0) return 0;
  long n = SYS(__NR_pread64, K.run.watch, buf, sizeof buf, 0);
  const struct pj_facts *f = &K.page->facts;
  for (uint32_t at = 0; n > 0 && at < f->text_len;) {
    const struct pj_text *t = (const struct pj_text *)(const void *)(K.page->text + at);
    if (t->kind == TEXT_SET && ROW(l, l->cgroup, struct pj_cgroup_row, t->index)->when == CGROUP_WATCH)
      return t->len != (uint32_t)n || !mem_equal(t + 1, buf, t->len);
    at += (uint32_t)sizeof *t + ((t->len + 7) & ~7u);
  }
  return 0;
}
