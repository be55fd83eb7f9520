/* The janitor: one for each embedder, there before its first cgroup directory, which it removes when the embedder has
 * ended, however. */

struct k_dirent64 { /* getdents64(2) */
  uint64_t inode, next;
  uint16_t size;
  uint8_t type;
  char name[];
};
#define TIDY_TRIES 500 /* 10 ms each: the jails are still being ended */
#define TIDY_LEVELS 4  /* below a directory: a keeper's, its leaves, and room for more */

/* Remove a cgroup directory and `levels` below it, as far as nobody is in them. HOSTILE: the names below. */
static long cgroup_remove(int at, const char *name, int levels) {
  _Alignas(8) char entries[1024];
  long dir = SYS(__NR_openat, at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), n;
  if (dir < 0) return dir;
  while (levels > 0 && (n = SYS(__NR_getdents64, dir, entries, sizeof entries)) > 0)
    for (long i = 0; i < n; i += ((struct k_dirent64 *)(void *)(entries + i))->size) {
      const struct k_dirent64 *e = (const struct k_dirent64 *)(const void *)(entries + i);
      if (e->type == 4 /* DT_DIR */ && e->name[0] != '.') cgroup_remove((int)dir, e->name, levels - 1);
    }
  sys_close((int)dir);
  return SYS(__NR_unlinkat, at, name, AT_REMOVEDIR);
}

/* We have the rights that the embedder had at first. Whoever it is by now, what goes is named as ours, in a cgroup. */
static long tidy(const char *path) {
  const char *name;
  struct statfs fs = {0};
  long at = parent_open(AT_FDCWD, path, &name, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS), rc = -ENOENT;
  if (at < 0) return at;
  SYS(__NR_fstatfs, at, &fs);
  if ((fs.f_type == CGROUP_SUPER_MAGIC || fs.f_type == CGROUP2_SUPER_MAGIC) && mem_equal(name, "pyjail-", 7))
    rc = cgroup_remove((int)at, name, TIDY_LEVELS);
  sys_close((int)at);
  return rc;
}

/* `in` is the first OP_TIDY. The embedder's pidfd tells of its end: a child may hold the socket, or it was closed. */
static void __attribute__((noreturn)) janitor_main(void) {
  struct pollfd wait[2] = {{FD_CONTROL, POLLIN, 0}, {FD_EMBEDDER, POLLIN, 0}};
  uint32_t used = 0;
  SYS(__NR_prctl, PR_SET_NAME, "pyjail-janitor", 0, 0, 0);
  SYS(__NR_chdir, "/");
  for (long n = 1; n > 0 || !wait[1].revents; n = in_receive(K_MSG_DONTWAIT)) {
    const uint32_t size = (uint32_t)str_len(own.in.body) + 1;
    if (n <= 0) {
      if (n != -EAGAIN) wait[0].fd = -1;
      SYS(__NR_ppoll, wait, 2, NULL, NULL, 8);
    } else if (used + size < sizeof own.scratch) {
      memcpy(own.scratch + used, own.in.body, size);
      used += size;
    }
    fds_close(&K.got);
  }
  for (int tries = TIDY_TRIES, left = 1; left && tries; tries--) {
    left = 0;
    for (const char *path = own.scratch; path < own.scratch + used; path += str_len(path) + 1) {
      const long rc = tidy(path);
      left |= rc < 0 && rc != -ENOENT;
    }
    if (left) rest(10 * NS_PER_MS);
  }
  sys_exit(0);
}
