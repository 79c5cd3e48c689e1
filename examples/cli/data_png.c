/* SPDX-License-Identifier: MIT */
/* PNG files through libpng's simplified interface, which reports errors without long jumps. */
#include "cli.h"

#include <png.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE_MAX = 1 << 20, PIXELS_MAX = 1 << 28 };

int data_png_read(const cli *c, const char *path, int64_t *width, int64_t *height,
                  unsigned char **pixels)
{
    png_image image;
    memset(&image, 0, sizeof image);
    image.version = PNG_IMAGE_VERSION;
    *pixels = NULL;
    if (!png_image_begin_read_from_file(&image, path))
        return cli_fail(c, "%s: %s", path, image.message);
    int code = CLI_OK;
    if (image.width > SIDE_MAX || image.height > SIDE_MAX ||
        (int64_t)image.width * image.height > PIXELS_MAX)
        code = cli_fail(c, "%s: %u x %u is too large", path, image.width, image.height);
    image.format = PNG_FORMAT_RGB;
    if (code == CLI_OK) {
        *pixels = malloc(PNG_IMAGE_SIZE(image));
        code = *pixels != NULL ? CLI_OK : cli_no_memory(c);
    }
    if (code == CLI_OK && !png_image_finish_read(&image, NULL, *pixels, 0, NULL))
        code = cli_fail(c, "%s: %s", path, image.message);
    *width = image.width;
    *height = image.height;
    png_image_free(&image);
    if (code != CLI_OK) {
        free(*pixels);
        *pixels = NULL;
    }
    return code;
}
