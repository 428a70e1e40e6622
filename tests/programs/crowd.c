/* Many connections at once.
 *
 * crowd serve: echoes whatever comes, on as many connections as there are, until it is killed.
 * crowd ask ADDRESS N ROUNDS: has N connections at once; on each a message of its own goes there and back ROUNDS times.
 */
#include "kit.h"
#include <arpa/inet.h>
#include <sys/epoll.h>
#include <sys/resource.h>

static void check(int holds, const char *what) {
    if (!holds) broken(what);
}

enum { PORT = 7010, AT_ONCE = 256, LONGEST = 64 };

static int events(void) {
    int epoll = epoll_create1(0);
    check(epoll >= 0, "epoll_create1");
    return epoll;
}

static void watch(int epoll, int how, int fd, unsigned for_what) {
    struct epoll_event event = { .events = for_what, .data.fd = fd };
    check(epoll_ctl(epoll, how, fd, &event) == 0, "epoll_ctl");
}

static int fresh(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    check(fd >= 0, "socket");
    return fd;
}

static void serve(void) {
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(PORT) };
    int listener = fresh(), epoll = events(), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    check(bind(listener, (struct sockaddr *)&any, sizeof any) == 0, "bind");
    check(listen(listener, 4096) == 0, "listen");
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN);
    printf("serves\n");
    fflush(stdout);
    for (;;) {
        struct epoll_event found[AT_ONCE];
        int n = epoll_wait(epoll, found, AT_ONCE, -1);
        for (int i = 0; i < n; i++) {
            int fd = found[i].data.fd;
            if (fd == listener) {
                int taken;
                while ((taken = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
                    watch(epoll, EPOLL_CTL_ADD, taken, EPOLLIN);
                check(errno == EAGAIN, "accept");
                continue;
            }
            char bytes[LONGEST * 4];
            ssize_t got = read(fd, bytes, sizeof bytes);
            if (got > 0)
                check(write(fd, bytes, got) == got, "echo");
            else
                close(fd);
        }
    }
}

struct asking {
    int fd, rounds;
    size_t got;
    char said[LONGEST];
};

static size_t message(char *into, int who, int round) {
    return snprintf(into, LONGEST, "connection %d round %d.", who, round);
}

static void say(struct asking *one, int who, int round) {
    size_t length = message(one->said, who, round);
    one->got = 0;
    check(write(one->fd, one->said, length) == (ssize_t)length, "write");
}

/* True when all rounds of this connection are over. */
static int hear(struct asking *one, int who, int rounds) {
    char bytes[LONGEST];
    ssize_t got = read(one->fd, bytes, sizeof bytes);
    check(got > 0, "read");
    check(memcmp(bytes, one->said + one->got, got) == 0, "the echo of another");
    one->got += got;
    if (one->got < strlen(one->said)) return 0;
    if (++one->rounds < rounds) say(one, who, one->rounds);
    return one->rounds == rounds;
}

static void converse(const char *address, int n, int rounds) {
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(PORT) };
    struct asking *all = calloc(n, sizeof *all);
    int epoll = events(), begun = 0, connected = 0, over = 0;
    check(inet_pton(AF_INET, address, &to.sin_addr) == 1, "address");
    double start = now();
    while (connected < n) {
        while (begun < n && begun - connected < AT_ONCE) {
            int fd = all[begun].fd = fresh();
            if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) check(errno == EINPROGRESS, "connect");
            struct epoll_event event = { .events = EPOLLOUT, .data.u32 = begun++ };
            check(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
        }
        struct epoll_event found[AT_ONCE];
        int ready = epoll_wait(epoll, found, AT_ONCE, -1);
        for (int i = 0; i < ready; i++) {
            int who = found[i].data.u32, error = 0;
            socklen_t size = sizeof error;
            check(getsockopt(all[who].fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0, "getsockopt");
            errno = error;
            check(error == 0, "connection");
            struct epoll_event event = { .events = EPOLLIN, .data.u32 = who };
            check(epoll_ctl(epoll, EPOLL_CTL_MOD, all[who].fd, &event) == 0, "epoll_ctl");
            connected++;
        }
    }
    double middle = now();
    printf("%d at once\n", connected);
    fflush(stdout);
    for (int who = 0; who < n; who++) say(&all[who], who, 0);
    while (over < n) {
        struct epoll_event found[AT_ONCE];
        int ready = epoll_wait(epoll, found, AT_ONCE, -1);
        for (int i = 0; i < ready; i++) over += hear(&all[found[i].data.u32], found[i].data.u32, rounds);
    }
    double end = now();
    printf("%d echoed\n", over);
    fflush(stdout);
    if (getenv("CROWD_TIMES"))
        fprintf(stderr, "{\"connect_us\": %.2f, \"echo_us\": %.2f}\n", (middle - start) * 1e6 / n,
                (end - middle) * 1e6 / n / rounds);
    if (getenv("CROWD_WAIT")) pause();
}

int main(int argc, char **argv) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (argc == 2 && !strcmp(argv[1], "serve")) serve();
    if (argc == 5 && !strcmp(argv[1], "ask")) converse(argv[2], atoi(argv[3]), atoi(argv[4]));
    return 0;
}
