/* The machine that the kernel of this example runs on: a console, and a switch to turn it off. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

extern int kernel_main(void);

void machine_write(const unsigned char *text, size_t len)
{
    fwrite(text, 1, len, stdout);
}

_Noreturn void machine_halt(void)
{
    fflush(stdout);
    abort();
}

int main(void)
{
    return kernel_main();
}
