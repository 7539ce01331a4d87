/* Preloaded into qemu: gives the process the name of the arm64 program that it runs, so that the phone's `ps` reads as
 * on a phone. The name follows qemu's option -0.
 */
#include <string.h>
#include <sys/prctl.h>

__attribute__((constructor)) static void start(int count, char **arguments)
{
    for (int i = 1; i + 1 < count; i++) {
        if (strcmp(arguments[i], "-0"))
            continue;
        const char *slash = strrchr(arguments[i + 1], '/');
        prctl(PR_SET_NAME, slash ? slash + 1 : arguments[i + 1]);
        return;
    }
}
