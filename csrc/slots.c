/* The slots of a box: made and ended on request, each with its leaf. What a program leaves behind on request is kept
 * until nobody is left of it. */

/* How many threads there are in the leaf of this number; with `who`, how often that one. Each is sent `sig`, if that is
 * not 0: a number of a thread stands for its process, even when the first one has exited, whom cgroup.kill does not
 * reach. 0 without a leaf, -errno when it cannot be looked at. HOSTILE: how many. */
static long leaf_threads(uint64_t number, int sig, long who) {
  const int v2 = K.plan->into != PJ_NONE;
  char path[64];
  const char *name = leaf_name(number), *list = v2 ? "/cgroup.threads" : "/tasks";
  const size_t len = str_len(name);
  long found = 0, n;
  memcpy(path, name, len);
  memcpy(path + len, list, str_len(list) + 1);
  const int at = FD_CGROUP + (v2 ? (int)K.plan->into : 0);
  long fd = SYS(__NR_openat, at, path, O_RDONLY | O_CLOEXEC);
  if (fd == -EMFILE) { /* nobody lives for want of an fd */
    fd_drop(&K.spare);
    fd = SYS(__NR_openat, at, path, O_RDONLY | O_CLOEXEC);
  }
  if (fd < 0) return fd == -ENOENT ? 0 : fd;
  while ((n = SYS(__NR_read, fd, own.scratch, sizeof own.scratch)) > 0) /* whole lines */
    for (long i = 0; i < n; i++) {
      const long thread = (long)parse_u64(own.scratch + i, (size_t)(n - i));
      while (i < n && own.scratch[i] != '\n') i++;
      found += !who || thread == who;
      if (sig && thread > 1) SYS(__NR_kill, thread, sig);
    }
  sys_close((int)fd);
  if (K.spare < 0) K.spare = (int)SYS(__NR_fcntl, K.newroot, F_DUPFD_CLOEXEC, 0);
  return n < 0 && n != -ENODEV ? n : found;
}

static uint64_t leaf_number(const uint64_t *number) { return number[K.plan->into != PJ_NONE ? K.plan->into : 0]; }

/* Nobody is in the slot's leaf. Its counter is quick, but takes who is still to be reaped for somebody. HOSTILE. */
static int leaf_empty(void) {
  char count[8];
  if (SYS(__NR_pread64, row_of(CGROUP_COUNT), count, sizeof count, 0) == 2 && mem_equal(count, "0\n", 2)) return 1;
  return leaf_threads(leaf_number(S->leaf.number), 0, 0) == 0;
}

/* End all that is in the slot's leaf, and its program, which may not be there yet. */
static void leaf_stop(void) {
  EACH (struct pj_cgroup_row, c, limits(), limits()->cgroup)
    if (c->when == CGROUP_STOP) row_write(NUMBER(c), c->value);
  S->leaf.stale = ~0u; /* nothing can be started in it any more */
  leaf_threads(leaf_number(S->leaf.number), SIGKILL, 0);
  if (S->program > 0) SYS(__NR_kill, S->program, SIGKILL);
}

/* The run is over, and others are in its leaf: let them live, or die as soon as they can. */
static void leaf_keep(void) {
  struct kept *k = K.kept;
  S->leaf.stale = ~0u; /* its namespace, too, is not the next one's */
  while (k < K.kept + PJ_MAX_KEPT && k->number[0]) k++;
  if (k == K.kept + PJ_MAX_KEPT) return; /* there is one for each that was asked for */
  if (k == K.kept + K.keeps) K.keeps++;
  memcpy(k->number, S->leaf.number, sizeof k->number);
  for (int i = 0; i < 2; i++) k->pipe[i] = S->pipe[i][0], S->pipe[i][0] = -1;
  leaf_drop(~0u);
  memset(S->leaf.gone, 0, sizeof S->leaf.gone);
}

static int kept_full(void) {
  uint32_t free = 0, running = 0;
  struct slot *mine = S;
  for (uint32_t i = 0; i < PJ_MAX_KEPT; i++) free += !K.kept[i].number[0];
  EACH_SLOT running += S->watch.go_at != 0;
  S = mine;
  return running >= free;
}

/* What was kept and is empty by now goes: looked at when a child has ended, and not more than a tenth of the time. When
 * to look again. HOSTILE: when that is. */
static uint64_t kept_tend(uint64_t now) {
  if (!K.tend || now < K.tend_at) return K.tend ? K.tend_at : UINT64_MAX;
  for (struct kept *k = K.kept; k < K.kept + K.keeps; k++) {
    if (!k->number[0] || leaf_threads(leaf_number(k->number), 0, 0)) continue;
    for (uint32_t h = 0; h < K.plan->cgroups; h++)
      SYS(__NR_unlinkat, FD_CGROUP + h, leaf_name(k->number[h]), AT_REMOVEDIR); /* EBUSY: who cleans up after us */
    memset(k->number, 0, sizeof k->number);
    for (int i = 0; i < 2; i++) fd_drop(&k->pipe[i]);
  }
  while (K.keeps && !K.kept[K.keeps - 1].number[0]) K.keeps--;
  K.tend = 0;
  K.tend_at = now + 10 * (clock_ns(CLOCK_MONOTONIC) - now);
  return UINT64_MAX;
}

enum { SHARED = PJ_MAX_BLOB + 65536, SLOT_SIZE = (sizeof(struct slot) + 4095) & ~4095u };

/* Memory that is shared with a program's process: `more` bytes, a slot's request and page. Its address, or -errno. */
static long shared_map(size_t more) {
  const int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE;
  const long made = SYS(__NR_mmap, NULL, more + SHARED, PROT_READ | PROT_WRITE, flags, -1, 0);
  return made ? made : -ENOMEM; /* address 0 is nobody's */
}

/* Give it to the slot, with the mark for the embedder. */
static long slot_share(long shared) {
  SYS(__NR_ftruncate, S->ask, 4096);
  const long marks = SYS(__NR_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, S->ask, 0);
  if (marks < 0) return marks;
  S->started = (uint32_t *)marks;
  S->request = (char *)shared;
  S->page = (struct page *)(shared + PJ_MAX_BLOB);
  return 0;
}

enum { STACK_MOST = 1 << 18, VDSO_MOST = 1 << 16 }; /* bytes; gaps do no harm, and nothing else is near */
/* A program's process gets no copy of what only the keeper uses; its stack, too, is another one. */
static void own_keep(void) {
  const uintptr_t stack = (uintptr_t)__builtin_frame_address(0) & ~(uintptr_t)4095;
  SYS(__NR_madvise, &own, sizeof own & ~4095ul, MADV_DONTFORK);
  SYS(__NR_madvise, S->started, 4096, MADV_DONTFORK);
  /* No program is in the first slot of a box. Above it, when addresses are given downwards, is the kernel's vDSO. */
  const size_t vdso = (const char *)K.plan < S->request ? VDSO_MOST : 0;
  if (boxed() && S == &first) SYS(__NR_madvise, S->request, SHARED + vdso, MADV_DONTFORK);
  SYS(__NR_madvise, stack - STACK_MOST, 2 * STACK_MOST, MADV_DONTFORK);
}

static void slot_fds(struct slot *s) {
  memset(s, 0xff, offsetof(struct slot, leaf) + offsetof(struct leaf, number)); /* every fd -1 */
}

/* OP_SLOT. */
static long slot_add(void) {
  struct slot *mine = S;
  uint32_t i = 1;
  while (i < PJ_MAX_SLOTS && K.slot[i]) i++;
  if (i == PJ_MAX_SLOTS || K.got.count != 4) return i == PJ_MAX_SLOTS ? -EUSERS : -EINVAL;
  const long made = shared_map(SLOT_SIZE);
  if (made <= 0) return made;
  slot_fds(S = (struct slot *)made);
  S->ask = K.got.fd[3];
  const long rc = slot_share(made + SLOT_SIZE);
  if (rc < 0) {
    SYS(__NR_munmap, made, SLOT_SIZE + SHARED);
  } else {
    S->control = K.got.fd[0], S->out[0] = K.got.fd[1], S->out[1] = K.got.fd[2];
    K.got.count = 0;
    own_keep();
    K.slot[i] = S;
    if (i >= K.slots) K.slots = i + 1;
  }
  S = mine;
  return rc;
}

/* Nothing of it runs. The embedder is told by the end of its socket, last. */
static void slot_free(void) {
  struct slot *s = S;
  if (s->made) run_end();
  leaf_drop(~0u);
  leaf_remove();
  fd_drop(&s->go[0]), fd_drop(&s->go[1]), fd_drop(&s->out[0]), fd_drop(&s->out[1]), fd_drop(&s->ask);
  SYS(__NR_munmap, s->started, 4096);
  for (uint32_t i = 1; i < K.slots; i++)
    if (K.slot[i] == s) K.slot[i] = NULL;
  S = &first;
  sys_close(s->control);
  SYS(__NR_munmap, s, SLOT_SIZE + SHARED);
}
