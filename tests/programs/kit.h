/* What the programs of this folder share: a clock, names of errors, and the smallest netlink request and answer. */
#ifndef KIT_H
#define KIT_H
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The failure of a step that the program is not about. */
__attribute__((noreturn)) static inline void broken(const char *step) {
    printf("%s: %s\n", step, strerror(errno));
    fflush(stdout);
    _exit(1);
}

#define MUST(call) ({ long must_ = (call); if (must_ < 0) broken(#call); must_; })

static inline const char *error_name(long error) {
    static __thread char number[32];
    switch (error) {
    case 0: return "0";
    case EINTR: return "EINTR";
    case EAGAIN: return "EAGAIN";
    case EBADF: return "EBADF";
    case EEXIST: return "EEXIST";
    case ENOSYS: return "ENOSYS";
    }
    snprintf(number, sizeof number, "errno %ld", error);
    return number;
}

static inline double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static inline void pause_ms(long ms) {
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left)) {}
}

static inline void own_namespace(char name[64]) {
    ssize_t got = MUST(readlink("/proc/thread-self/ns/net", name, 63));
    name[got] = 0;
}

static inline int route_socket(void) { return MUST(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)); }

/* Asks for the first link, whose answer is one message; the address makes it a request that is answered at once. */
static inline int ask(int fd, unsigned seq) {
    struct { struct nlmsghdr head; struct ifinfomsg link; } request = {
        {sizeof request, RTM_GETLINK, NLM_F_REQUEST, seq, 0}, {.ifi_index = 1}};
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    struct iovec part = {&request, sizeof request};
    struct msghdr message = {.msg_name = &kernel, .msg_namelen = sizeof kernel, .msg_iov = &part, .msg_iovlen = 1};
    ssize_t sent = sendmsg(fd, &message, 0);
    return sent == sizeof request ? 0 : sent < 0 ? -errno : -EIO;
}

/* The sequence number of the next answer (of an error message: its code, negative), or the error of the call. */
static inline long answer(int fd, int flags) {
    union { struct nlmsghdr head; char bytes[8192]; } buffer;
    struct sockaddr_nl from;
    struct iovec part = {&buffer, sizeof buffer};
    struct msghdr message = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &part, .msg_iovlen = 1};
    memset(&buffer.head, 0xee, sizeof buffer.head);
    ssize_t got = recvmsg(fd, &message, flags);
    if (got < 0) return -errno;
    if (got < (ssize_t)sizeof buffer.head) return -EIO;
    if (buffer.head.nlmsg_type == NLMSG_ERROR) {
        int code = ((struct nlmsgerr *)NLMSG_DATA(&buffer.head))->error;
        if (code) return code;
    }
    return buffer.head.nlmsg_seq;
}

/* Prints what `answer` returned. */
static inline void show(const char *what, long answered) {
    if (answered < 0) printf("%s: %s\n", what, error_name(-answered));
    else printf("%s: answer %ld\n", what, answered);
}
#endif
