/* Datagrams and connections while a timer interrupts every call: nothing lost, nothing twice, nothing leaked.
   Arguments: whether handlers restart calls; microseconds between signals. */
#include "kit.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>

enum { ROUNDS = 5000 };
static const double LONGEST = 1.5;
static volatile sig_atomic_t signals;
static long interrupted, wrong, lost, twice;

static int every;

/* After each gust a moment's calm: where a call takes longer than until the next signal, none would ever get through. */
static void handler(int signal) {
    struct itimerval calm = {{0, every}, {0, 5000}};
    (void)signal;
    if (++signals % 50 == 0 && every) setitimer(ITIMER_REAL, &calm, NULL);
}

/* A call that may be interrupted before it did anything, and then is made again. */
#define AGAIN(call) ({ long again_; while ((again_ = (call)) < 0 && errno == EINTR) interrupted++; if (again_ < 0) { wrong++; fprintf(stderr, "%s: %s\n", #call, strerror(errno)); } again_; })

static int open_descriptors(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder)) count++;
    closedir(folder);
    return count;
}

static void raise_loopback(void) {
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = MUST(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    MUST(ioctl(fd, SIOCSIFFLAGS, &request));
    close(fd);
}

static int here(int type, struct sockaddr_in *name) {
    socklen_t size = sizeof *name;
    int fd = MUST(socket(AF_INET, type | SOCK_CLOEXEC, 0));
    *name = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    MUST(bind(fd, (struct sockaddr *)name, size));
    MUST(getsockname(fd, (struct sockaddr *)name, &size));
    return fd;
}

static void expect(long got, const unsigned *seen, unsigned seq) {
    if (got != sizeof *seen) lost++;
    else if (*seen != seq) twice++;
}

/* One there, by an unconnected and a connected socket, taken by two different calls; and no more than that. */
static void datagrams(int to, struct sockaddr_in *name, unsigned seq) {
    int fd = AGAIN(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    unsigned seen = 0;
    struct iovec part = {&seen, sizeof seen};
    struct msghdr message = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &part, .msg_iovlen = 1};
    AGAIN(sendto(fd, &seq, sizeof seq, 0, (struct sockaddr *)name, sizeof *name));
    expect(AGAIN(recvfrom(to, &seen, sizeof seen, 0, (struct sockaddr *)&from, &size)), &seen, seq);
    AGAIN(connect(fd, (struct sockaddr *)name, sizeof *name));
    seq ^= 1u << 31;
    AGAIN(send(fd, &seq, sizeof seq, 0));
    expect(AGAIN(recvmsg(to, &message, 0)), &seen, seq);
    long more;
    while ((more = recvmsg(to, &message, MSG_DONTWAIT)) < 0 && errno == EINTR) interrupted++;
    if (more >= 0) twice++;
    close(fd);
}

/* One that was interrupted either goes on by itself or has not begun: asked again, it says which. */
static void reach(int fd, struct sockaddr_in *name) {
    while (connect(fd, (struct sockaddr *)name, sizeof *name) != 0 && errno != EISCONN) {
        if (errno == EINTR) interrupted++;
        else if (errno != EALREADY) {
            wrong++;
            return;
        }
    }
}

static void connections(int listener, struct sockaddr_in *name, unsigned seq) {
    int fd = AGAIN(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    struct sockaddr_in from, own;
    socklen_t size = sizeof from, own_size = sizeof own;
    unsigned seen = 0;
    reach(fd, name);
    int taken = AGAIN(accept4(listener, (struct sockaddr *)&from, &size, SOCK_CLOEXEC));
    AGAIN(getsockname(fd, (struct sockaddr *)&own, &own_size));
    if (own.sin_port != from.sin_port) twice++;
    AGAIN(send(fd, &seq, sizeof seq, 0));
    size = sizeof from;
    expect(AGAIN(recvfrom(taken, &seen, sizeof seen, MSG_WAITALL, (struct sockaddr *)&from, &size)), &seen, seq);
    struct pollfd another = {listener, POLLIN, 0};
    int more;
    /* No handler makes this one begin again. */
    while ((more = poll(&another, 1, 0)) < 0 && errno == EINTR) {}
    if (more) twice++;
    close(taken);
    close(fd);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    int restart = atoi(argv[1]);
    every = atoi(argv[2]);
    struct itimerval on = {{0, every}, {0, every}}, off = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = handler, .sa_flags = restart ? SA_RESTART : 0};
    struct sockaddr_in datagram_name, name;
    long rounds = 0;
    raise_loopback();
    int to = here(SOCK_DGRAM, &datagram_name), listener = here(SOCK_STREAM, &name);
    MUST(listen(listener, 16));
    MUST(sigaction(SIGALRM, &action, NULL));
    int before = open_descriptors();
    MUST(setitimer(ITIMER_REAL, &on, NULL));
    for (double end = now() + LONGEST; rounds < ROUNDS && now() < end; rounds++) {
        datagrams(to, &datagram_name, rounds);
        connections(listener, &name, rounds);
    }
    every = 0;
    MUST(setitimer(ITIMER_REAL, &off, NULL));
    printf("signals %s, rounds %s\n", signals > 30 ? "came" : "were few", rounds > 10 ? "ran" : "were few");
    printf("lost %ld, twice %ld, other errors %ld, descriptors left %d\n", lost, twice, wrong, open_descriptors() - before);
    if (restart) printf("interrupted %ld\n", interrupted);
    return 0;
}
