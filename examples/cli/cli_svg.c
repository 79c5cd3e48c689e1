/* SPDX-License-Identifier: MIT */
/* A line plot as SVG: axes with round ticks, a grid, a legend. */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum { WIDTH = 760, HEIGHT = 460, LEFT = 84, RIGHT = 24, TOP = 56, BOTTOM = 64, COLORS = 8 };

/* Distinct for most kinds of colour vision (the palette of Okabe and Ito). */
static const char *const colors[COLORS] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                           "#e69f00", "#56b4e9", "#000000", "#a09000"};

typedef struct scale {
    double low, high, step; /* of the values in this unit; of their logarithms if logarithmic */
    double unit;            /* above 1 for values so large that sums of them would overflow */
    bool logarithmic;
    int from, to; /* in the picture */
} scale;

static double place(const scale *s, double value)
{
    double v = s->logarithmic ? log10(value) : value / s->unit;
    return s->from + (v - s->low) / (s->high - s->low) * (s->to - s->from);
}

/* 1, 2 or 5 times a power of ten, at least range / ticks. */
static double round_step(double range, int ticks)
{
    double raw = range / ticks, power = pow(10, floor(log10(raw)));
    double digit = raw / power;
    return power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
}

static scale make_scale(const cli_plot *plot, bool vertical)
{
    scale s = {.low = INFINITY, .high = -INFINITY, .logarithmic = !vertical && plot->logarithmic};
    s.unit = 1;
    for (size_t i = 0; i < plot->count; i++)
        for (size_t n = 0; n < plot->series[i].count; n++) {
            double value = vertical ? plot->series[i].y[n] : plot->series[i].x[n];
            value = s.logarithmic ? log10(value) : value;
            s.low = fmin(s.low, value);
            s.high = fmax(s.high, value);
        }
    const double largest = fmax(fabs(s.low), fabs(s.high));
    if (largest > 1e300)
        s.unit = 1e10;
    s.low /= s.unit;
    s.high /= s.unit;
    if (s.high - s.low < 1e-9 * fmax(1, largest / s.unit)) {
        const double margin = fmax(0.5, 1e-3 * largest / s.unit);
        s.low -= margin;
        s.high += margin;
    }
    s.step = round_step(s.high - s.low, vertical ? 7 : 8);
    if (s.logarithmic) {
        double margin = 0.03 * (s.high - s.low);
        s.low -= margin;
        s.high += margin;
    } else {
        s.low = floor(s.low / s.step) * s.step;
        s.high = ceil(s.high / s.step) * s.step;
    }
    s.from = vertical ? HEIGHT - BOTTOM : LEFT;
    s.to = vertical ? TOP : WIDTH - RIGHT;
    return s;
}

/* Text with the letters escaped that XML keeps for itself, without those it forbids. */
static void put_text(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        const char *special = strchr("&<>\"", *text);
        static const char *const escapes[] = {"&amp;", "&lt;", "&gt;", "&quot;"};
        if (special != NULL)
            fputs(escapes[special - strchr("&<>\"", '&')], out);
        else
            fputc((unsigned char)*text < 32 ? ' ' : *text, out);
    }
}

static void put_label(FILE *out, double x, double y, const char *attributes, const char *text)
{
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, attributes);
    put_text(out, text);
    fputs("</text>\n", out);
}

/* "12", "0.25", "3.5 M", "1e+300" */
static void write_number(double value, double step, char *text, size_t size)
{
    static const struct {
        double unit;
        const char *letter;
    } units[] = {{1e9, " G"}, {1e6, " M"}, {1e4, " k"}, {0, ""}};
    int i = 0;
    while (fabs(value) < units[i].unit * 0.9999 || (units[i].unit > 0 && value == 0))
        i++;
    double unit = units[i].unit == 0 ? 1 : units[i].unit == 1e4 ? 1e3 : units[i].unit;
    int decimals = step > 0 ? (int)ceil(-log10(step / unit) - 1e-9) : 0;
    if (decimals > 6 || fabs(value) >= 1e15)
        snprintf(text, size, "%.12g", value);
    else
        snprintf(text, size, "%.*f%s", decimals > 0 ? decimals : 0, value / unit, units[i].letter);
}

static void put_tick(FILE *out, const scale *s, bool vertical, double value, double step)
{
    char text[48];
    double at = place(s, value);
    write_number(value, step, text, sizeof text);
    if (vertical) {
        fprintf(out, "<path d=\"M%d %.1fH%d\" class=\"grid\"/>\n", LEFT, at, WIDTH - RIGHT);
        put_label(out, LEFT - 8, at + 4, "text-anchor=\"end\"", text);
    } else {
        fprintf(out, "<path d=\"M%.1f %dV%d\" class=\"grid\"/>\n", at, TOP, HEIGHT - BOTTOM);
        put_label(out, at, HEIGHT - BOTTOM + 20, "text-anchor=\"middle\"", text);
    }
}

static void put_ticks(FILE *out, const scale *s, bool vertical)
{
    if (!s->logarithmic) {
        int count = (int)lround((s->high - s->low) / s->step);
        for (int i = 0; i <= count; i++) {
            double value = s->low + i * s->step;
            value = fabs(value) < s->step * 1e-6 ? 0 : value * s->unit;
            if (isfinite(value)) /* the outermost may be beyond all numbers */
                put_tick(out, s, vertical, value, s->step * s->unit);
        }
        return;
    }
    for (int power = (int)floor(s->low); power <= (int)ceil(s->high); power++)
        for (int digit = 1; digit < 10; digit = digit == 1 ? 2 : digit == 2 ? 5 : 10) {
            double value = digit * pow(10, power);
            if (log10(value) >= s->low && log10(value) <= s->high)
                put_tick(out, s, vertical, value, pow(10, power));
        }
}

static void put_series(FILE *out, const cli_series *series, const scale *x, const scale *y,
                       const char *color)
{
    if (!series->points) {
        fprintf(out, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" d=\"", color);
        for (size_t n = 0; n < series->count; n++)
            fprintf(out, "%c%.1f %.1f", n == 0 ? 'M' : 'L', place(x, series->x[n]),
                    place(y, series->y[n]));
        fputs("\"/>\n", out);
    }
    double radius = series->count > 40 ? 2 : 3.5;
    for (size_t n = 0; n < series->count; n++)
        fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" fill=\"%s\"/>\n",
                place(x, series->x[n]), place(y, series->y[n]), radius, color);
}

/* At the lower right, where curves of accuracy leave room. */
static void put_legend(FILE *out, const cli_plot *plot)
{
    size_t longest = 0;
    if (plot->count < 2)
        return;
    for (size_t i = 0; i < plot->count; i++)
        longest = strlen(plot->series[i].name) > longest ? strlen(plot->series[i].name) : longest;
    double width = 44 + 7.0 * (double)longest, height = 10 + 20.0 * (double)plot->count;
    double left = WIDTH - RIGHT - 12 - width, top = HEIGHT - BOTTOM - 12 - height;
    fprintf(out,
            "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"#fff\" "
            "fill-opacity=\"0.9\" stroke=\"#ccc\"/>\n",
            left, top, width, height);
    for (size_t i = 0; i < plot->count; i++) {
        double y = top + 15 + 20.0 * (double)i;
        if (plot->series[i].points)
            fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\"/>\n", left + 18, y,
                    colors[i % COLORS]);
        else
            fprintf(out, "<path d=\"M%.1f %.1fh20\" stroke=\"%s\" stroke-width=\"2\"/>\n", left + 8,
                    y, colors[i % COLORS]);
        put_label(out, left + 36, y + 4, "", plot->series[i].name);
    }
}

static void put_plot(FILE *out, const cli_plot *plot)
{
    scale x = make_scale(plot, false), y = make_scale(plot, true);
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n"
            "<style>.grid{stroke:#e4e4e4;fill:none}</style>\n"
            "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
            WIDTH, HEIGHT, WIDTH, HEIGHT, WIDTH, HEIGHT);
    put_label(out, LEFT, 32, "font-size=\"16\" font-weight=\"bold\"", plot->title);
    put_ticks(out, &x, false);
    put_ticks(out, &y, true);
    fprintf(out, "<path d=\"M%d %dV%dH%d\" fill=\"none\" stroke=\"#444\"/>\n", LEFT, TOP,
            HEIGHT - BOTTOM, WIDTH - RIGHT);
    put_label(out, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 18, "text-anchor=\"middle\"",
              plot->x_title);
    fprintf(out, "<g transform=\"translate(22 %.1f) rotate(-90)\">", (TOP + HEIGHT - BOTTOM) / 2.0);
    put_label(out, 0, 0, "text-anchor=\"middle\"", plot->y_title);
    fputs("</g>\n", out);
    for (size_t i = 0; i < plot->count; i++)
        put_series(out, &plot->series[i], &x, &y, colors[i % COLORS]);
    put_legend(out, plot);
    fputs("</svg>\n", out);
}

int cli_svg_write(const cli *c, const cli_plot *plot, const char *path)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *out = standard ? stdout : fopen(path, "w");
    if (out == NULL)
        return cli_fail(c, "%s cannot be written: %s", path, strerror(errno));
    put_plot(out, plot);
    bool failed = ferror(out) != 0;
    if (!standard)
        failed = fclose(out) != 0 || failed;
    return failed ? cli_fail(c, "%s could not be written", path) : CLI_OK;
}
