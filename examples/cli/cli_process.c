/* SPDX-License-Identifier: MIT */
/* Runs the programs that fetch needs: they are better kept than anything written here for one use.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Never returns. */
static void become(const char *folder, char *const *argv, int output)
{
    if (output >= 0)
        dup2(output, STDOUT_FILENO);
    else
        dup2(STDERR_FILENO, STDOUT_FILENO); /* our stdout is for results */
    if (folder == NULL || chdir(folder) == 0)
        execvp(argv[0], argv);
    _exit(127);
}

/* Reads until the end, keeping what fits. */
static void drain(int input, char *output, size_t size)
{
    size_t length = 0;
    char rest[256];
    for (;;) {
        bool room = length + 1 < size;
        ssize_t got =
            read(input, room ? output + length : rest, room ? size - 1 - length : sizeof rest);
        if (got < 0 && errno == EINTR && !cli_interrupted())
            continue;
        if (got <= 0)
            break;
        length += room ? (size_t)got : 0;
    }
    output[length] = '\0';
}

int cli_run(const cli *c, const char *folder, char *const *argv, char *output, size_t size)
{
    int ends[2] = {-1, -1};
    if (output != NULL && pipe(ends) != 0)
        return cli_fail(c, "no pipe to %s: %s", argv[0], strerror(errno));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        become(folder, argv, ends[1]);
    int state = 0;
    if (ends[1] >= 0)
        close(ends[1]);
    if (child > 0 && output != NULL)
        drain(ends[0], output, size);
    if (ends[0] >= 0)
        close(ends[0]);
    if (child < 0)
        return cli_fail(c, "%s could not be started: %s", argv[0], strerror(errno));
    while (waitpid(child, &state, 0) < 0 && errno == EINTR)
        ;
    if (cli_interrupted())
        return CLI_CANCELLED;
    if (WIFEXITED(state) && WEXITSTATUS(state) == 0)
        return CLI_OK;
    if (WIFEXITED(state) && WEXITSTATUS(state) == 127)
        return cli_fail(c, "the program %s is needed and was not found", argv[0]);
    return cli_fail(c, "%s failed (%s %d)", argv[0], WIFEXITED(state) ? "exit code" : "signal",
                    WIFEXITED(state) ? WEXITSTATUS(state) : WTERMSIG(state));
}

bool cli_has_program(const char *name)
{
    const char *path = getenv("PATH");
    bool found = false;
    while (path != NULL && *path != '\0' && !found) {
        char file[4096];
        int length = (int)strcspn(path, ":");
        int written = snprintf(file, sizeof file, "%.*s/%s", length, path, name);
        found = written > 0 && (size_t)written < sizeof file && access(file, X_OK) == 0;
        path += length + (path[length] == ':');
    }
    return found;
}

int cli_sha256(const cli *c, const char *path, char sum[65])
{
    char output[128];
    /* Read from a path that sha256sum cannot take for an option or write with escapes. */
    char *argv[] = {"sha256sum", "--", (char *)path, NULL};
    int code = cli_run(c, NULL, argv, output, sizeof output);
    if (code != CLI_OK)
        return code;
    const char *digits = output[0] == '\\' ? output + 1 : output;
    if (strspn(digits, "0123456789abcdef") < 64)
        return cli_fail(c, "sha256sum gave no checksum for %s", path);
    memcpy(sum, digits, 64);
    sum[64] = '\0';
    return CLI_OK;
}
