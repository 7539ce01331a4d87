/* Runs an arm64 program on qemu: the kernel (binfmt_misc, flag P) or PRoot (-q) starts this static program with it.
 *
 * binfmt_misc gives:  interpreter PROGRAM ARGV0 ARG...
 * PRoot gives:        interpreter -OPTION VALUE... PROGRAM ARG...   (options of qemu)
 *
 * The command before the program comes from plain.args, or from clocked.args (with the clock plugin) for what was pushed
 * under /data/; one argument a line.
 * Loader variables belong to the arm64 program, never to qemu's own loader: they are handed on by -E.
 * qemu 7.2's own allocator (glib's slices) keeps a lock over fork: now and then the child of a program with threads, as
 * adbd is, hangs between fork and exec, and the phone with it (gitlab.com/qemu-project/qemu/-/issues/285).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <limits.h>

#define FOLDER "/vendor/etc/emulator"
#define MOST 64

static int read_arguments(const char *path, char **list, int n)
{
    static char text[16384];
    FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    for (char *line = strtok(text, "\n"); line && n < MOST; line = strtok(NULL, "\n"))
        list[n++] = line;
    return n;
}

static int is_pushed(const char *program)
{
    char resolved[PATH_MAX];
    return !strncmp(realpath(program, resolved) ? resolved : program, "/data/", 6);
}

/* Move LD_* out of the environment into -E options. */
static int hand_on_loader_variables(char **environment, char **list, int n)
{
    char **keep = environment;
    for (char **item = environment; *item; item++) {
        if (!strncmp(*item, "LD_", 3) && n < MOST + 32) {
            list[n++] = "-E";
            list[n++] = *item;
        } else {
            *keep++ = *item;
        }
    }
    *keep = NULL;
    return n;
}

/* `environment` with glib's slices switched off; the arm64 program does not see it (-U). */
static char **without_slices(char **environment, char **list, int *n)
{
    int items = 0;
    while (environment[items])
        items++;
    char **own = calloc(items + 2, sizeof *own);
    if (!own)
        return environment;
    memcpy(own, environment, items * sizeof *own);
    own[items] = "G_SLICE=always-malloc";
    list[(*n)++] = "-U";
    list[(*n)++] = "G_SLICE";
    return own;
}

int main(int count, char **given, char **environment)
{
    int from_kernel = count > 2 && given[1][0] != '-', program = 1;
    if (!from_kernel)
        while (program + 1 < count && given[program][0] == '-')
            program += 2;
    if (program >= count)
        return 126;
    const char *path = is_pushed(given[program]) ? FOLDER "/clocked.args" : FOLDER "/plain.args";
    char **list = calloc(count + MOST + 64, sizeof *list);
    int n = list ? read_arguments(path, list, 0) : -1;
    if (n < 1) {
        perror(path);
        return 126;
    }
    n = hand_on_loader_variables(environment, list, n);
    environment = without_slices(environment, list, &n);
    if (from_kernel) {
        list[n++] = "-0";
        list[n++] = given[2];
        list[n++] = given[1];
        program = 2;
    } else {
        for (int i = 1; i <= program; i++)
            list[n++] = given[i];
    }
    for (int i = program + 1; i < count; i++)
        list[n++] = given[i];
    execve(list[0], list, environment);
    perror(list[0]);
    return 126;
}
