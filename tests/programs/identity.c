/* Internet sockets stay what they are wherever their descriptors go: tables of single threads, messages on their way. */
#include "kit.h"

static void domain_of(const char *what, int fd) {
    int domain = -1;
    socklen_t size = sizeof domain;
    int code = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
    printf("%s: %s, domain %d\n", what, error_name(code ? errno : 0), domain);
}

static void *own_table(void *unused) {
    (void)unused;
    MUST(unshare(CLONE_FILES));
    int fd = MUST(socket(AF_INET, SOCK_DGRAM, 0));
    pause_ms(1500);
    domain_of("a table of its own", fd);
    return NULL;
}

static long made, changed;

static void *churn(void *until) {
    while (now() < *(double *)until) {
        int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        for (int look = 0; look < 2; look++) {
            int domain = -1;
            socklen_t size = sizeof domain;
            getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
            if (domain != AF_INET6) __atomic_add_fetch(&changed, 1, __ATOMIC_RELAXED);
            usleep(200);
        }
        close(fd);
        __atomic_add_fetch(&made, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

int main(void) {
    int pair[2], fd = MUST(socket(AF_INET, SOCK_STREAM, 0));
    char space[CMSG_SPACE(sizeof fd)] = {0}, byte = 'x';
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    /* What closes a netlink socket makes others be looked over. */
    close(route_socket());
    MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    *rights = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    MUST(sendmsg(pair[0], &message, 0));
    close(fd);

    pthread_t alone, churners[4];
    double until = now() + 0.5;
    for (int at = 0; at < 4; at++) MUST(-pthread_create(&churners[at], NULL, churn, &until));
    for (int at = 0; at < 4; at++) pthread_join(churners[at], NULL);
    MUST(-pthread_create(&alone, NULL, own_table, NULL));
    pthread_join(alone, NULL);

    memset(space, 0, sizeof space);
    message.msg_controllen = sizeof space;
    MUST(recvmsg(pair[1], &message, 0));
    rights = CMSG_FIRSTHDR(&message);
    if (!rights) return printf("no descriptor came\n"), 1;
    memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    domain_of("after its journey", fd);
    printf("many made %d, changed %ld\n", made > 20, changed);
    return 0;
}
