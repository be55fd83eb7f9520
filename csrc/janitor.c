/* The janitor: one for each embedder, there before its first cgroup directory, which it removes when the embedder has
 * ended, however. Included by keeper.c. */

struct k_dirent64 { /* getdents64(2) */
  uint64_t inode, next;
  uint16_t size;
  uint8_t type;
  char name[];
};
#define K_DT_DIR 4
#define K_CGROUP_MAGIC 0x27e0eb    /* linux/magic.h: CGROUP_SUPER_MAGIC, */
#define K_CGROUP2_MAGIC 0x63677270 /* CGROUP2_SUPER_MAGIC */
#define TIDY_TRIES 500             /* 10 ms each: the jails are still being ended */

/* Remove a cgroup directory and `levels` below it, as far as nobody is in them. */
static long cgroup_remove(int at, const char *path, int levels) {
  _Alignas(8) char entries[1024];
  struct statfs fs = {0};
  long dir = SYS(__NR_openat, at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), n = -EPERM;
  if (dir < 0) return dir;
  long rc = SYS(__NR_fstatfs, dir, &fs);
  if (rc == 0 && (fs.f_type == K_CGROUP_MAGIC || fs.f_type == K_CGROUP2_MAGIC)) n = 0;
  while (n == 0 && levels > 0 && (rc = SYS(__NR_getdents64, dir, entries, sizeof entries)) > 0)
    for (long i = 0; i < rc; i += ((struct k_dirent64 *)(void *)(entries + i))->size) {
      const struct k_dirent64 *e = (const struct k_dirent64 *)(const void *)(entries + i);
      if (e->type == K_DT_DIR && e->name[0] != '.') cgroup_remove((int)dir, e->name, levels - 1);
    }
  sys_close((int)dir);
  return n < 0 ? n : SYS(__NR_unlinkat, at, path, AT_REMOVEDIR);
}

/* `in` is the first OP_TIDY. Of the embedder's end SIGHUP (PDEATHSIG) tells: a child that it forked may hold its
 * socket, and somebody else in it may have closed that. */
static void __attribute__((noreturn)) janitor_main(void) {
  static const uint64_t hang_up = 1ull << (K_SIGHUP - 1);
  const struct __kernel_timespec rest = {0, 10000000};
  char told[128]; /* a struct signalfd_siginfo */
  const int signals = (int)SYS(__NR_signalfd4, -1, &hang_up, 8, O_CLOEXEC | O_NONBLOCK);
  struct pollfd wait[2] = {{FD_CONTROL, POLLIN, 0}, {signals, POLLIN, 0}};
  uint32_t used = 0;
  SYS(__NR_chdir, "/");
  for (long n = 1; n > 0 || SYS(__NR_getppid) == K.parent;
       n = message_receive(FD_CONTROL, &in, sizeof in, K_MSG_DONTWAIT, &K.got)) {
    const uint32_t size = (uint32_t)str_len(in.body) + 2;
    if (n <= 0) {
      if (n != -EAGAIN) wait[0].fd = -1;
      SYS(__NR_ppoll, wait, 2, NULL, NULL, 8);
      SYS(__NR_read, signals, told, sizeof told);
    } else if (used + size < sizeof scratch) { /* the levels, the path, 0 */
      scratch[used] = (char)in.m.flags;
      memcpy(scratch + used + 1, in.body, size - 1);
      used += size;
    }
    fds_close(&K.got);
  }
  for (int tries = TIDY_TRIES, left = 1; left && tries; tries--) {
    left = 0;
    for (const char *path = scratch + 1; path < scratch + used; path += str_len(path) + 2) {
      const long rc = cgroup_remove(AT_FDCWD, path, path[-1]);
      left |= rc < 0 && rc != -ENOENT;
    }
    if (left) SYS(__NR_nanosleep, &rest, NULL);
  }
  sys_exit(0);
}
