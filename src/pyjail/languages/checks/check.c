#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *add(void *sum) {
    for (int i = 0; i < 1000; i++) *(long *)sum += i;
    return NULL;
}

int main(void) {
    char mode[32];
    if (scanf("%31s", mode) != 1) return 1;
    if (!strcmp(mode, "hello")) {
        puts("hello");
    } else if (!strcmp(mode, "stdin")) {
        long sum = 0, number;
        while (scanf("%ld", &number) == 1) sum += number;
        printf("%ld\n", sum);
    } else if (!strcmp(mode, "exception")) {
        abort();
    } else if (!strcmp(mode, "memory")) {
        for (char *page; (page = malloc(1 << 20));) memset(page, 1, 1 << 20);
    } else if (!strcmp(mode, "threads")) {
        pthread_t threads[4];
        long sums[4] = {0};
        for (int i = 0; i < 4; i++)
            if (pthread_create(&threads[i], NULL, add, &sums[i])) return 1;
        for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
        printf("%ld\n", sums[0] + sums[1] + sums[2] + sums[3]);
    } else if (!strcmp(mode, "cpus")) {
        printf("%ld\n", sysconf(_SC_NPROCESSORS_ONLN));
    }
    return 0;
}
