/* Netlink requests and namespace calls while a timer interrupts them: nothing lost, nothing done twice, nothing leaked.
   Arguments: whether handlers restart calls; whether the handler makes calls of its own; microseconds between signals;
   whether the answer waited for is asked for by a thread, which blocks all signals, or by a process. */
#include "kit.h"

enum { ROUNDS = 100 };
static const double LONGEST = 0.8;
static volatile sig_atomic_t signals, noisy;
static long interrupted, wrong;

static void handler(int signal) {
    int kept = errno;
    (void)signal;
    signals++;
    if (noisy) {
        int fd = open("/proc/thread-self/ns/net", O_RDONLY);
        if (fd >= 0) close(fd);
    }
    errno = kept;
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

/* Gives the namespace `peer` the next free id. */
static int name_it(int fd, int peer, unsigned seq) {
    struct { struct nlmsghdr head; struct rtgenmsg family; char pad[3]; struct rtattr id; int any; struct rtattr by; int peer; } request = {
        {sizeof request, RTM_NEWNSID, NLM_F_REQUEST | NLM_F_ACK, seq, 0}, {0}, {0}, {8, 1}, -1, {8, 3}, peer};
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    return sendto(fd, &request, sizeof request, 0, (struct sockaddr *)&kernel, sizeof kernel);
}

/* How many namespaces have an id here. */
static int named(void) {
    struct { struct nlmsghdr head; struct rtgenmsg family; } request = {
        {sizeof request, RTM_GETNSID, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, {0}};
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    static union { struct nlmsghdr head; char bytes[65536]; } buffer;
    int fd = route_socket(), count = 0;
    MUST(sendto(fd, &request, sizeof request, 0, (struct sockaddr *)&kernel, sizeof kernel));
    for (;;) {
        int left = MUST(recv(fd, &buffer, sizeof buffer, 0));
        for (struct nlmsghdr *one = &buffer.head; NLMSG_OK(one, left); one = NLMSG_NEXT(one, left)) {
            if (one->nlmsg_type == NLMSG_DONE) return close(fd), count;
            count += one->nlmsg_type == RTM_NEWNSID;
        }
    }
}

static void *asks_later(void *fd) {
    pause_ms(200);
    if (ask(*(int *)fd, 4711)) wrong++;
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    int restart = atoi(argv[1]), every = atoi(argv[3]), held[ROUNDS];
    struct itimerval on = {{0, every}, {0, every}}, off = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = handler, .sa_flags = restart ? SA_RESTART : 0};
    long rounds = 0, lost = 0, twice = 0;
    noisy = atoi(argv[2]);
    MUST(unshare(CLONE_NEWNET));
    int home = MUST(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    MUST(sigaction(SIGALRM, &action, NULL));
    int before = open_descriptors();
    MUST(setitimer(ITIMER_REAL, &on, NULL));
    for (double end = now() + LONGEST; rounds < ROUNDS && now() < end; rounds++) {
        AGAIN(unshare(CLONE_NEWNET));
        held[rounds] = AGAIN(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
        AGAIN(setns(home, CLONE_NEWNET));
        int fd = AGAIN(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
        unsigned seq = rounds + 1;
        for (int request = 0; request < 2; request++) {
            long answered;
            if (request) AGAIN(name_it(fd, held[rounds], seq));
            else AGAIN(({ int code = ask(fd, seq); errno = -code; code; }));
            while ((answered = answer(fd, MSG_DONTWAIT)) == -EINTR) interrupted++;
            if (answered == -EEXIST) twice++;
            else if (answered != (long)seq) lost++;
            while ((answered = answer(fd, MSG_DONTWAIT)) == -EINTR) interrupted++;
            if (answered != -EAGAIN) twice++;
        }
        close(fd);
    }
    /* One receive that has to wait, through hundreds of signals. */
    int fd = AGAIN(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    pthread_t thread;
    pid_t process = 0;
    long waited, broke = 0;
    sigset_t all, usual;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &usual);
    if (atoi(argv[4])) MUST(-pthread_create(&thread, NULL, asks_later, &fd));
    else if (!(process = MUST(fork()))) _exit(asks_later(&fd) != NULL);
    pthread_sigmask(SIG_SETMASK, &usual, NULL);
    while ((waited = answer(fd, 0)) == -EINTR) broke++;
    MUST(setitimer(ITIMER_REAL, &off, NULL));
    if (process) waitpid(process, NULL, 0);
    else pthread_join(thread, NULL);
    close(fd);
    int ids = named();
    for (long at = 0; at < rounds; at++) close(held[at]);
    int after = open_descriptors();
    printf("signals %s, rounds %s\n", signals > 30 ? "came" : "were few", rounds > 10 ? "ran" : "were few");
    printf("lost %ld, twice %ld, other errors %ld, ids too many %ld, descriptors left %d\n", lost, twice, wrong, ids - rounds,
           after - before);
    show("after a wait", waited);
    if (restart) printf("interrupted %ld, waiting %ld\n", interrupted, broke);
    else printf("waiting was interrupted: %s\n", broke ? "yes" : "no");
    return 0;
}
