/* Files in and out: opened inside the workspace, handed over as fds. Included by keeper.c. */

/* OP_OPEN, OP_MKDIR: in the workspace, or below the directory that came with the message. */
static void file_request(const struct pj_message *m, const char *path, uint32_t have) {
  const uint64_t resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  const uint32_t allowed = O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_DIRECTORY | O_NONBLOCK | O_NOFOLLOW | O_APPEND;
  int base = K.nfds ? K.fds[0] : K.run.box >= 0 ? K.run.box : K.box;
  long rc;
  if (m->len == 0 || path[0] == '/' || m->len != have || path[m->len - 1] || str_len(path) + 1 != m->len ||
      m->flags & ~allowed || base < 0)
    rc = -EINVAL;
  else {
    SYS(__NR_setfsgid, K.plan->gid); /* what is made belongs to the program */
    SYS(__NR_setfsuid, K.plan->uid);
    if (m->op == OP_OPEN)
      rc = sys_open_beneath(base, path, m->flags | O_NONBLOCK | O_NOFOLLOW, m->flags & O_CREAT ? m->mode & 07777 : 0,
                            resolve);
    else {
      const char *name;
      char dir[PJ_PATH_MAX];
      size_t n = 0;
      for (size_t i = 0; path[i] && i < sizeof dir; i++)
        if (path[i] == '/') n = i;
      memcpy(dir, path, n);
      dir[n] = 0;
      name = n ? path + n + 1 : path;
      rc =
          m->len > sizeof dir ? -ENAMETOOLONG : sys_open_beneath(base, n ? dir : ".", O_PATH | O_DIRECTORY, 0, resolve);
      if (rc >= 0) {
        int parent = (int)rc;
        rc = SYS(__NR_mkdirat, parent, name, m->mode & 07777);
        sys_close(parent);
      }
    }
    SYS(__NR_setfsuid, K.plan->keeper_uid);
    SYS(__NR_setfsgid, K.plan->keeper_gid);
  }
  K.touched |= rc >= 0;
  struct pj_error e = {0};
  if (rc < 0) e = (struct pj_error){STEP_OPEN, 0, (int32_t)-rc};
  int fd = rc >= 0 && m->op == OP_OPEN ? (int)rc : -1;
  reply_with(REPLY_OK, e, fd);
  sys_close(fd);
}
