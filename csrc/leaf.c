/* The cgroup leaf of the runs: made, limited, read back, watched, used again or removed. C does not know v1 from v2:
 * rows say which file of which hierarchy. */

/* "r" and the number of the leaf, unique below this keeper's directory. */
static const char *leaf_name(uint64_t number) {
  char *at = number_before(own.name + sizeof own.name - 1, number);
  *--at = 'r';
  return at;
}

static void leaf_remove(void) {
  for (uint32_t h = 0; h < K.plan->cgroups; h++) {
    /* EBUSY while the last exit is still being worked off; what stays is left to who cleans up after us */
    for (int tries = 200; S->leaf.gone[h] && tries--; rest(NS_PER_MS)) {
      const long rc = SYS(__NR_unlinkat, FD_CGROUP + h, leaf_name(S->leaf.gone[h]), AT_REMOVEDIR);
      if (rc == 0 || rc == -ENOENT) break;
    }
    S->leaf.gone[h] = 0;
  }
}

/* The fd of the row of that kind, -1 without one. */
static int row_of(enum pj_cgroup_when when) {
  EACH (struct pj_cgroup_row, c, limits(), limits()->cgroup)
    if (c->when == when) return S->leaf.row[NUMBER(c)];
  return -1;
}

/* Let go of the leaves whose bit is set; their names are kept for leaf_remove. */
static void leaf_drop(uint32_t which) {
  struct leaf *r = &S->leaf;
  if (which) fd_drop(&r->namespace);
  for (uint32_t h = 0; h < K.plan->cgroups; h++) {
    if (!(which >> h & 1) || !r->number[h]) continue;
    fd_drop(&r->dir[h]);
    fd_drop(&r->tasks[h]);
    EACH (struct pj_cgroup_row, c, limits(), limits()->cgroup) {
      if (c->hierarchy != h) continue;
      if (c->when == CGROUP_WATCH) fd_drop(&r->event);
      fd_drop(&r->row[NUMBER(c)]);
    }
    if (r->gone[h]) leaf_remove(); /* of a run before, when the next could not be armed */
    r->gone[h] = r->number[h];
    r->number[h] = 0;
  }
}

static long row_write(uint32_t i, uint32_t ref) {
  return SYS(__NR_write, S->leaf.row[i], limits_str(ref), str_len(limits_str(ref)));
}

/* v1 has no group kill, but tells when a limit is met: a thousand jails that look instead keep a CPU busy. */
static int event_make(int dir, int file) {
  char line[48], *end = line + sizeof line, *at;
  const long event = SYS(__NR_eventfd2, 0, O_CLOEXEC | O_NONBLOCK);
  at = number_before(end, (uint64_t)file);
  *--at = ' ';
  at = number_before(at, (uint64_t)event);
  if (event >= 0 && file_write(dir, "cgroup.event_control", 0, 0, at, (size_t)(end - at)) == 0) return (int)event;
  sys_close((int)event);
  return -1;
}

static long row_open(uint32_t i) {
  struct leaf *r = &S->leaf;
  const struct pj_cgroup_row *c = ROW(limits(), limits()->cgroup, struct pj_cgroup_row, i);
  int mode = c->when == CGROUP_STOP ? O_WRONLY : c->when == CGROUP_SET || c->renew != PJ_NONE ? O_RDWR : O_RDONLY;
  r->row[i] = (int)SYS(__NR_openat, r->dir[c->hierarchy], limits_str(c->file), mode | O_CLOEXEC);
  if (c->base) r->base[i][0] = 0;
  if (c->when == CGROUP_READ && r->row[i] == -ENOENT) return 0; /* a file this kernel lacks: the report says so */
  TRY(STEP_CGROUP, i, r->row[i]);
  if (c->when == CGROUP_SET) TRY(STEP_CGROUP, i, row_write(i, c->value));
  if (c->when == CGROUP_WATCH) r->event = event_make(r->dir[c->hierarchy], r->row[i]);
  return 0;
}

/* CPU time of the leaf, ns: cpuacct.usage is a number of ns, cpu.stat starts with "usage_usec N". HOSTILE: N. */
static uint64_t clock_text(const char *s, uint64_t n) {
  if (!n || s[0] != 'u') return parse_u64(s, n);
  return n > 11 ? parse_u64(s + 11, n - 11) * 1000 : 0;
}

/* A new leaf in each hierarchy without one. */
static long leaf_make(void) {
  struct leaf *r = &S->leaf;
  for (uint32_t h = 0; h < K.plan->cgroups; h++) {
    if (r->dir[h] >= 0) continue;
    const char *name = leaf_name(r->number[h] = ++K.sequence);
    r->fresh |= 1u << h;
    TRY(STEP_CGROUP, PJ_NONE, SYS(__NR_mkdirat, FD_CGROUP + h, name, 0755));
    TRY(STEP_CGROUP, PJ_NONE, r->dir[h] = (int)SYS(__NR_openat, FD_CGROUP + h, name, O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (h == K.plan->into) continue;
    TRY(STEP_CGROUP, PJ_NONE, r->tasks[h] = (int)SYS(__NR_openat, r->dir[h], "tasks", O_WRONLY | O_CLOEXEC));
  }
  return 0;
}

/* For the next run: new leaves, or the last run's with their marks set back. HOSTILE: the last texts. */
static long leaf_ready(void) {
  const struct pj_limits *l = limits();
  struct pj_facts *f = &S->page->facts;
  struct leaf *r = &S->leaf;
  if (leaf_make() < 0) return -1;
  const uint32_t fresh = r->fresh;
  r->fresh = 0;
  EACH (struct pj_cgroup_row, c, l, l->cgroup) {
    const uint32_t i = NUMBER(c);
    const char *base = r->base[i];
    if (fresh >> c->hierarchy & 1) {
      if (row_open(i) < 0) return -1;
    } else if (c->renew != PJ_NONE) {
      TRY(STEP_CGROUP, i, row_write(i, c->renew));
    }
    if (c->base) text_add(TEXT_BASE, i, -1, base, (uint32_t)str_len(base));
    if (c->when == CGROUP_CLOCK) r->clock_base = clock_text(base, str_len(base));
  }
  if (!fresh && f->text_len + r->set_len < PJ_TEXT_SIZE) { /* what was set is what was read back then */
    memcpy(S->page->text + f->text_len, r->set, r->set_len);
    f->text_len += r->set_len;
    return 0;
  }
  const uint32_t before = f->text_len;
  EACH (struct pj_cgroup_row, c, l, l->cgroup)
    if (c->when == CGROUP_SET || c->when == CGROUP_WATCH) text_add(TEXT_SET, NUMBER(c), r->row[NUMBER(c)], NULL, 0);
  r->set_len = f->text_len - before;
  if (r->set_len > sizeof r->set) r->set_len = 0, r->stale = ~0u;
  memcpy(r->set, S->page->text + before, r->set_len);
  return 0;
}

/* Is a number in this text of a finished run above `most`? Then the next run gets another leaf. HOSTILE. */
static int text_above(const char *s, uint32_t n, uint64_t most) {
  for (uint32_t i = 0; most != UINT64_MAX && i < n; i++) {
    if (s[i] < '0' || s[i] > '9') continue;
    if (parse_u64(s + i, n - i) > most) return 1;
    while (i < n && s[i] >= '0' && s[i] <= '9') i++;
  }
  return 0;
}

/* When all processes are dead: what the leaf has counted. HOSTILE: the numbers. */
static void leaf_report(void) {
  const struct pj_limits *l = limits();
  struct pj_facts *f = &S->page->facts;
  struct leaf *r = &S->leaf;
  f->plain = 1;
  f->cpu = UINT64_MAX;
  EACH (struct pj_cgroup_row, c, l, l->cgroup) {
    const uint32_t i = NUMBER(c);
    if (c->when != CGROUP_READ && c->when != CGROUP_WATCH && c->when != CGROUP_CLOCK) continue;
    const struct pj_text *t = r->row[i] < 0 ? NULL : text_add(TEXT_READ, i, r->row[i], NULL, 0);
    const char *text = t ? (const char *)(t + 1) : "";
    const int read = t && !t->err && (!c->base || t->len < BASE_SIZE);
    if (!read || text_above(text, t->len, c->most)) {
      r->stale |= 1u << c->hierarchy;
      if (!read || !c->most) f->plain = 0;
    }
    if (read && c->base) memcpy(r->base[i], text, t->len), r->base[i][t->len] = 0;
    if (read && c->when == CGROUP_CLOCK) f->cpu = minus(clock_text(text, t->len), r->clock_base + f->exec_cpu);
  }
}

/* HOSTILE: the number. */
static uint64_t clock_read(void) {
  char buf[256];
  long n = SYS(__NR_pread64, row_of(CGROUP_CLOCK), buf, sizeof buf, 0);
  const uint64_t now = n <= 0 ? 0 : clock_text(buf, (uint64_t)n);
  return minus(now, S->leaf.clock_base);
}

/* The cgroup namespace that the first process in this leaf has made, for those after it. K.got may be a request's. */
static void leaf_namespace_take(void) {
  struct leaf *r = &S->leaf;
  struct fds got = {0};
  char what = 0;
  if (r->namespace >= 0 || !text_keep(TEXT_NS, NS_CGROUP, r->namespace_name)) return;
  if (message_receive(S->go[0], &what, 1, K_MSG_DONTWAIT, &got) == 1 && got.count) r->namespace = got.fd[0];
}

/* Did the watched text change since the start? HOSTILE: its numbers. */
static int watch_changed(void) {
  char buf[512];
  EACH (struct pj_cgroup_row, c, limits(), limits()->cgroup) {
    if (c->when != CGROUP_WATCH) continue;
    const long n = SYS(__NR_pread64, S->leaf.row[NUMBER(c)], buf, sizeof buf, 0);
    const struct pj_text *t = text_find(TEXT_SET, NUMBER(c));
    return n > 0 && t && (t->len != (uint32_t)n || !mem_equal(t + 1, buf, t->len));
  }
  return 0;
}
