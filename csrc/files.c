/* Files in and out: opened inside the workspace. What is read is handed over as an fd; what is written is written
 * here, because an fd open for writing that a thread of the embedder's forks meanwhile keeps execve at ETXTBSY. */

/* Mounts in the workspace belong to others. */
static const uint64_t IN_BOX = BENEATH | RESOLVE_NO_XDEV;
/* A box's files are asked for by the paths that its programs use. */
static const uint64_t IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;

/* Open again what an O_PATH fd is of, and close that: a file or directory, and none of the kernel's own, for a symlink
 * of a program's to /proc/self/mem would lead to our memory. HOSTILE: what it is. */
static long file_reopen(long at, uint64_t flags) {
  static const uint64_t kernel[] = {PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, NSFS_MAGIC};
  char link[32], *end = link + sizeof link - 1;
  struct statx st = {0};
  struct statfs fs = {0};
  if (at < 0) return at;
  long rc = SYS(__NR_statx, at, "", AT_EMPTY_PATH, STATX_TYPE, &st);
  if (rc == 0) rc = S_ISLNK(st.stx_mode) ? -ELOOP : S_ISREG(st.stx_mode) || S_ISDIR(st.stx_mode) ? 0 : -EINVAL;
  if (rc == 0) rc = SYS(__NR_fstatfs, at, &fs);
  for (uint32_t i = 0; i < sizeof kernel / sizeof *kernel; i++)
    if (rc == 0 && (uint64_t)fs.f_type == kernel[i]) rc = -EACCES;
  *end = 0;
  end = number_before(end, (uint64_t)at) - 8;
  memcpy(end, "self/fd/", 8);
  if (rc == 0) rc = SYS(__NR_openat, K.proc, end, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  sys_close((int)at);
  return rc;
}

/* OP_OPEN: in the workspace, or below the directory that came with the message. In what has been written of the root,
 * with O_PATH what is there, to be looked at, whatever it is; with O_EXCL a directory that hides what is below it, else
 * ENODATA: to read this attribute takes a right that the embedder may lack. HOSTILE: the tree. */
static long file_open(const struct pj_message *m, int box, const char *path) {
  const uint32_t always = m->flags & O_PATH ? O_NOFOLLOW : O_RDONLY | O_NONBLOCK | O_NOFOLLOW;
  const uint32_t more = m->mode & PJ_UPPER ? O_PATH | O_EXCL : 0;
  char opaque = 0;
  if (m->flags & ~(always | O_DIRECTORY | more)) return -EINVAL;
  if (path[0] == '/' && !K.got.count)
    return file_reopen(sys_open_beneath(K.newroot, path, O_PATH | (m->flags & O_NOFOLLOW), 0, IN_ROOT),
                       m->flags & O_DIRECTORY);
  long fd = sys_open_beneath(K.got.count ? K.got.fd[0] : box, path, (m->flags & ~O_EXCL) | always, 0, IN_BOX);
  if (fd < 0 || !(m->flags & O_EXCL)) return fd;
  const long rc = SYS(__NR_fgetxattr, fd, "user.overlay.opaque", &opaque, sizeof opaque);
  if (rc == 1 && opaque == 'y') return fd;
  sys_close((int)fd);
  return rc < 0 ? rc : -ENODATA;
}

/* OP_MKDIR; OP_PUT with flags 1, a symlink to what the fd that came with the message holds; OP_REMOVE, there or below
 * the directory that came with it: one name. HOSTILE: the tree. */
static long file_name(const struct pj_message *m, int box, const char *path) {
  const char *name;
  if (m->op == OP_PUT) {
    long n = K.got.count == 1 ? SYS(__NR_pread64, K.got.fd[0], own.scratch, PJ_PATH_MAX, 0) : -EINVAL;
    if (n <= 0 || n == PJ_PATH_MAX) return n < 0 ? n : -EINVAL;
    own.scratch[n] = 0;
  }
  const int below = m->op == OP_REMOVE && K.got.count, whole = path[0] == '/' && !below;
  long parent = parent_open(below ? K.got.fd[0] : whole ? K.newroot : box, path, &name, whole ? IN_ROOT : IN_BOX);
  if (parent < 0) return parent;
  long rc = m->op == OP_MKDIR ? SYS(__NR_mkdirat, parent, name, m->mode & 07777)
            : m->op == OP_PUT ? SYS(__NR_symlinkat, own.scratch, parent, name)
                              : SYS(__NR_unlinkat, parent, name, m->flags & 1 ? AT_REMOVEDIR : 0);
  sys_close((int)parent);
  return rc;
}

/* What OP_PUT writes to: a new file in the workspace; by a path from the root one that is there. HOSTILE: the tree. */
static long file_target(int box, const char *path, int *fresh) {
  const char *name;
  *fresh = 1;
  if (path[0] != '/') return sys_open_beneath(box, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, IN_BOX);
  const long there = file_reopen(sys_open_beneath(K.newroot, path, O_PATH, 0, IN_ROOT), O_WRONLY | O_TRUNC);
  *fresh = there == -ENOENT;
  if (!*fresh) return there;
  const long parent = parent_open(K.newroot, path, &name, IN_ROOT);
  if (parent < 0) return parent;
  const long fd = sys_open_beneath((int)parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600, IN_BOX);
  sys_close((int)parent);
  return fd;
}

/* OP_PUT: a new file with the content of the fd that came with the message; a hole stays one. HOSTILE: the tree. */
static long file_put(const struct pj_message *m, int box, const char *path) {
  int from = K.got.fd[0], fresh = 0;
  const long most = sizeof own.scratch;
  long at = 0, rc = 0, n;
  if (K.got.count != 1) return -EINVAL;
  long fd = file_target(box, path, &fresh);
  if (fd == -EEXIST && path[0] != '/') { /* to be replaced, if its owner may write to it */
    rc = sys_open_beneath(box, path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW, 0, IN_BOX);
    sys_close((int)rc);
    return rc == -EACCES ? rc : fd;
  }
  if (fd < 0) return fd;
  const long size = SYS(__NR_lseek, from, 0, SEEK_END);
  do {
    const long data = SYS(__NR_lseek, from, at, SEEK_DATA), hole = SYS(__NR_lseek, from, data, SEEK_HOLE);
    at = data > at ? data : data == -ENXIO && size > at ? size : at;
    n = data == -ENXIO ? 0 : SYS(__NR_pread64, from, own.scratch, hole > at && hole - at < most ? hole - at : most, at);
    for (long done = 0; rc >= 0 && done < n; done += rc)
      rc = SYS(__NR_pwrite64, fd, own.scratch + done, n - done, at + done);
    at += n > 0 ? n : 0;
    limits_look(); /* it suspends none */
  } while (rc >= 0 && n > 0);
  SYS(__NR_lseek, from, 0, SEEK_SET); /* it may be the sender's, too */
  if (rc >= 0) rc = n < 0 ? n : SYS(__NR_ftruncate, fd, at);
  if (rc == 0 && fresh) rc = SYS(__NR_fchmod, fd, m->mode & 0777);
  sys_close((int)fd);
  return rc;
}

/* HOSTILE: the tree; the path is the embedder's. */
static void file_request(const struct pj_message *m, const char *path, uint32_t have) {
  int box = m->mode & PJ_UPPER ? K.upper : K.run_box < limits()->tmpfs.count ? K.tmpfs[K.run_box].fd : K.box;
  uint32_t caps[6], few[6];
  long rc = -EINVAL;
  if (m->len && (boxed() || path[0] != '/') && m->len == have && !path[m->len - 1] && str_len(path) + 1 == m->len &&
      box >= 0)
    rc = SYS(__NR_capget, &caps_head, caps);
  if (rc >= 0) {
    memcpy(few, caps, sizeof few);
    few[0] &= 1u << CAP_KILL, few[3] = 0; /* limits are watched meanwhile */
    SYS(__NR_setfsgid, K.plan->gid);      /* what is made belongs to the program */
    SYS(__NR_setfsuid, K.plan->uid);
    if (!(m->mode & PJ_WHOLE)) rc = SYS(__NR_capset, &caps_head, few); /* what it may not open, nor may we */
    self_guard();
    rc = rc < 0             ? rc
         : m->op == OP_OPEN ? file_open(m, box, path)
         : m->op == OP_PIPE ? sys_open_beneath(K.newroot, path, (m->flags & O_WRONLY) | O_NONBLOCK, 0, IN_BOX)
         : m->op == OP_PUT && !(m->flags & 1) ? file_put(m, box, path)
                                              : file_name(m, box, path);
    if (SYS(__NR_capset, &caps_head, caps) < 0) keeper_exit(); /* of no use without them */
    SYS(__NR_setfsuid, K.plan->keeper_uid);
    SYS(__NR_setfsgid, K.plan->keeper_gid);
    self_guard();
    if (box != K.box && box != K.upper) S->touched = 1;
  }
  const int fd = rc >= 0 && (m->op == OP_OPEN || m->op == OP_PIPE) ? (int)rc : -1;
  reply_with(REPLY_OK, error_of(STEP_OPEN, 0, rc), fd);
  sys_close(fd);
}

/* OP_RESET: a new tmpfs in the place of a session's workspace, whatever is in it. What is armed goes with it. */
static long box_reset(void) {
  if (K.box < 0) return -EINVAL;
  const struct pj_mount *m = ROW(K.plan, K.plan->mounts, struct pj_mount, K.box_row);
  long fd = fs_make(plan_str(0), m);
  if (fd < 0) return fd;
  run_end();
  long rc = mount_detach(K.box);
  if (rc == 0) rc = mount_attach((int)fd, K.newroot, plan_str(m->target));
  if (rc < 0) sys_exit(1); /* without a workspace there is no session */
  sys_close(K.box);
  K.box = (int)fd;
  return 0;
}
