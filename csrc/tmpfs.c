/* The workspace and its like: tmpfs of a run, mounted in the keeper's own namespace, of which every run has a copy.
 * One that a run has left untouched serves the next; any other is replaced. Included by keeper.c. */

static void tmpfs_look(struct tmpfs *t, struct statx *root, struct statfs *space) {
  memset(root, 0, sizeof *root);
  memset(space, 0, sizeof *space);
  SYS(__NR_statx, t->fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, root);
  SYS(__NR_fstatfs, t->fd, space);
}

/* The number that the next file gets, by making one without a name. */
static uint64_t tmpfs_inode(const struct tmpfs *t) {
  struct statx s = {0};
  long fd = SYS(__NR_openat, t->fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0);
  if (fd < 0) return 0;
  SYS(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_INO, &s);
  sys_close((int)fd);
  return s.stx_ino;
}

/* Nothing was made, removed, renamed, listed or changed, not even for a moment: the root's times and mode, the free
 * space and the next inode number are what they were. A time tells only what happened in a later tick of the clock. */
static int tmpfs_untouched(struct tmpfs *t) {
  struct statx root;
  struct statfs space;
  tmpfs_look(t, &root, &space);
  uint64_t made = (uint64_t)root.stx_ctime.tv_sec * 1000000000u + root.stx_ctime.tv_nsec, inode;
  if (made >= K.go_tick || !mem_equal(&root, &t->root, sizeof root) || !mem_equal(&space, &t->space, sizeof space))
    return 0;
  inode = tmpfs_inode(t);
  return inode && inode == t->inode++;
}

/* Off its mount point, with what is mounted on it; "." because no path below a run's tmpfs can be trusted. */
static long mount_detach(int fd) {
  long rc = SYS(__NR_fchdir, fd);
  if (rc == 0) rc = SYS(__NR_umount2, ".", 2 /* MNT_DETACH */);
  if (SYS(__NR_fchdir, K.newroot) < 0) sys_exit(1); /* a program would begin in what is gone */
  return rc;
}

static void tmpfs_drop_all(int spares) {
  for (int i = PJ_MAX_TMPFS; i-- > 0;) {
    if (spares) fd_drop(&K.tmpfs[i].spare);
    if (K.tmpfs[i].fd < 0) continue;
    const long rc = mount_detach(K.tmpfs[i].fd);
    if (rc < 0 && rc != -EINVAL /* not mounted yet */) sys_exit(1);
    fd_drop(&K.tmpfs[i].fd);
  }
  fd_drop(&K.ruleset); /* its rules name the inodes */
}

static int tmpfs_new(uint32_t i) {
  return (int)fs_make(limits_str(0), ROW(limits(), limits()->tmpfs, struct pj_mount, i));
}

/* After a run. When one must be replaced, the others get mounts anew, too, in their order: a mount table is sorted by
 * when its mounts were made. Mounts and directories of ours inside of one are made anew with it. */
static void tmpfs_renew(void) {
  const uint32_t count = limits()->tmpfs.count;
  uint32_t kept = 0;
  int failed = 0;
  for (uint32_t i = 0; i < count && K.sockets >= 0 && !K.shared && !K.plan->run_mounts.count; i++)
    if (tmpfs_untouched(&K.tmpfs[i])) kept |= 1u << i;
  if (kept == (1u << count) - 1) return;
  for (uint32_t i = 0; i < count; i++) {
    struct tmpfs *t = &K.tmpfs[i];
    const int keep = kept >> i & 1;
    t->spare =
        keep ? (int)SYS(__NR_open_tree, t->fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH) : tmpfs_new(i);
    if (!keep) t->inode = 0;
    failed |= t->spare < 0;
  }
  tmpfs_drop_all(failed); /* else what is made anew later would come last */
}

/* Template mounts below a run's tmpfs would be hidden by it: cloned first, put back after. */
static long rebinds_take(int *fd, uint32_t *taken) {
  const struct pj_table t = K.plan->run_mounts;
  EACH (struct pj_mount, m, K.plan, t) {
    if (m->kind != MOUNT_REBIND) continue;
    TRY(STEP_RUN_MOUNT, NUMBER(m),
        fd[*taken] = (int)SYS(__NR_open_tree, K.newroot, plan_str(m->source),
                              OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
    ++*taken;
  }
  return 0;
}
static long run_mounts_make(const int *fd) {
  const struct pj_table t = K.plan->run_mounts;
  EACH (struct pj_mount, m, K.plan, t) {
    const int again = m->kind == MOUNT_REBIND;
    TRY(STEP_RUN_MOUNT, NUMBER(m),
        again ? mount_attach(*fd++, K.newroot, plan_str(m->target)) : entry_make(K.newroot, m));
  }
  return 0;
}

static long tmpfs_mount(uint32_t i) {
  const struct pj_table t = K.plan->run_mounts;
  struct tmpfs *k = &K.tmpfs[i];
  EACH (struct pj_mount, m, K.plan, t) /* its own mount point, when that lies in another one */
    if (m->kind == MOUNT_DIR) entry_make(K.newroot, m);
  k->fd = k->spare;
  k->spare = -1;
  const uint32_t target = ROW(limits(), limits()->tmpfs, struct pj_mount, i)->target;
  TRY(STEP_TMPFS, i, mount_attach(k->fd, K.newroot, limits_str(target)));
  if (!k->inode) k->inode = tmpfs_inode(k) + 1;
  return 0;
}

static long tmpfs_make(void) {
  const struct pj_limits *l = limits();
  static int rebind[PJ_MAX_ROWS];
  uint32_t missing = 0, taken = 0;
  long rc = 0;
  K.run_box = PJ_NONE;
  for (uint32_t i = 0; i < l->tmpfs.count; i++) {
    struct tmpfs *k = &K.tmpfs[i];
    if (ROW(l, l->tmpfs, struct pj_mount, i)->flags & MOUNT_IS_BOX) K.run_box = i;
    if (k->fd >= 0) continue;
    missing |= 1u << i;
    if (k->spare >= 0) continue;
    k->inode = 0;
    TRY(STEP_TMPFS, i, k->spare = tmpfs_new(i));
  }
  if (!missing) return 0;
  rc = rebinds_take(rebind, &taken);
  for (uint32_t i = 0; rc == 0 && i < l->tmpfs.count; i++)
    if (missing >> i & 1) rc = tmpfs_mount(i);
  if (rc == 0) rc = run_mounts_make(rebind);
  while (taken) sys_close(rebind[--taken]);
  for (uint32_t i = 0; rc == 0 && i < l->tmpfs.count; i++) tmpfs_look(&K.tmpfs[i], &K.tmpfs[i].root, &K.tmpfs[i].space);
  return rc;
}

/* The rules are the same for all runs that have these tmpfs: their inodes are what a rule holds. */
static long ruleset_make(void) {
  const struct pj_plan *p = K.plan;
  struct {
    uint64_t fs, net, scoped;
  } attr = {p->landlock_fs, p->landlock_net, p->landlock_scoped};
  if (K.ruleset >= 0 || (!attr.fs && !attr.net && !attr.scoped)) return 0;
  /* The size says which ABI's fields we use; the plan has zeros in those this kernel lacks. */
  size_t size = attr.scoped ? 24 : attr.net ? 16 : 8;
  TRY(STEP_LANDLOCK, PJ_NONE, K.ruleset = (int)SYS(444 /* landlock_create_ruleset */, &attr, size, 0));
  EACH (struct pj_landlock_rule, r, p, p->landlock) {
    struct {
      uint64_t access;
      int32_t fd;
    } __attribute__((packed)) rule = {.access = r->access};
    long fd;
    const char *path = plan_str(r->path);
    TRY(STEP_LANDLOCK, NUMBER(r), fd = sys_open_beneath(K.newroot, path[1] ? path + 1 : ".", O_PATH, 0, BENEATH));
    rule.fd = (int32_t)fd;
    long rc = SYS(445 /* landlock_add_rule */, K.ruleset, 1 /* LANDLOCK_RULE_PATH_BENEATH */, &rule, 0);
    sys_close((int)fd);
    TRY(STEP_LANDLOCK, NUMBER(r), rc);
  }
  return 0;
}
