/* Threads in namespaces of their own make processes in every way, and none is told when: each process is where the thread
   was that made it.  Argument: how often. */
#include "kit.h"
#include <spawn.h>

enum { THREADS = 4, LATER = 20, OLDER = 40, BURST = 4, LOOKS = 8, MORE = 8 };
extern char **environ;
static char *program;
static int rounds;
static int report[2];

/* The namespace of the caller, opened. */
static int here(void) { return MUST(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)); }

/* In a child: says whether it is in `expected`, and ends. */
__attribute__((noreturn)) static void say(const char *expected, int later) {
    char name[64];
    if (later) pause_ms(later);
    own_namespace(name);
    MUST(write(report[1], strcmp(name, expected) ? "n" : "y", 1));
    _exit(0);
}

static void reap(pid_t child) {
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
}

static void at_once(const char *place) {
    pid_t child = MUST(fork());
    if (!child) say(place, 0);
    reap(child);
}

static void spawned(const char *place) {
    char pipe_number[16];
    snprintf(pipe_number, sizeof pipe_number, "%d", report[1]);
    char *words[] = {program, "say", (char *)place, pipe_number, NULL};
    pid_t child;
    MUST(-posix_spawn(&child, "/proc/self/exe", NULL, NULL, words, environ));
    reap(child);
}

/* The thread ends before its child looks. */
static void left(const char *place) {
    if (!MUST(fork())) say(place, LATER);
}

/* The child ends before its own child looks. */
static void twice(const char *place) {
    pid_t child = MUST(fork());
    if (!child) {
        if (!MUST(fork())) say(place, LATER);
        _exit(0);
    }
    reap(child);
}

/* The thread goes on to another place before its child looks. */
static void moved_on(const char *place) {
    if (!MUST(fork())) say(place, LATER);
    int old = here();
    char name[64];
    MUST(unshare(CLONE_NEWNET));
    own_namespace(name);
    if (!MUST(fork())) say(name, LATER);
    MUST(setns(old, CLONE_NEWNET));
    close(old);
    if (!MUST(fork())) say(place, 0);
}

/* A thread made by the moved thread makes the child. */
static void *fork_here(void *place) {
    left(place);
    return NULL;
}

static void by_a_thread(const char *place) {
    pthread_t thread;
    MUST(-pthread_create(&thread, NULL, fork_here, (void *)place));
    MUST(-pthread_join(thread, NULL));
}

struct work { void (*make)(const char *place); pthread_barrier_t *all; };

static void *moved(void *argument) {
    struct work *work = argument;
    char place[64];
    MUST(unshare(CLONE_NEWNET));
    own_namespace(place);
    pthread_barrier_wait(work->all);
    work->make(place);
    return NULL;
}

/* Everyone whose thread was made has said something when the last of them has closed the pipe. */
static void collect(const char *what, int expected) {
    char text[256];
    int yes = 0, no = 0;
    close(report[1]);
    for (ssize_t got; (got = read(report[0], text, sizeof text)) > 0;)
        for (ssize_t i = 0; i < got; i++) text[i] == 'y' ? yes++ : no++;
    close(report[0]);
    while (wait(NULL) > 0) {}
    printf("%s: %s, wrong %d\n", what, yes + no == expected ? "all there" : "some missing", no);
    fflush(stdout);
}

static void threads(const char *what, void (*make)(const char *), int each) {
    MUST(pipe(report));
    for (int round = 0; round < rounds; round++) {
        pthread_t ids[THREADS];
        pthread_barrier_t all;
        struct work work = {make, &all};
        pthread_barrier_init(&all, NULL, THREADS);
        for (int i = 0; i < THREADS; i++) MUST(-pthread_create(&ids[i], NULL, moved, &work));
        for (int i = 0; i < THREADS; i++) MUST(-pthread_join(ids[i], NULL));
    }
    collect(what, rounds * THREADS * each);
}

/* Older threads end one after the other while the moved one looks and makes children: /proc leaves out younger ones when
   it comes to one that ends. */
static int gate[2];

static void *older(void *unused) {
    char byte;
    MUST(read(gate[0], &byte, 1));
    return unused;
}

static void *outlive(void *unused) {
    char place[64], name[64];
    MUST(unshare(CLONE_NEWNET));
    own_namespace(place);
    int wrong = 0;
    for (int i = 0; i < OLDER; i++) {
        if (i % BURST == 0) MUST(write(gate[1], "all of these", BURST));
        for (int look = 0; look < LOOKS; look++) {
            own_namespace(name);
            wrong |= strcmp(name, place);
        }
    }
    MUST(write(report[1], wrong ? "n" : "y", 1));
    at_once(place);
    return unused;
}

static void among_the_ending(const char *what) {
    MUST(pipe(report));
    MUST(pipe(gate));
    for (int round = 0; round < MORE * rounds; round++) {
        pthread_t ids[OLDER + 1];
        for (int i = 0; i < OLDER; i++) MUST(-pthread_create(&ids[i], NULL, older, NULL));
        MUST(-pthread_create(&ids[OLDER], NULL, outlive, NULL));
        for (int i = 0; i <= OLDER; i++) MUST(-pthread_join(ids[i], NULL));
    }
    close(gate[0]);
    close(gate[1]);
    collect(what, MORE * rounds * 2);
}

/* The whole process ends at once. */
static void *fork_and_end(void *unused) {
    char place[64];
    (void)unused;
    MUST(unshare(CLONE_NEWNET));
    own_namespace(place);
    left(place);
    _exit(0);
}

static void processes(const char *what) {
    MUST(pipe(report));
    for (int round = 0; round < rounds; round++) {
        pid_t child = MUST(fork());
        if (!child) {
            pthread_t thread;
            MUST(-pthread_create(&thread, NULL, fork_and_end, NULL));
            for (;;) pause();
        }
        reap(child);
    }
    collect(what, rounds);
}

static int ends(void *unused) {
    (void)unused;
    _exit(0);
}

/* Beside a child that is given a namespace of its own, if that is allowed, others are made that are not. */
static void beside(const char *what) {
    static char stack[65536];
    char place[64];
    MUST(pipe(report));
    MUST(unshare(CLONE_NEWNET));
    own_namespace(place);
    for (int round = 0; round < rounds; round++) {
        pid_t apart = clone(ends, stack + sizeof stack, CLONE_NEWUSER | CLONE_NEWNET | SIGCHLD, NULL);
        if (!MUST(fork())) say(place, round % 2 ? LATER : 0);
        at_once(place);
        if (apart > 0) reap(apart);
    }
    collect(what, 2 * rounds);
}

int main(int argc, char **argv) {
    if (argc == 4 && !strcmp(argv[1], "say")) {
        report[1] = atoi(argv[3]);
        say(argv[2], 0);
    }
    if (argc < 2) return 2;
    program = argv[0];
    rounds = atoi(argv[1]);
    threads("at once", at_once, 1);
    threads("spawned", spawned, 1);
    threads("the thread ended", left, 1);
    threads("the child ended", twice, 1);
    threads("the thread moved on", moved_on, 3);
    threads("by a new thread", by_a_thread, 1);
    among_the_ending("older threads end");
    processes("the process ended");
    beside("beside a clone");
    return 0;
}
