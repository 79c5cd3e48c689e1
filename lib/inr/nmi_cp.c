/* SPDX-License-Identifier: MIT */
/* Alternating least squares, and the linear systems of it, in double. */
#include "nmi_cp.h"

#include "nmi_cholesky.h"
#include "nmi_random.h"

#include <math.h>
#include <string.h>

/* --- linear systems ---------------------------------------------------------------------- */

void nmi_solve_ridge(int64_t n, double *matrix, double ridge, int64_t count, double *sides)
{
    double trace = 0;
    for (int64_t i = 0; i < n; i++)
        trace += matrix[i * n + i];
    const double added = trace > 0 ? ridge * trace / (double)n : 1;
    for (int64_t i = 0; i < n; i++)
        matrix[i * n + i] += added;
    nmi_cholesky_factorise(n, matrix, added * 1e-3);
    for (int64_t s = 0; s < count; s++)
        nmi_cholesky_solve(n, matrix, sides + s * n);
}

/* --- factors ----------------------------------------------------------------------------- */

/* M[q][r] = the product over the other axes of the columns' scalar products. */
static void fill_matrix(const nmi_cp *cp, int axis, double *matrix)
{
    const int64_t rank = cp->rank;
    for (int64_t q = 0; q < rank; q++)
        for (int64_t r = 0; r <= q; r++) {
            double product = 1;
            for (int other = 0; other < NMI_CP_AXES; other++) {
                double sum = 0;
                for (int64_t n = 0; other != axis && n < cp->dims[other]; n++)
                    sum += cp->factors[other][n * rank + q] * cp->factors[other][n * rank + r];
                product *= other != axis ? sum : 1;
            }
            matrix[q * rank + r] = matrix[r * rank + q] = product;
        }
}

/* The factor of `axis` becomes the right-hand sides: for each of its rows the sum over the other
 * axes of X times the product of their rows. `products` [rank]. */
static void fill_sides(const nmi_cp *cp, int axis, const float *values, double *products)
{
    const int64_t rank = cp->rank, *dims = cp->dims;
    double *sides = cp->factors[axis];
    const int a = axis == 0 ? 1 : 0, b = axis == 2 ? 1 : 2;
    const int64_t strides[NMI_CP_AXES] = {dims[1] * dims[2], dims[2], 1};
    memset(sides, 0, (size_t)(dims[axis] * rank) * sizeof *sides);
    for (int64_t i = 0; i < dims[a]; i++)
        for (int64_t j = 0; j < dims[b]; j++) {
            const float *line = values + i * strides[a] + j * strides[b];
            for (int64_t r = 0; r < rank; r++)
                products[r] = cp->factors[a][i * rank + r] * cp->factors[b][j * rank + r];
            for (int64_t n = 0; n < dims[axis]; n++) {
                const double x = (double)line[n * strides[axis]];
                for (int64_t r = 0; r < rank; r++)
                    sides[n * rank + r] += x * products[r];
            }
        }
}

/* Columns of the first two factors get mean square 1. */
static void balance(const nmi_cp *cp)
{
    for (int axis = 0; axis < 2; axis++)
        for (int64_t r = 0; r < cp->rank; r++) {
            double square = 0;
            for (int64_t n = 0; n < cp->dims[axis]; n++)
                square += pow(cp->factors[axis][n * cp->rank + r], 2);
            const double size = sqrt(square / (double)cp->dims[axis]);
            if (!(size > 1e-30))
                continue;
            for (int64_t n = 0; n < cp->dims[axis]; n++)
                cp->factors[axis][n * cp->rank + r] /= size;
            for (int64_t n = 0; n < cp->dims[2]; n++)
                cp->factors[2][n * cp->rank + r] *= size;
        }
}

static void start(const nmi_cp *cp, uint64_t key)
{
    for (int axis = 0; axis < NMI_CP_AXES; axis++) {
        nmi_random random = nmi_random_start(nmi_random_key(key, NMI_RANDOM_FIT, (uint64_t)axis));
        for (int64_t n = 0; n < cp->dims[axis] * cp->rank; n++)
            cp->factors[axis][n] = nmi_random_normal(&random);
    }
}

void nmi_cp_free(nmi_context *context, nmi_cp *cp)
{
    for (int axis = 0; axis < NMI_CP_AXES; axis++) {
        nmi_free(context, cp->factors[axis]);
        cp->factors[axis] = NULL;
    }
}

neumeta_status nmi_cp_create(nmi_context *context, const int64_t dims[NMI_CP_AXES], int64_t rank,
                             const float *values, int32_t sweeps, uint64_t key, nmi_cp *out)
{
    const double ridge = 1e-6;
    double *matrix = nmi_alloc_matrix(context, rank + 1, rank, sizeof *matrix);
    bool taken = matrix != NULL;
    *out = (nmi_cp){.dims = {dims[0], dims[1], dims[2]}, .rank = rank};
    for (int axis = 0; axis < NMI_CP_AXES; axis++) {
        out->factors[axis] = nmi_alloc_matrix(context, dims[axis], rank, sizeof(double));
        taken = taken && out->factors[axis] != NULL;
    }
    if (taken) {
        start(out, key);
        for (int32_t sweep = 0; sweep < sweeps; sweep++) {
            balance(out);
            for (int axis = 0; axis < NMI_CP_AXES; axis++) {
                fill_matrix(out, axis, matrix);
                fill_sides(out, axis, values, matrix + rank * rank);
                nmi_solve_ridge(rank, matrix, ridge, dims[axis], out->factors[axis]);
            }
        }
        balance(out);
    } else {
        nmi_cp_free(context, out);
    }
    nmi_free(context, matrix);
    return taken ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
}
