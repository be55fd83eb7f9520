/* The workspace and its like: tmpfs of a run, mounted in the keeper's own namespace, of which every run has a copy.
 * One that a run has left untouched serves the next; any other is replaced. */

/* HOSTILE: the root's times and mode, what is used. */
static void tmpfs_look(int fd, struct look *now) {
  memset(now, 0, sizeof *now);
  SYS(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &now->root);
  SYS(__NR_fstatfs, fd, &now->space);
}

/* The number that the next file gets, by making one without a name; 0 when none can be. HOSTILE: that. */
static uint64_t tmpfs_inode(const struct tmpfs *t) {
  struct statx s = {0};
  long fd = SYS(__NR_openat, t->fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0);
  if (fd < 0) return 0;
  SYS(__NR_statx, fd, "", AT_EMPTY_PATH, STATX_INO, &s);
  sys_close((int)fd);
  return s.stx_ino;
}

/* Nothing was made, removed, renamed, listed or changed, not even for a moment: the root's times and mode, the free
 * space and the next inode number are what they were. A time tells only what happened in a later tick. HOSTILE. */
static int tmpfs_untouched(struct tmpfs *t) {
  struct look now;
  tmpfs_look(t->fd, &now);
  const uint64_t changed = (uint64_t)now.root.stx_ctime.tv_sec * 1000000000u + now.root.stx_ctime.tv_nsec;
  if (changed >= K.go_tick || !mem_equal(&now, &t->look, sizeof now)) return 0;
  const uint64_t inode = tmpfs_inode(t);
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

static long tmpfs_new(uint32_t i) {
  K.tmpfs[i].inode = 0;
  return K.tmpfs[i].spare = (int)fs_make(limits_str(0), ROW(limits(), limits()->tmpfs, struct pj_mount, i));
}

/* After a run. When one must be replaced, the others get mounts anew, too, in their order: a mount table is sorted by
 * when its mounts were made. Mounts and directories of ours inside of one are made anew with it. */
static void tmpfs_renew(void) {
  const uint32_t count = limits()->tmpfs.count;
  uint32_t kept = 0;
  int failed = 0;
  for (uint32_t i = 0; i < count && K.sockets >= 0 && !K.net_used && !S->shared && !K.plan->run_mounts.count; i++)
    if (tmpfs_untouched(&K.tmpfs[i])) kept |= 1u << i;
  if (kept == (1u << count) - 1) return;
  for (uint32_t i = 0; i < count; i++) {
    struct tmpfs *t = &K.tmpfs[i];
    failed |= (kept >> i & 1 ? t->spare = (int)mount_clone(t->fd, 0) : tmpfs_new(i)) < 0;
  }
  tmpfs_drop_all(failed); /* else what is made anew later would come last */
}

/* In this order: mounts of the template that a run's tmpfs would hide, cloned; the tmpfs; those. HOSTILE: the way. */
static long tmpfs_place(int *rebind, uint32_t *taken) {
  const struct pj_table tmpfs = limits()->tmpfs, below = K.plan->run_mounts;
  EACH (struct pj_mount, m, K.plan, below) {
    if (m->kind != MOUNT_REBIND) continue;
    const int at = (int)sys_open_beneath(K.newroot, plan_str(m->source), O_PATH | O_NOFOLLOW, 0, BENEATH);
    rebind[*taken] = at < 0 ? at : (int)mount_clone(at, AT_RECURSIVE);
    sys_close(at);
    TRY(STEP_RUN_MOUNT, NUMBER(m), rebind[(*taken)++]);
  }
  EACH (struct pj_mount, t, limits(), tmpfs) {
    struct tmpfs *k = &K.tmpfs[NUMBER(t)];
    if (k->spare < 0) continue;
    EACH (struct pj_mount, m, K.plan, below) /* its own mount point, when that lies in another one */
      if (m->kind == MOUNT_DIR) entry_make(K.newroot, m);
    k->fd = k->spare;
    k->spare = -1;
    TRY(STEP_TMPFS, NUMBER(t), mount_attach(k->fd, K.newroot, limits_str(t->target)));
    if (!k->inode) k->inode = tmpfs_inode(k) + 1;
  }
  EACH (struct pj_mount, m, K.plan, below) {
    const int again = m->kind == MOUNT_REBIND;
    TRY(STEP_RUN_MOUNT, NUMBER(m),
        again ? mount_attach(*rebind++, K.newroot, plan_str(m->target)) : entry_make(K.newroot, m));
  }
  return 0;
}

static long tmpfs_make(void) {
  static int rebind[PJ_MAX_ROWS];
  uint32_t taken = 0;
  int missing = 0;
  K.run_box = PJ_NONE;
  EACH (struct pj_mount, t, limits(), limits()->tmpfs) {
    const struct tmpfs *k = &K.tmpfs[NUMBER(t)];
    if (t->flags & MOUNT_IS_BOX) K.run_box = NUMBER(t);
    if (k->fd < 0 && k->spare < 0) TRY(STEP_TMPFS, NUMBER(t), tmpfs_new(NUMBER(t)));
    missing |= k->fd < 0;
  }
  if (!missing) return 0;
  const long rc = tmpfs_place(rebind, &taken);
  while (taken) sys_close(rebind[--taken]);
  for (uint32_t i = 0; rc == 0 && i < limits()->tmpfs.count; i++) tmpfs_look(K.tmpfs[i].fd, &K.tmpfs[i].look);
  return rc;
}

/* The rules are the same for all runs that have these tmpfs: their inodes are what a rule holds. HOSTILE: the way. */
static long ruleset_make(void) {
  const struct pj_plan *p = K.plan;
  const uint64_t attr[3] = {p->landlock_fs, p->landlock_net, p->landlock_scoped};
  if (K.ruleset >= 0 || !(attr[0] | attr[1] | attr[2])) return 0;
  /* The size says which ABI's fields we use; the plan has zeros in those this kernel lacks. */
  size_t size = attr[2] ? 24 : attr[1] ? 16 : 8;
  TRY(STEP_LANDLOCK, PJ_NONE, K.ruleset = (int)SYS(__NR_landlock_create_ruleset, attr, size, 0));
  EACH (struct pj_landlock_rule, r, p, p->landlock) {
    struct landlock_path_beneath_attr rule = {.allowed_access = r->access};
    long fd;
    const char *path = plan_str(r->path);
    TRY(STEP_LANDLOCK, NUMBER(r), fd = sys_open_beneath(K.newroot, path[1] ? path + 1 : ".", O_PATH, 0, BENEATH));
    rule.parent_fd = (int32_t)fd;
    long rc = SYS(__NR_landlock_add_rule, K.ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    sys_close((int)fd);
    TRY(STEP_LANDLOCK, NUMBER(r), rc);
  }
  return 0;
}
