/* Tries to reach what an overlay is made of, and what it is not. Prints each attempt that did not fail. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define TRY(call) ((long)(call) >= 0 ? (void)printf("%s\n", #call) : (void)0)
static struct {
  struct file_handle h;
  unsigned char room[128];
} handle = {.h.handle_bytes = 128};

static long into(const char *dir, long (*then)(void)) { /* in a child, whose namespaces are its own */
  fflush(stdout);
  pid_t pid = fork();
  int status;
  if (pid == 0) _exit(unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && (!dir || chdir(dir) == 0) && then() >= 0 ? 0 : 1);
  waitpid(pid, &status, 0);
  return status == 0 ? 0 : -1;
}
static long uncover(void) { return umount2("/", MNT_DETACH) == 0 || umount2("/tmp", MNT_DETACH) == 0 ? 0 : -1; }
static long again(void) { return mount("x", "/home", "overlay", 0, "lowerdir=/bin,upperdir=/made,workdir=/made"); }
static long bound(void) { return mount("/", "/home", 0, MS_BIND, 0); }
static long writable(void) { return mount(0, "/proc", 0, MS_REMOUNT | MS_BIND, 0); }

static void named(const char *dir, const char *what) { /* nothing of ours is seen by the names that we have for it */
  char path[256];
  snprintf(path, sizeof path, "%s/%s", dir, what);
  if (access(path, F_OK) == 0) printf("%s is there\n", path);
}

int main(void) {
  int flags = FS_IMMUTABLE_FL, mount_id;
  /* What overlayfs writes beside a file: what it would follow or hide by. */
  mkdir("/made", 0755), mkdir("/made/below", 0755);
  static const char *const marks[] = {"opaque", "redirect", "origin", "metacopy", "impure", "upper", "whiteout"};
  for (unsigned i = 0; i < sizeof marks / sizeof *marks; i++)
    for (int user = 0; user < 2; user++) {
      char name[64], got[64];
      snprintf(name, sizeof name, "%s.overlay.%s", user ? "user" : "trusted", marks[i]);
      setxattr("/made", name, "/tmp/upper", 10, 0), setxattr("/sub", name, "y", 1, 0);
      setxattr("/sub/file", name, "/../../etc", 10, 0), getxattr("/sub", name, got, sizeof got);
    }
  if (access("/sub/file", R_OK) || access("/made/below", F_OK)) puts("a mark of overlayfs's was taken for one");
  TRY(mknod("/whiteout", S_IFCHR, 0));
  TRY(mknod("/null", S_IFCHR | 0666, 1 << 8 | 3));
  TRY(mknod("/disk", S_IFBLK | 0666, 254 << 8));
  TRY(syscall(SYS_renameat2, AT_FDCWD, "/made/below", AT_FDCWD, "/made/other", 4 /* RENAME_WHITEOUT */));
  TRY(syscall(SYS_name_to_handle_at, AT_FDCWD, "/sub/file", &handle, &mount_id, 0) == 0
          ? syscall(SYS_open_by_handle_at, open("/", O_RDONLY), &handle, O_RDONLY)
          : -1);
  TRY(chroot("/sub"));
  TRY(syscall(SYS_pivot_root, "/", "/home"));
  TRY(umount2("/tmp", MNT_DETACH));
  TRY(mount("/sub", "/home", 0, MS_BIND, 0));
  TRY(mount(0, "/", 0, MS_REMOUNT | MS_BIND, 0));
  TRY(syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */));
  TRY(syscall(SYS_fsopen, "overlay", 0));
  TRY(syscall(SYS_fspick, AT_FDCWD, "/", 0));
  TRY(setns(open("/proc/1/ns/mnt", O_RDONLY), 0));
  TRY(open("/proc/1/root/", O_RDONLY));
  TRY(open("/proc/1/cwd/", O_RDONLY));
  TRY(opendir("/proc/1/fd") ? 0 : -1);
  TRY(open("/proc/1/mountinfo", O_RDONLY));
  TRY(into(NULL, uncover));
  TRY(into("/sub", again));
  TRY(into("/sub", bound));
  TRY(into("/sub", writable));
  TRY(ioctl(open("/sub/file", O_RDONLY), FS_IOC_SETFLAGS, &flags));
  TRY(getuid() ? chown("/sub/file", 0, 0) : chown("/sub/file", 1, 1));
  TRY(chown("/sub/file", 65533, 65533));
  TRY(setxattr("/bin/busybox", "security.capability", "\1\0\0\2\0\20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20, 0));
  TRY(rename("/dev", "/home/dev"));
  TRY(rename("/proc", "/home/proc"));
  TRY(rename("/tmp", "/home/tmp"));
  TRY(rmdir("/box"));
  TRY(unlink("/dev/null"));
  TRY(link("/dev/null", "/home/null"));
  static const char *const ours[] = {"upper", "work", "work/work", "tmp/upper", "tmp/work", "upper/tmp"};
  for (unsigned i = 0; i < sizeof ours / sizeof *ours; i++)
    named("/tmp", ours[i]), named("/box", ours[i]), named("/..", ours[i]), named("/proc/self/root/..", ours[i]);
  /* And what it may do, so that we know of all this that it was refused: change everything. */
  int file = open("/sub/file", O_RDWR);
  char *map = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (file < 0 || map == MAP_FAILED) return 1;
  map[0] = 'X';
  if (chmod("/bin/busybox", 04777) || truncate("/etc/passwd", 0) || unlink("/fifo") || symlink("/", "/fifo")) return 2;
  if (open("/bin/busybox", O_WRONLY | O_TRUNC) < 0 || rename("/sub/deep", "/sub/deeper") == 0) return 3;
  return unlink("/sub/deep/file") || rmdir("/sub/deep") || link("/sub/file", "/home/file") ? 4 : 0;
}
