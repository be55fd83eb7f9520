/* Bounds and version of everything that Python sends, checked once, before any of it is used.
 * Pure functions of (bytes, size): also what the fuzzer drives. 0 = good, else -EINVAL, -EPROTO
 * for another version, with *row set to the row at fault where there is one. */
#include "plan.h"
#include "sys.h"

#define ROW(base, table, type, i) ((const type *)(const void *)((const char *)(base) + (table).off) + (i))
#define EACH(type, row, base, table) \
  for (const type *row##_0 = ROW(base, table, type, 0), *row = row##_0; row < row##_0 + (table).count; row++)
#define NUMBER(row) ((uint32_t)(row - row##_0)) /* in EACH */

/* A table of `count` rows of `row` bytes lies inside the blob and is aligned. */
static int table_ok(struct pj_table t, uint32_t size, uint32_t head, uint32_t row, uint32_t max) {
  if (t.count == 0) return 1;
  if (t.count > max || t.off < head || t.off % 8 || t.off > size) return 0;
  return t.count <= (size - t.off) / row;
}
static int ref_ok(uint32_t ref, uint32_t size) { return ref < size || ref == PJ_NONE; }
static int span_ok(uint32_t off, uint32_t len, uint32_t size) { return off <= size && len <= size - off; }

static int head_ok(const void *blob, uint32_t have, uint32_t *row, uint32_t magic, uint32_t head) {
  const uint32_t *h = blob;
  *row = 0;
  if (have < head || have > PJ_MAX_BLOB || ((uintptr_t)blob & 7)) return -EINVAL;
  if (h[0] != magic || h[1] != PJ_VERSION) return -EPROTO;
  if (h[2] < head || h[2] > have || ((const char *)blob)[h[2] - 1] != 0) return -EINVAL;
  return 0;
}

/* Two strings, each with its NUL; or nothing. */
static int pair_ok(const char *data, uint32_t len) {
  for (uint32_t i = 0; i + 1 < len; i++)
    if (!data[i]) return !data[len - 1];
  return !len;
}

static int mount_ok(const char *base, const struct pj_mount *m, uint32_t size, uint32_t kinds) {
  if (m->kind >= kinds || m->source >= size || m->target >= size || m->data >= size) return 0;
  if (!span_ok(m->data, m->data_len, size) || base[m->target] == '/') return 0; /* relative to a root that we hold */
  if (m->kind == MOUNT_BIND && !pair_ok(base + m->data, m->data_len)) return 0;
  return m->kind != MOUNT_FS || !m->data_len || !base[m->data + m->data_len - 1]; /* options: each ends in NUL */
}
static int mounts_ok(const char *base, struct pj_table t, uint32_t size, uint32_t head, uint32_t kinds, uint32_t *row) {
  if (!table_ok(t, size, head, sizeof(struct pj_mount), kinds == MOUNT_FS + 1 ? PJ_MAX_TMPFS : PJ_MAX_ROWS)) return 0;
  EACH (struct pj_mount, m, base, t) {
    *row = NUMBER(m);
    if (!mount_ok(base, m, size, kinds)) return 0;
  }
  return 1;
}

int pj_check_plan(const void *blob, uint32_t have, uint32_t *row) {
  const struct pj_plan *p = blob;
  const uint32_t head = sizeof *p;
  int rc = head_ok(blob, have, row, PJ_PLAN_MAGIC, head);
  if (rc) return rc;
  if (!ref_ok(p->hostname, p->size)) return -EINVAL;
  /* Nothing runs with the host's ids, mounts on the host, or kills from outside of a pid namespace. */
  const uint64_t own = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID;
  if (((p->unshare_first | p->unshare_second) & own) != own) return -EINVAL;
  if (p->cgroups > PJ_MAX_CGROUPS || (p->into != PJ_NONE && p->into >= p->cgroups)) return -EINVAL;
  if (p->flags & PLAN_SLOTS && (!p->cgroups || p->run_unshare)) return -EINVAL; /* a run's end is that of its leaf */
  if (!mount_ok(blob, &p->proc, p->size, MOUNT_FS + 1)) return -EINVAL;
  if (!mounts_ok(blob, p->mounts, p->size, head, MOUNT_KINDS, row)) return -EINVAL;
  if (!mounts_ok(blob, p->run_mounts, p->size, head, MOUNT_PART, row)) return -EINVAL;
  if (!table_ok(p->landlock, p->size, head, sizeof(struct pj_landlock_rule), PJ_MAX_ROWS)) return -EINVAL;
  EACH (struct pj_landlock_rule, r, blob, p->landlock) {
    *row = NUMBER(r);
    if (r->path >= p->size || ((const char *)blob)[r->path] != '/') return -EINVAL;
  }
  return table_ok(p->seccomp, p->size, head, 8, PJ_MAX_ROWS) ? 0 : -EINVAL;
}

int pj_check_limits(const void *blob, uint32_t have, uint32_t cgroups, uint32_t *row) {
  const struct pj_limits *l = blob;
  const uint32_t head = sizeof *l;
  int rc = head_ok(blob, have, row, PJ_LIMITS_MAGIC, head);
  if (rc) return rc;
  if (!span_ok(l->affinity, l->affinity_len, l->size) || l->affinity_len > 1024) return -EINVAL;
  if (l->read_only != PJ_NONE && (l->read_only >= l->size || ((const char *)blob)[l->read_only] == '/')) return -EINVAL;
  if (!table_ok(l->cgroup, l->size, head, sizeof(struct pj_cgroup_row), 64)) return -EINVAL;
  if (!table_ok(l->rlimits, l->size, head, sizeof(struct pj_rlimit), 32)) return -EINVAL;
  EACH (struct pj_cgroup_row, r, blob, l->cgroup) {
    *row = NUMBER(r);
    if (r->hierarchy >= cgroups || r->file >= l->size || r->when >= CGROUP_WHENS) return -EINVAL;
    if (!ref_ok(r->value, l->size) || !ref_ok(r->renew, l->size)) return -EINVAL;
    if ((r->when == CGROUP_SET || r->when == CGROUP_STOP) && r->value == PJ_NONE) return -EINVAL;
    for (const char *c = (const char *)blob + r->file; *c; c++) /* a file of the leaf itself, nothing else */
      if (*c == '/') return -EINVAL;
  }
  return mounts_ok(blob, l->tmpfs, l->size, head, MOUNT_FS + 1, row) ? 0 : -EINVAL;
}

static int refs_ok(const char *base, struct pj_table t, uint32_t size, uint32_t head, uint32_t *row) {
  const struct pj_table whole = {t.off, t.count + 1};
  if (!whole.count || !table_ok(whole, size, head, 8, PJ_MAX_BLOB / 8)) return 0;
  EACH (uint64_t, ref, base, t) {
    *row = NUMBER(ref);
    if (*ref >= size) return 0;
  }
  return !*ROW(base, t, uint64_t, t.count);
}

int pj_check_request(const void *blob, uint32_t have, uint32_t *row) {
  const struct pj_request *r = blob;
  const uint32_t head = sizeof *r;
  int rc = head_ok(blob, have, row, PJ_REQUEST_MAGIC, head);
  if (rc) return rc;
  if (r->cpus == 0 || r->cwd >= r->size || r->argv.count == 0 || r->path.count == 0 || r->path.count > PJ_MAX_ROWS)
    return -EINVAL;
  for (int i = 0; i < 3; i++)
    if (r->stdio[i] > (i < 2 ? STDIO_FD : STDIO_STDOUT) || (i == 0 && r->stdio[i] == STDIO_PIPE)) return -EINVAL;
  if (!refs_ok(blob, r->argv, r->size, head, row) || !refs_ok(blob, r->env, r->size, head, row)) return -EINVAL;
  return refs_ok(blob, r->path, r->size, head, row) ? 0 : -EINVAL;
}
