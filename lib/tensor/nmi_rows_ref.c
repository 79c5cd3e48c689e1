/* SPDX-License-Identifier: MIT */
/* The products of nmi_kernels.h in plain loops, summed in double: what the fast ones must give. */
#include "nmi_kernels.h"

#include <math.h>

static float activate(int32_t activation, float x)
{
    if (activation == NMI_ACTIVATION_RELU)
        return x < 0.0f ? 0.0f : x;
    if (activation == NMI_ACTIVATION_ELU && x <= 0.0f)
        return expm1f(x);
    return x;
}

void nmi_epilogue_apply(const nmi_epilogue *epilogue, int64_t rows, int64_t columns, float *y,
                        int64_t y_step)
{
    if (epilogue == NULL)
        return;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t n = 0; n < columns; n++) {
            int64_t at = r * y_step + n;
            float residual = epilogue->residual != NULL ? epilogue->residual[at] : 0.0f;
            float v = y[at];
            if (epilogue->bias != NULL)
                v += epilogue->bias[n];
            if (epilogue->residual_inside)
                v += residual;
            v = activate(epilogue->activation, v);
            if (epilogue->activated != NULL)
                epilogue->activated[at] = v;
            y[at] = epilogue->residual_inside ? v : v * epilogue->scale + residual;
        }
    }
}

static float row_value(const nmi_rows *rows, int64_t i, int64_t j, int64_t k)
{
    return rows->x[i * rows->x_line + j * rows->x_step +
                   k / rows->segment_length * rows->segment_stride + k % rows->segment_length];
}

static double product(bool pairs, float a, float b)
{
    if (!pairs)
        return (double)a * (double)b;
    return (double)nmi_pair_first(a) * (double)nmi_pair_first(b) +
           (double)nmi_pair_second(a) * (double)nmi_pair_second(b);
}

/* The residual may be y itself, so each sum goes through the epilogue before it is stored. */
static float finish(const nmi_epilogue *epilogue, int64_t at, int64_t column, float value)
{
    nmi_epilogue one = nmi_epilogue_moved(epilogue, at, column);
    nmi_epilogue_apply(&one, 1, 1, &value, 1);
    return value;
}

static void forward(bool pairs, const nmi_rows *rows, const float *w, int64_t columns,
                    const nmi_epilogue *epilogue, float *y, int64_t y_line, int64_t y_step)
{
    const int64_t depth = rows->segments * rows->segment_length;
    for (int64_t i = 0; i < rows->height; i++) {
        for (int64_t j = 0; j < rows->width; j++) {
            float *line = y + i * y_line + j * y_step;
            for (int64_t n = 0; n < columns; n++) {
                double sum = 0.0;
                for (int64_t k = 0; k < depth; k++)
                    sum += product(pairs, row_value(rows, i, j, k), w[k * columns + n]);
                line[n] = finish(epilogue, line + n - y, n, (float)sum);
            }
            for (int64_t n = 0; epilogue != NULL && epilogue->rounded != NULL && n < columns;
                 n += 2)
                epilogue->rounded[(line - y + n) / 2] =
                    nmi_pair(line[n], n + 1 < columns ? line[n + 1] : 0.0f);
        }
    }
}

void nmi_rows_forward_ref(const nmi_rows *rows, const float *w, int64_t columns,
                          const nmi_epilogue *epilogue, float *y, int64_t y_line, int64_t y_step)
{
    forward(false, rows, w, columns, epilogue, y, y_line, y_step);
}

void nmi_rows_forward_pairs_ref(const nmi_rows *rows, const float *w, int64_t columns,
                                const nmi_epilogue *epilogue, float *y, int64_t y_line,
                                int64_t y_step)
{
    forward(true, rows, w, columns, epilogue, y, y_line, y_step);
}

static void backward_weight(bool pairs, const nmi_rows *rows, const float *dy, int64_t dy_line,
                            int64_t dy_step, int64_t columns, float *dw)
{
    const int64_t depth = rows->segments * rows->segment_length;
    for (int64_t k = 0; k < depth; k++) {
        for (int64_t n = 0; n < columns; n++) {
            double sum = 0.0;
            for (int64_t i = 0; i < rows->height; i++)
                for (int64_t j = 0; j < rows->width; j++)
                    sum +=
                        product(pairs, row_value(rows, i, j, k), dy[i * dy_line + j * dy_step + n]);
            dw[k * columns + n] += (float)sum;
        }
    }
}

void nmi_rows_backward_weight_ref(const nmi_rows *rows, const float *dy, int64_t dy_line,
                                  int64_t dy_step, int64_t columns, float *dw)
{
    backward_weight(false, rows, dy, dy_line, dy_step, columns, dw);
}

void nmi_rows_backward_weight_pairs_ref(const nmi_rows *rows, const float *dy, int64_t dy_line,
                                        int64_t dy_step, int64_t columns, float *dw)
{
    backward_weight(true, rows, dy, dy_line, dy_step, columns, dw);
}
