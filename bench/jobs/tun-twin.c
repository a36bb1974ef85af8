/*
 * The C twin of tun-packets.ts: the same packets through the same two TUN devices by the same system calls. The devices
 * are descriptors 3 (into the kernel) and 4 (out of it).
 *
 * usage: tun-twin ring|calls BATCH BYTES WARMUP SECONDS; prints a line of JSON
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { IN = 3, OUT = 4, FRAMES = 512, FRAME = 65856, HEADROOM = 256, VNET = 10, ROOM = 65553 + VNET, ENTRIES = 256 };
#define RWF_NOWAIT_ 8

static char *memory;
static long syscalls;

struct ring {
  int fd;
  unsigned *sq_tail, *cq_head, *cq_tail, sq_mask, cq_mask;
  struct io_uring_sqe *sqes;
  struct io_uring_cqe *cqes;
};

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

static double cpu_ns(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e9 + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e3;
}

static char *frame(int i) { return memory + (size_t)i * FRAME + HEADROOM - VNET; }

static struct ring open_ring(int file) {
  struct ring r;
  struct io_uring_params p;
  memset(&p, 0, sizeof p);
  p.flags = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  r.fd = syscall(SYS_io_uring_setup, ENTRIES, &p);
  if (r.fd < 0) fail("io_uring_setup");
  size_t bytes = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
  if (bytes < p.sq_off.array + p.sq_entries * 4) bytes = p.sq_off.array + p.sq_entries * 4;
  char *m = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r.fd, IORING_OFF_SQ_RING);
  r.sqes = mmap(0, p.sq_entries * 64, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r.fd, IORING_OFF_SQES);
  if (m == MAP_FAILED || r.sqes == MAP_FAILED) fail("mmap");
  r.sq_tail = (unsigned *)(m + p.sq_off.tail);
  r.cq_head = (unsigned *)(m + p.cq_off.head);
  r.cq_tail = (unsigned *)(m + p.cq_off.tail);
  r.cqes = (struct io_uring_cqe *)(m + p.cq_off.cqes);
  r.sq_mask = p.sq_entries - 1;
  r.cq_mask = p.cq_entries - 1;
  for (unsigned i = 0; i < p.sq_entries; i++) ((unsigned *)(m + p.sq_off.array))[i] = i;
  memset(r.sqes, 0, p.sq_entries * 64);
  struct iovec all = {memory, (size_t)FRAMES * FRAME};
  if (syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_BUFFERS, &all, 1) < 0) fail("IORING_REGISTER_BUFFERS");
  if (syscall(SYS_io_uring_register, r.fd, IORING_REGISTER_FILES, &file, 1) < 0) fail("IORING_REGISTER_FILES");
  return r;
}

/* Returns how many were done, of frames first, first + 1, ... */
static int by_ring(struct ring *r, int op, int first, int count, int length) {
  unsigned tail = *r->sq_tail;
  for (int i = 0; i < count; i++, tail++) {
    struct io_uring_sqe *sqe = &r->sqes[tail & r->sq_mask];
    sqe->opcode = op;
    sqe->flags = IOSQE_FIXED_FILE;
    sqe->fd = 0;
    sqe->addr = (uint64_t)(uintptr_t)frame(first + i);
    sqe->len = length;
    sqe->rw_flags = RWF_NOWAIT_;
    sqe->user_data = i;
  }
  __atomic_store_n(r->sq_tail, tail, __ATOMIC_RELEASE);
  syscalls++;
  if (syscall(SYS_io_uring_enter, r->fd, count, count, IORING_ENTER_GETEVENTS, 0, 0) < 0) fail("io_uring_enter");
  int done = 0;
  unsigned head = *r->cq_head;
  unsigned end = __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE);
  for (; head != end; head++) done += r->cqes[head & r->cq_mask].res > 0;
  __atomic_store_n(r->cq_head, head, __ATOMIC_RELEASE);
  return done;
}

static int by_calls(int op, int first, int count, int length) {
  int done = 0;
  for (int i = 0; i < count; i++) {
    syscalls++;
    ssize_t n = op == IORING_OP_READ_FIXED ? read(OUT, frame(first + i), length) : write(IN, frame(first + i), length);
    if (n > 0) done++;
    else if (op == IORING_OP_READ_FIXED) break;
  }
  return done;
}

static void packet(unsigned char *ip, int bytes) {
  static const unsigned char header[20] = {0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 2, 10, 2, 0, 2};
  memset(ip - VNET, 0, VNET + bytes);
  memcpy(ip, header, sizeof header);
  ip[2] = bytes >> 8;
  ip[3] = bytes;
  unsigned sum = 0;
  for (int i = 0; i < 20; i += 2) sum += ip[i] << 8 | ip[i + 1];
  sum = (sum & 0xffff) + (sum >> 16);
  sum = ~((sum & 0xffff) + (sum >> 16));
  ip[10] = sum >> 8;
  ip[11] = sum;
  ip[21] = 5;
  ip[23] = 6;
  ip[24] = (bytes - 20) >> 8;
  ip[25] = bytes - 20;
}

int main(int argc, char **argv) {
  if (argc != 6) return 2;
  int ring = strcmp(argv[1], "ring") == 0, batch = atoi(argv[2]), bytes = atoi(argv[3]);
  memory = mmap(0, (size_t)FRAMES * FRAME, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED || batch < 1 || batch >= ENTRIES) return 2;
  struct ring in, out;
  if (ring) in = open_ring(IN), out = open_ring(OUT);
  for (int i = 0; i < batch; i++) packet((unsigned char *)frame(i) + VNET, bytes);
  long received = 0;
  double tx = 0, rx = 0, start = 0, cpu = 0, end = 0;
  for (int phase = 0; phase < 2; phase++) {
    received = syscalls = 0;
    tx = rx = 0;
    cpu = cpu_ns();
    start = end = now_ns();
    double until = start + atof(argv[4 + phase]) * 1e9;
    while (end < until) {
      if (ring) by_ring(&in, IORING_OP_WRITE_FIXED, 0, batch, bytes + VNET);
      else by_calls(IORING_OP_WRITE_FIXED, 0, batch, bytes + VNET);
      double sent = now_ns();
      tx += sent - end;
      /* One more than there are, as who doesn't know that has to ask. */
      if (ring) received += by_ring(&out, IORING_OP_READ_FIXED, ENTRIES, batch + 1, ROOM);
      else received += by_calls(IORING_OP_READ_FIXED, ENTRIES, batch + 1, ROOM);
      end = now_ns();
      rx += end - sent;
    }
  }
  printf("{\"requests\":%ld,\"wallNs\":%.0f,\"cpuNs\":%.0f,\"txNs\":%.0f,\"rxNs\":%.0f,\"syscalls\":%ld}\n", received,
         end - start, cpu_ns() - cpu, tx, rx, syscalls);
  return 0;
}
