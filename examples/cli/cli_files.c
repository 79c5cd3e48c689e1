/* SPDX-License-Identifier: MIT */
/* Paths: what is there, what can be written, and what writing it would destroy. */
#include "cli_schedule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *cli_path(const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = malloc(size);
    if (path != NULL)
        snprintf(path, size, "%s/%s", folder, name);
    return path;
}

bool cli_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* For free(). */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    return length > 0 ? strndup(path, length) : strdup(".");
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static bool same_inode(const char *path, const char *other)
{
    struct stat one, two;
    return stat(path, &one) == 0 && stat(other, &two) == 0 && one.st_dev == two.st_dev &&
           one.st_ino == two.st_ino;
}

bool cli_same_file(const char *path, const char *other)
{
    if (cli_exists(path) || cli_exists(other))
        return same_inode(path, other);
    char *folder = folder_of(path), *beside = folder_of(other);
    const bool same = folder != NULL && beside != NULL && same_inode(folder, beside) &&
                      strcmp(base_of(path), base_of(other)) == 0;
    free(folder);
    free(beside);
    return same;
}

int cli_check_output(const cli *c, const char *path, bool replaced)
{
    struct stat about;
    if (replaced && strcmp(path, "-") == 0)
        return cli_usage(c, "a file cannot be written to the standard output; call it ./- if that "
                            "is its name");
    char *folder = folder_of(path);
    if (folder == NULL)
        return cli_no_memory(c);
    int code = CLI_OK;
    bool there = stat(path, &about) == 0;
    if (there && (replaced ? !S_ISREG(about.st_mode) : S_ISDIR(about.st_mode)))
        code = cli_fail(c, "%s cannot be written: it is no regular file", path);
    else if (there && access(path, W_OK) != 0)
        code = cli_fail(c, "%s cannot be written: %s", path, strerror(errno));
    else if ((replaced || !there) && access(folder, W_OK | X_OK) != 0)
        code = cli_fail(c, "%s cannot be written: folder %s: %s", path, folder, strerror(errno));
    free(folder);
    return code;
}

/* --- what must stay apart -------------------------------------------------------------------- */

static int check_pair(const cli *c, const char *dashes, const char *name, const char *path,
                      const cli_file *written)
{
    if (path == NULL || !cli_same_file(path, written->path))
        return CLI_OK;
    return cli_usage(c, "%s%s and %s are the same file, %s", dashes, name, written->name,
                     written->path);
}

static bool is_read(const cli_option *option)
{
    return option->argument != NULL && strcmp(option->argument, "FILE") == 0 &&
           strcmp(option->name, "output") != 0 && strcmp(option->name, "checkpoint") != 0 &&
           strcmp(option->name, "results") != 0;
}

static int check_options(const cli *c, const cli_file *written)
{
    const cli_option *const lists[] = {cli_common_options, c->command->options};
    int code = check_pair(c, "--", "recipe", cli_recipe_file(c), written);
    for (size_t l = 0; l < 2; l++)
        for (const cli_option *o = lists[l]; o->name != NULL && code == CLI_OK; o++)
            if (is_read(o))
                code = check_pair(c, "--", o->name, cli_text(c, o->name), written);
    return code;
}

int cli_check_apart(const cli *c, const cli_file *written, size_t count, bool in_place)
{
    int code = CLI_OK;
    for (size_t i = 0; i < count && code == CLI_OK; i++) {
        code = check_options(c, &written[i]);
        for (int n = 0; n < c->operand_count && !in_place && code == CLI_OK; n++)
            code = check_pair(c, "", c->operands[n], c->operands[n], &written[i]);
        for (size_t n = 0; n < i && code == CLI_OK; n++)
            code = check_pair(c, "", written[n].name, written[n].path, &written[i]);
    }
    return code;
}
